"""GET virtualmachineinstances/NAME/vnc: the guest's display (RFB), as a websocket."""

from __future__ import annotations

from aiohttp import web

from virtpod.apiserver.call import Call
from virtpod.apiserver.relay import check, relay
from virtpod.apiserver.status import bad_request


async def vmi(call: Call) -> web.StreamResponse:
    """Streams the display. A newer client takes it over, unless it asks to `preserveSession`."""
    vmi = await call.vmi()
    if vmi.spec.domain.devices.autoattach_graphics_device is False:
        raise bad_request("No graphics devices are present.")
    if vmi.status.phase == "Failed":
        raise call.vmi_conflict("VMI is in failed status")
    check(call.request)
    preserve = call.request.query.get("preserveSession", "").lower() == "true"
    query = {"preserveSession": "true"} if preserve else {}
    return await relay(call.request, await call.site.nodes.stream(vmi, "vnc", query))
