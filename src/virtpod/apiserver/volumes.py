"""Deciding what addvolume and removevolume change in a VM or a VMI. Pure.

A VM's template is changed, and virt-controller brings it to the running instance; where the older
feature gate HotplugVolumes is on, the wish is recorded in the VM's status first. An instance that
nobody owns is changed itself.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from virtpod.api.disks import Disk
from virtpod.api.options import AddVolumeOptions, RemoveVolumeOptions
from virtpod.api.vm import VirtualMachine
from virtpod.api.vmi import VirtualMachineInstance, VirtualMachineInstanceSpec
from virtpod.api.volumes import HotplugVolumeSource, Volume
from virtpod.apiserver.power import Change, NotNow, alive
from virtpod.features.disks import claim, hotplugged
from virtpod.features.disks.hotplug import BUSES, unfit

Json = dict[str, Any]

DECLARATIVE, REQUESTS = "DeclarativeHotplugVolumes", "HotplugVolumes"


def by_request(gates: Collection[str]) -> bool:
    """Whether a VM's status takes the wish, not its template."""
    return REQUESTS in gates


def problem(options: AddVolumeOptions) -> str:
    """What is wrong with the disk that is asked for, "" where nothing is."""
    disk = msgspec.structs.replace(options.disk, name=options.name)
    return unfit(_completed(disk))


def add_to_vm(
    vm: VirtualMachine,
    vmi: VirtualMachineInstance | None,
    options: AddVolumeOptions,
    gates: Collection[str],
) -> Change:
    """Raises NotNow."""
    template = _template(vm)
    _check_new(template, options)
    if by_request(gates):
        if vmi is not None and alive(vmi):
            _check_new(vmi.spec, options)
        wish = {"addVolumeOptions": _without_dry_run(options)}
        return Change(status=_requested(vm, options.name, wish))
    return Change(vm=_same_version(vm, {"spec": {"template": {"spec": _with(template, options)}}}))


def remove_from_vm(
    vm: VirtualMachine,
    vmi: VirtualMachineInstance | None,
    options: RemoveVolumeOptions,
    gates: Collection[str],
) -> Change:
    """Raises NotNow."""
    template = _template(vm)
    if by_request(gates):
        specs = [template, *([vmi.spec] if vmi is not None and alive(vmi) else [])]
        if all(_missing(spec, options.name) for spec in specs):
            _check_removable(template, options.name)
        for spec in specs:
            if not _missing(spec, options.name):
                _check_removable(spec, options.name)
        wish = {"removeVolumeOptions": {"name": options.name}}
        return Change(status=_requested(vm, options.name, wish))
    _check_removable(template, options.name)
    left = _without(template, options.name)
    return Change(vm=_same_version(vm, {"spec": {"template": {"spec": left}}}))


def add_to_vmi(vmi: VirtualMachineInstance, options: AddVolumeOptions) -> Json:
    """A merge patch. Raises NotNow."""
    _check_new(vmi.spec, options)
    return _same_version(vmi, {"spec": _with(vmi.spec, options)})


def remove_from_vmi(vmi: VirtualMachineInstance, options: RemoveVolumeOptions) -> Json:
    """A merge patch. Raises NotNow."""
    _check_removable(vmi.spec, options.name)
    return _same_version(vmi, {"spec": _without(vmi.spec, options.name)})


def _template(vm: VirtualMachine) -> VirtualMachineInstanceSpec:
    template = vm.spec.template
    if template is None or template.spec is None:
        raise NotNow("the VM has no template")
    return template.spec


def _check_new(spec: VirtualMachineInstanceSpec, options: AddVolumeOptions) -> None:
    wanted = claim(_volume(options))
    for volume in spec.volumes or ():
        if volume.name == options.name:
            raise NotNow(
                f"Unable to add volume [{options.name}] because volume with that name already "
                "exists"
            )
        if claim(volume) == wanted:
            raise NotNow(f"Unable to add volume source [{wanted}] because it already exists")


def _missing(spec: VirtualMachineInstanceSpec, name: str) -> bool:
    return all(volume.name != name for volume in spec.volumes or ())


def _check_removable(spec: VirtualMachineInstanceSpec, name: str) -> None:
    if _missing(spec, name):
        raise NotNow(f"Unable to remove volume [{name}] because it does not exist")
    if not any(volume.name == name and hotplugged(volume) for volume in spec.volumes or ()):
        raise NotNow(f"Unable to remove volume [{name}] because it is not hotpluggable")


def _volume(options: AddVolumeOptions) -> Volume:
    """As it stands in a spec: what can be added can be removed."""
    source: HotplugVolumeSource = options.volume_source
    given = msgspec.convert(msgspec.to_builtins(source), HotplugVolumeSource)
    for each in (given.persistent_volume_claim, given.data_volume):
        if each is not None:
            each.hotpluggable = True
    return Volume(
        name=options.name,
        persistent_volume_claim=given.persistent_volume_claim,
        data_volume=given.data_volume,
    )


def _completed(disk: Disk) -> Disk:
    disk = msgspec.convert(msgspec.to_builtins(disk), Disk)
    target = disk.disk or disk.lun
    if target is not None and not target.bus:
        target.bus = BUSES[0]
    return disk


def _with(spec: VirtualMachineInstanceSpec, options: AddVolumeOptions) -> Json:
    disk = _completed(msgspec.structs.replace(options.disk, name=options.name))
    disks = [each for each in spec.domain.devices.disks or () if each.name != options.name]
    return _lists([*disks, disk], [*(spec.volumes or ()), _volume(options)])


def _without(spec: VirtualMachineInstanceSpec, name: str) -> Json:
    """A CD-ROM's drive stays, empty."""
    disks = [each for each in spec.domain.devices.disks or () if each.name != name or each.cdrom]
    return _lists(disks, [each for each in spec.volumes or () if each.name != name])


def _lists(disks: list[Disk], volumes: list[Volume]) -> Json:
    return {
        "domain": {"devices": {"disks": msgspec.to_builtins(disks)}},
        "volumes": msgspec.to_builtins(volumes),
    }


def _requested(vm: VirtualMachine, name: str, wish: Json) -> Json:
    """One wish per volume: the last counts."""
    requests = msgspec.to_builtins(list(vm.status.volume_requests or ()))
    if wish in requests:
        raise NotNow(f"a request for volume [{name}] is already pending")
    others = [
        each for each in requests if all((each[kind] or {}).get("name") != name for kind in each)
    ]
    return _same_version(vm, {"status": {"volumeRequests": [*others, wish]}})


def _without_dry_run(options: AddVolumeOptions) -> Json:
    wish: Json = msgspec.to_builtins(msgspec.structs.replace(options, dry_run=None))
    return wish


def _same_version(read: VirtualMachine | VirtualMachineInstance, patch: Json) -> Json:
    return {"metadata": {"resourceVersion": read.metadata.resource_version}, **patch}
