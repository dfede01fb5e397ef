"""PUT virtualmachineinstances/NAME/unfreeze: the guest's file systems go on."""

from __future__ import annotations

from aiohttp import web

from virtpod.apiserver.call import Call
from virtpod.apiserver.subresources._node import forward
from virtpod.apiserver.subresources.freeze import WITHIN


async def vmi(call: Call) -> web.Response:
    """Thaws a running guest."""
    vmi = await call.vmi()
    if vmi.status.phase != "Running":
        raise call.vmi_conflict("VMI is not running")
    return await forward(call, vmi, "unfreeze", within=WITHIN)
