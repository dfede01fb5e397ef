"""GET virtualmachineinstances/NAME/console: the guest's serial console, as a websocket."""

from __future__ import annotations

from aiohttp import web

from virtpod.apiserver.call import Call
from virtpod.apiserver.relay import check, relay
from virtpod.apiserver.status import bad_request


async def vmi(call: Call) -> web.StreamResponse:
    """Streams the first serial port. A newer client takes it over from an older one."""
    vmi = await call.vmi()
    if vmi.spec.domain.devices.autoattach_serial_console is False:
        raise bad_request("No serial consoles are present.")
    if vmi.status.phase == "Failed":
        raise call.vmi_conflict("VMI is in failed status")
    check(call.request)
    return await relay(call.request, await call.site.nodes.stream(vmi, "console", {}))
