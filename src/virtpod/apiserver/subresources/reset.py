"""PUT virtualmachineinstances/NAME/reset: the machine's reset button."""

from __future__ import annotations

from aiohttp import web

from virtpod.apiserver.call import Call
from virtpod.apiserver.subresources._node import forward


async def vmi(call: Call) -> web.Response:
    """Resets a running VMI; the guest is not asked."""
    vmi = await call.vmi()
    if vmi.status.phase != "Running":
        raise call.vmi_conflict(f"Failed to reset non-running VMI with phase {vmi.status.phase}")
    return await forward(call, vmi, "reset")
