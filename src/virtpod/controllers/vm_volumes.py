"""Volumes of a VM that change while its instance runs: what the template has, the instance gets.

Only what can come and go is touched: volumes marked `hotpluggable` with their disks, and the media
of CD-ROM drives. What else differs waits for the next start (`revision.py`).

A volume of the same name with another source is another volume: the old one goes first, and the new
one comes when the guest has let go of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from virtpod.controllers import hotplug
from virtpod.controllers.lifecycle import ON_NODE, phase_of
from virtpod.features.disks.hotplug import BUSES
from virtpod.kube.plan import Patch
from virtpod.kube.plan import tests as tested
from virtpod.kube.resources import VMIS, VMS, Obj, going, key_of

DECLARATIVE, REQUESTS = "DeclarativeHotplugVolumes", "HotplugVolumes"


def actions(vm: Obj, vmi: Obj | None, gates: Collection[str]) -> list[Patch]:
    """The patches that bring requests into the template, and the template into the instance."""
    made = []
    asked = requested(vm) if REQUESTS in gates else None
    if asked is not None:
        made.append(asked)
    if vmi is not None and (patch := _live(vm, vmi, gates)):
        made.append(patch)
    return made


def pending(vm: Obj, vmi: Obj | None) -> list[Obj]:
    """`status.volumeRequests` without those that have come true."""
    return [
        request
        for request in (vm.get("status") or {}).get("volumeRequests") or ()
        if not _true(request, _spec(vm))
        or (vmi is not None and phase_of(vmi) in ON_NODE and not _true(request, vmi["spec"]))
    ]


def requested(vm: Obj) -> Patch | None:
    """The template with what was asked for, in the order in which it was."""
    requests = (vm.get("status") or {}).get("volumeRequests") or ()
    spec = _spec(vm)
    volumes, disks = _volumes(spec), _disks(spec)
    before = (list(volumes), list(disks))
    for request in requests:
        if _true(request, {"volumes": volumes}):
            continue
        if added := request.get("addVolumeOptions"):
            volumes, disks = _added(volumes, disks, _volume(added), _disk(added))
        elif removed := request.get("removeVolumeOptions"):
            volumes, disks = _removed(volumes, disks, removed["name"])
    if (volumes, disks) == before:
        return None
    body = {
        "metadata": {"resourceVersion": vm["metadata"]["resourceVersion"]},
        "spec": {
            "template": {"spec": {"volumes": volumes, "domain": {"devices": {"disks": disks}}}}
        },
    }
    return Patch(VMS, key_of(vm), body)


def _live(vm: Obj, vmi: Obj, gates: Collection[str]) -> Patch | None:
    """What the instance's spec lacks, and what it has too much."""
    if phase_of(vmi) not in ON_NODE or going(vmi):
        return None
    if DECLARATIVE not in gates and REQUESTS not in gates:
        return None
    wanted = {each["name"]: each for each in _volumes(_spec(vm)) if changes(each)}
    given = {each["name"]: each for each in _disks(_spec(vm))}
    underway = {name for name, entry in hotplug.statuses(vmi).items() if entry.get("phase")}
    volumes, disks = _volumes(vmi["spec"]), _disks(vmi["spec"])
    before = (list(volumes), list(disks))
    for volume in before[0]:
        name = volume["name"]
        if changes(volume) and wanted.get(name) != volume and _may_go(vm, name, gates):
            volumes, disks = _removed(volumes, disks, name)
    there = {each["name"] for each in before[0]}
    for name, volume in wanted.items():
        if name not in there and name not in underway:
            disk = _completed(given.get(name) or {"name": name, "disk": {}})
            volumes, disks = _added(volumes, disks, volume, disk)
    if (volumes, disks) == before:
        return None
    body = tested(vmi, "/metadata/uid", "/spec/volumes", "/spec/domain/devices/disks")
    body.append({"op": "add", "path": "/spec/volumes", "value": volumes})
    body.append({"op": "add", "path": "/spec/domain/devices/disks", "value": disks})
    return Patch(VMIS, key_of(vmi), body, "json")


def _may_go(vm: Obj, name: str, gates: Collection[str]) -> bool:
    """With the older gate an instance may have volumes that its VM knows nothing of."""
    if REQUESTS not in gates:
        return True
    return any(
        (request.get("removeVolumeOptions") or {}).get("name") == name
        for request in (vm.get("status") or {}).get("volumeRequests") or ()
    )


def changes(volume: Mapping[str, Any]) -> bool:
    """Whether a volume can come and go while the guest runs."""
    given = volume.get("persistentVolumeClaim") or volume.get("dataVolume") or {}
    return bool(given.get("hotpluggable"))


def permanent(spec: Mapping[str, Any]) -> Obj:
    """A template's spec without what can come and go: what is left needs a restart to change."""
    moving = {each["name"] for each in _volumes(spec) if changes(each) or each.get("memoryDump")}
    if not moving:
        return dict(spec)
    domain = spec.get("domain") or {}
    devices = domain.get("devices") or {}
    disks = [
        each for each in _disks(spec) if each["name"] not in moving or each.get("cdrom") is not None
    ]
    volumes = [each for each in _volumes(spec) if each["name"] not in moving]
    left = {**spec, "volumes": volumes}
    if disks != _disks(spec):
        left["domain"] = {**domain, "devices": {**devices, "disks": disks}}
    return left


def _spec(vm: Mapping[str, Any]) -> Obj:
    return (vm["spec"].get("template") or {}).get("spec") or {}


def _volumes(spec: Mapping[str, Any]) -> list[Obj]:
    return list(spec.get("volumes") or ())


def _disks(spec: Mapping[str, Any]) -> list[Obj]:
    return list(((spec.get("domain") or {}).get("devices") or {}).get("disks") or ())


def _true(request: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
    names = {each["name"] for each in spec.get("volumes") or ()}
    if added := request.get("addVolumeOptions"):
        return added["name"] in names
    return (request.get("removeVolumeOptions") or {}).get("name") not in names


def _volume(added: Mapping[str, Any]) -> Obj:
    given = {kind: {**each, "hotpluggable": True} for kind, each in added["volumeSource"].items()}
    return {"name": added["name"], **given}


def _disk(added: Mapping[str, Any]) -> Obj:
    return _completed({**(added.get("disk") or {"disk": {}}), "name": added["name"]})


def _completed(disk: Obj) -> Obj:
    """With what admission fills in where an instance is made."""
    if disk.get("cdrom") is not None:
        return disk
    kind = "lun" if disk.get("lun") is not None else "disk"
    return {**disk, kind: {"bus": BUSES[0], **(disk.get(kind) or {})}}


def _added(
    volumes: list[Obj], disks: list[Obj], volume: Obj, disk: Obj
) -> tuple[list[Obj], list[Obj]]:
    has_drive = any(each["name"] == disk["name"] for each in disks)
    return [*volumes, volume], disks if has_drive else [*disks, disk]


def _removed(volumes: list[Obj], disks: list[Obj], name: str) -> tuple[list[Obj], list[Obj]]:
    """A CD-ROM's drive stays, empty."""
    return (
        [each for each in volumes if each["name"] != name],
        [each for each in disks if each["name"] != name or each.get("cdrom") is not None],
    )
