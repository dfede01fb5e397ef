"""GET virtualmachineinstances/NAME/vnc: the guest's display (RFB), as a websocket.
GET virtualmachineinstances/NAME/vnc/screenshot: what is on it, as PNG."""

from __future__ import annotations

from aiohttp import web

from virtpod.api.vmi import VirtualMachineInstance
from virtpod.apiserver.call import Call
from virtpod.apiserver.relay import check, relay
from virtpod.apiserver.status import bad_request


async def vmi(call: Call) -> web.StreamResponse:
    """Streams the display. A newer client takes it over, unless it asks to `preserveSession`;
    clients that ask for it `shared` have it together."""
    vmi = await _with_display(call)
    if vmi.status.phase == "Failed":
        raise call.vmi_conflict("VMI is in failed status")
    check(call.request)
    query = _chosen(call, "preserveSession", "shared")
    return await relay(call.request, await call.site.nodes.stream(vmi, "vnc", query))


async def screenshot(call: Call) -> web.StreamResponse:
    """Takes a picture. `moveCursor` moves the pointer first, for guests that blank the screen."""
    vmi = await _with_display(call)
    picture = await call.site.nodes.get(vmi, "vnc/screenshot", _chosen(call, "moveCursor"))
    return web.Response(body=picture, content_type="image/png")


async def _with_display(call: Call) -> VirtualMachineInstance:
    """Raises Refusal."""
    vmi = await call.vmi()
    if vmi.spec.domain.devices.autoattach_graphics_device is False:
        raise bad_request("No graphics devices are present.")
    return vmi


def _chosen(call: Call, *options: str) -> dict[str, str]:
    """Those of the options that the request sets to true."""
    query = call.request.query
    return {name: "true" for name in options if query.get(name, "").lower() == "true"}
