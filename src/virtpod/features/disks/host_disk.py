"""Disk files of a node's own file system, for guests that are bound to it.

The kubelet mounts the folder, virt-handler makes a file that is to be made the guest's own, and the
launcher gives it its size. A file that is there keeps its owner: whoever may create guests must not
thereby come into files of the node.

https://kubernetes.io/docs/concepts/storage/volumes/#hostpath
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.api.volumes import HostDisk
from virtpod.domain import paths
from virtpod.domain.facts import Cluster, Guest, Host
from virtpod.domain.quantity import bytes_of
from virtpod.domain.steps import BootStep, HostStep, MakeOwn, MakeRaw
from virtpod.features.contract import REQUIRED, UNSUPPORTED, Cause, Feature, Json, PodPart
from virtpod.features.disks import access, least, tolerated
from virtpod.wire.messages import DomainChanged

Part = tuple[tuple[int, str, HostDisk], ...]

THERE, MADE = "Disk", "DiskOrCreate"
LONGEST = 4095
"""Bytes of a path."""


def asked(vmi: VMI) -> Part:
    return tuple(
        (index, volume.name, volume.host_disk)
        for index, volume in enumerate(vmi.spec.volumes or ())
        if volume.host_disk
    )


def validate(part: Part, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    for index, _, disk in part:
        where = f"spec.volumes[{index}].hostDisk"
        if not disk.path:
            yield Cause(f"{where}.path", f"{where}.path is required for hostDisk", REQUIRED)
        elif wrong := _unfit(disk.path):
            yield Cause(f"{where}.path", f"{where}.path {wrong}")
        if disk.type not in (THERE, MADE):
            yield Cause(
                f"{where}.type",
                f"{where}.type has invalid value {disk.type!r}; it is {THERE} or {MADE}",
                UNSUPPORTED,
            )
        yield from _validate_capacity(f"{where}.capacity", disk)


def _unfit(path: str) -> str:
    """What is wrong with the path of a disk, "" where nothing is."""
    parts = path.split("/")
    if parts[0] or {"", ".", ".."} & set(parts[1:]) or "\0" in path:
        return "must be an absolute path of a file, without '.', '..' and doubled slashes"
    if len(path.encode()) > LONGEST or any(len(each.encode()) > 255 for each in parts):
        return "is longer than a path can be"
    if len(parts) < 3:
        return "must be in a folder of its own: the whole folder is mounted into the pod"
    return ""


def _validate_capacity(where: str, disk: HostDisk) -> Iterable[Cause]:
    if disk.capacity is None:
        if disk.type == MADE:
            yield Cause(where, f"{where} is required for type {MADE}, such as 1Gi", REQUIRED)
        return
    if disk.type == THERE:
        yield Cause(where, f"{where} is allowed with type {MADE} only: the disk is there already")
        return
    try:
        if bytes_of(disk.capacity) <= 0:
            yield Cause(where, f"{where} must be greater than 0, such as 1Gi")
    except ValueError as error:
        yield Cause(where, f"{where}: {error}")


def pod(part: Part, vmi: VMI, cluster: Cluster) -> PodPart:
    volumes: list[Json] = []
    mounts: list[Json] = []
    for index, name, disk in part:
        kind = "DirectoryOrCreate" if disk.type == MADE else "Directory"
        folder = {"path": disk.path.rpartition("/")[0], "type": kind}
        volumes.append({"name": name, "hostPath": folder})
        mount: Json = {"name": name, "mountPath": paths.claim_folder(name)}
        if disk.type == THERE and access(vmi, (vmi.spec.volumes or [])[index]) == "reads":
            mount["readOnly"] = True
        mounts.append(mount)
    return PodPart(volumes=tuple(volumes), mounts=tuple(mounts), env=tolerated(cluster))


def host(part: Part, vmi: VMI, facts: Host) -> Iterable[HostStep]:
    for _, name, disk in part:
        if disk.type == MADE:
            yield MakeOwn(paths.claim_folder(name), disk.path.rpartition("/")[2], paths.QEMU_UID)


def boot(part: Part, vmi: VMI, facts: Guest) -> Iterable[BootStep]:
    for _, name, disk in part:
        image = facts.images.get(name)
        if image and not image.size and disk.capacity is not None:
            size = bytes_of(disk.capacity)
            file = disk.path.rpartition("/")[2]
            yield MakeRaw(paths.claim_folder(name), file, size, least(size, facts))


def blocks_migration(part: Part, vmi: VMI, domain: DomainChanged) -> str | None:
    own = [name for _, name, disk in part if not disk.shared]
    return f"hostDisk of volume {own[0]} is on this node only" if own else None


FEATURE = Feature(
    name="host_disk",
    owns=("volumes.hostDisk",),
    asked=asked,
    gate="HostDisk",
    validate=validate,
    pod=pod,
    host=host,
    boot=boot,
    blocks_migration=blocks_migration,
)
