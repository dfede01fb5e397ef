"""PUT virtualmachines/NAME/start: has virt-controller create the VMI."""

from __future__ import annotations

from aiohttp import web

from virtpod.api.options import StartOptions
from virtpod.apiserver import power
from virtpod.apiserver.call import Call
from virtpod.apiserver.subresources._power import carry_out


async def vm(call: Call) -> web.Response:
    """Starts a VM, on the user's wish paused."""
    options = await call.options(StartOptions)
    return await carry_out(
        call,
        lambda vm, vmi: power.start(vm, vmi, paused=bool(options.paused)),
        dry_run=bool(options.dry_run),
    )
