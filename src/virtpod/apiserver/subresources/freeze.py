"""PUT virtualmachineinstances/NAME/freeze: the guest's file systems stand still, for a snapshot.

`{"unfreezeTimeout": "5m"}` says when they are thawed at the latest, also if nobody asks for it.
"""

from __future__ import annotations

import msgspec
from aiohttp import web

from virtpod.api.options import FreezeUnfreezeTimeout
from virtpod.apiserver.call import Call
from virtpod.apiserver.subresources._node import forward

WITHIN = 55.0
"""Seconds for a guest to write out what it holds."""


async def vmi(call: Call) -> web.Response:
    """Freezes a running guest."""
    options = await call.options(FreezeUnfreezeTimeout)
    vmi = await call.vmi()
    if vmi.status.phase != "Running":
        raise call.vmi_conflict("VM is not running")
    body = msgspec.json.encode({"unfreezeTimeout": options.unfreeze_timeout})
    return await forward(call, vmi, "freeze", body=body, within=WITHIN)
