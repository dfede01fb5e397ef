"""PUT virtualmachines/NAME/addvolume, virtualmachineinstances/NAME/addvolume: a disk for a guest
that runs."""

from __future__ import annotations

from aiohttp import web

from virtpod.api.base import AtomicList, Wire
from virtpod.api.disks import Disk
from virtpod.api.options import AddVolumeOptions
from virtpod.api.volumes import HotplugVolumeSource
from virtpod.apiserver import volumes
from virtpod.apiserver.call import Call
from virtpod.apiserver.status import bad_request
from virtpod.apiserver.subresources._power import carry_out
from virtpod.apiserver.subresources._volumes import change_vmi, options


class _Sent(Wire):
    """The body as it may come: what is missing has a message of its own."""

    name: str = ""
    disk: Disk | None = None
    volume_source: HotplugVolumeSource | None = None
    dry_run: AtomicList[str] | None = None


async def vm(call: Call) -> web.Response:
    """Adds the volume to the VM, and so to its instance."""
    wanted = await _wanted(call)
    gates = call.site.cluster().gates
    return await carry_out(
        call,
        lambda vm, vmi: volumes.add_to_vm(vm, vmi, wanted, gates),
        dry_run=bool(wanted.dry_run),
    )


async def vmi(call: Call) -> web.Response:
    """Adds the volume to the instance, for as long as that lives."""
    wanted = await _wanted(call)
    return await change_vmi(
        call, lambda vmi: volumes.add_to_vmi(vmi, wanted), dry_run=bool(wanted.dry_run)
    )


async def _wanted(call: Call) -> AddVolumeOptions:
    sent = await options(call, _Sent)
    if not sent.name:
        raise bad_request("AddVolumeOptions requires name to be set")
    if sent.disk is None:
        raise bad_request("AddVolumeOptions requires disk to not be nil")
    source = sent.volume_source
    if source is None:
        raise bad_request("AddVolumeOptions requires VolumeSource to not be nil")
    if (source.persistent_volume_claim is None) == (source.data_volume is None):
        raise bad_request(
            "AddVolumeOptions requires VolumeSource to be a persistentVolumeClaim or a dataVolume"
        )
    wanted = AddVolumeOptions(
        volume_source=source, name=sent.name, disk=sent.disk, dry_run=sent.dry_run
    )
    if wrong := volumes.problem(wanted):
        raise bad_request(wrong)
    return wanted
