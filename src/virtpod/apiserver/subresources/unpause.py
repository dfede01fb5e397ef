"""PUT virtualmachineinstances/NAME/unpause: lets the guest's CPUs go on."""

from __future__ import annotations

from aiohttp import web

from virtpod.api.options import UnpauseOptions
from virtpod.apiserver.call import VM, Call
from virtpod.apiserver.status import conflict
from virtpod.apiserver.subresources._node import forward, paused


async def vmi(call: Call) -> web.Response:
    """Unpauses a paused VMI."""
    options = await call.options(UnpauseOptions)
    vmi = await call.vmi()
    if vmi.status.phase != "Running":
        raise call.vmi_conflict("VMI is not running")
    if not paused(vmi):
        raise call.vmi_conflict("VMI is not paused")
    owner = await call.site.objects.vm(call.namespace, call.name)
    if owner is not None and owner.status.snapshot_in_progress:
        raise conflict(VM, call.name, "VM snapshot is in progress")
    return await forward(call, vmi, "unpause", dry_run=bool(options.dry_run))
