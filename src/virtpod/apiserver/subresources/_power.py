"""What start, stop and restart share: read, decide, patch; and again where something changed."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from virtpod.api.vm import VirtualMachine
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.apiserver.call import Call, Outdated
from virtpod.apiserver.power import Change, NotNow

TRIES = 5
"""An object that changes more often than this while we look at it is reported as a conflict."""


async def carry_out(
    call: Call,
    decide: Callable[[VirtualMachine, VirtualMachineInstance | None], Change],
    *,
    dry_run: bool,
) -> web.Response:
    """Answers 202 once the patches are written."""
    for _ in range(TRIES):
        vm = await call.vm()
        vmi = await call.site.objects.vmi(call.namespace, call.name)
        try:
            change = decide(vm, vmi)
        except NotNow as refusal:
            raise call.vm_conflict(str(refusal)) from refusal
        try:
            await _write(call, change, dry_run=dry_run)
        except Outdated:
            continue
        return call.done(202)
    raise call.vm_conflict("the object has been modified; please try again")


async def _write(call: Call, change: Change, *, dry_run: bool) -> None:
    objects, namespace, name = call.site.objects, call.namespace, call.name
    if change.vmi:
        await objects.patch_vmi(namespace, name, change.vmi, dry_run=dry_run)
    if change.vm:
        await objects.patch_vm(namespace, name, change.vm, dry_run=dry_run)
    if change.status:
        await objects.patch_vm_status(namespace, name, change.status, dry_run=dry_run)
