"""PUT virtualmachines/NAME/removevolume, virtualmachineinstances/NAME/removevolume: takes a disk
from a guest that runs."""

from __future__ import annotations

from aiohttp import web

from virtpod.api.base import AtomicList, Wire
from virtpod.api.options import RemoveVolumeOptions
from virtpod.apiserver import volumes
from virtpod.apiserver.call import Call
from virtpod.apiserver.status import bad_request
from virtpod.apiserver.subresources._power import carry_out
from virtpod.apiserver.subresources._volumes import change_vmi, options


class _Sent(Wire):
    """The body as it may come: what is missing has a message of its own."""

    name: str = ""
    dry_run: AtomicList[str] | None = None


async def vm(call: Call) -> web.Response:
    """Takes the volume from the VM, and so from its instance."""
    wanted = await _wanted(call)
    gates = call.site.cluster().gates
    return await carry_out(
        call,
        lambda vm, vmi: volumes.remove_from_vm(vm, vmi, wanted, gates),
        dry_run=bool(wanted.dry_run),
    )


async def vmi(call: Call) -> web.Response:
    """Takes the volume from the instance alone."""
    wanted = await _wanted(call)
    return await change_vmi(
        call, lambda vmi: volumes.remove_from_vmi(vmi, wanted), dry_run=bool(wanted.dry_run)
    )


async def _wanted(call: Call) -> RemoveVolumeOptions:
    sent = await options(call, _Sent)
    if not sent.name:
        raise bad_request("RemoveVolumeOptions requires name to be set")
    return RemoveVolumeOptions(name=sent.name, dry_run=sent.dry_run)
