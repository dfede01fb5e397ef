"""GET virtualmachineinstances/NAME/guestosinfo: what the guest says of itself, by its agent."""

from __future__ import annotations

from aiohttp import web

from virtpod.apiserver.call import Call
from virtpod.apiserver.subresources._node import from_agent


async def vmi(call: Call) -> web.Response:
    """Asks a running guest."""
    return await from_agent(call, "guestosinfo")
