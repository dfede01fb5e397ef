"""PUT virtualmachines/NAME/memorydump, virtualmachines/NAME/removememorydump: what is in the
guest's memory, written into a claim.

The wish goes into the VM's status; virt-controller carries it out (`controllers/memory_dump.py`).
"""

from __future__ import annotations

from aiohttp import web

from virtpod.api.base import Wire
from virtpod.api.vm import VirtualMachine
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.apiserver import dumps
from virtpod.apiserver.call import Call
from virtpod.apiserver.power import Change
from virtpod.apiserver.status import bad_request, not_found
from virtpod.apiserver.subresources._power import carry_out
from virtpod.kube.resources import PVCS, Key


class _Sent(Wire):
    """The body; without a claim the one that is associated takes the next dump too."""

    claim_name: str = ""


async def vm(call: Call) -> web.Response:
    """Associates the claim and has a dump taken."""
    sent = await call.options(_Sent)
    claim = sent.claim_name
    if not claim:
        before = (await call.vm()).status.memory_dump_request
        if before is None:
            raise bad_request("Memory dump requires claim name to be set")
        claim = before.claim_name
    found = await call.site.objects.read(PVCS, Key(call.namespace, claim))
    if found is None:
        raise not_found("persistentvolumeclaim", claim)

    def decide(vm: VirtualMachine, vmi: VirtualMachineInstance | None) -> Change:
        return dumps.take(vm, vmi, claim, found)

    return await carry_out(call, decide, dry_run=False)


async def remove(call: Call) -> web.Response:
    """The VM and the claim have nothing to do with each other any more; its files stay."""
    return await carry_out(call, lambda vm, _vmi: dumps.forget(vm), dry_run=False)
