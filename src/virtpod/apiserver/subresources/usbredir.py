"""GET virtualmachineinstances/NAME/usbredir: a USB device of the client, into the guest.

The stream speaks usbredir's protocol with QEMU: https://www.spice-space.org/usbredir.html
"""

from __future__ import annotations

from aiohttp import web

from virtpod.apiserver.call import Call
from virtpod.apiserver.relay import check, relay


async def vmi(call: Call) -> web.StreamResponse:
    """Takes the first free slot; one device per stream."""
    vmi = await call.vmi()
    if vmi.spec.domain.devices.client_passthrough is None:
        raise call.vmi_conflict(
            "Not configured with USB Redirection: spec.domain.devices.clientPassthrough is missing"
        )
    if vmi.status.phase == "Failed":
        raise call.vmi_conflict("VMI is in failed status")
    check(call.request)
    return await relay(call.request, await call.site.nodes.stream(vmi, "usbredir", {}))
