"""Disks and the volumes behind them: what every file of this family needs to know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from virtpod.api.disks import Disk
from virtpod.api.vmi import PersistentVolumeClaimInfo
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.api.volumes import Volume
from virtpod.domain import paths
from virtpod.domain.facts import Cluster, DiskImage, Guest
from virtpod.domain.quantity import bytes_of
from virtpod.domain.steps import BootStep, GrowRaw, MakeRaw
from virtpod.features.contract import Json, PodPart

RESERVE = 128 * 1024
"""Bytes of a file system that are left to it where a disk is made in it."""
Access = Literal["writes", "reads", "shares"]
"""How a guest uses a claim. Only guests that all read it, or all share it, may have it at once."""


def tolerated(cluster: Cluster) -> tuple[Json, ...]:
    """What the launcher is told of it, if it is not the usual."""
    developer = cluster.config.developer_configuration
    percent = developer and developer.pvc_tolerate_less_space_up_to_percent
    reserve = developer and developer.minimum_reserve_pvc_bytes
    said = []
    if percent is not None and percent != Guest.tolerance:
        said.append({"name": paths.TOLERANCE, "value": str(percent)})
    if reserve is not None and reserve != RESERVE:
        said.append({"name": paths.RESERVE, "value": str(reserve)})
    return tuple(said)


def least(size: int, facts: Guest) -> int:
    """Bytes that a disk may have at least where `size` are asked for."""
    return size * (100 - facts.tolerance) // 100


def source(volume: Volume) -> str:
    """The JSON name of the volume's source, "" where it has none."""
    return next(iter(sources(volume)), "")


def sources(volume: Volume) -> Iterator[str]:
    """The JSON names of all sources that are set; a valid volume has one."""
    for attribute, name in zip(
        volume.__struct_fields__, volume.__struct_encode_fields__, strict=True
    ):
        if attribute != "name" and getattr(volume, attribute) is not None:
            yield name


def matches_volume(disk: Disk) -> bool:
    """Whether the guest's blocks are to be as large as those below."""
    match = disk.block_size and disk.block_size.match_volume
    return bool(match and match.enabled is not False)


def backing(vmi: VMI, volume: Volume, facts: Guest) -> DiskImage | None:
    """The file that QEMU opens for the volume; None where the volume is no disk (yet)."""
    meta = vmi.metadata
    namespace, name = meta.namespace or "", meta.name or ""
    if volume.container_disk or volume.ephemeral:
        given = facts.images.get(volume.name)
        # The whole chain is opened in one way.
        direct = False if given and given.direct is False else None
        return given and DiskImage(paths.overlay(volume.name), "qcow2", given.size, direct=direct)
    if volume.cloud_init_no_cloud:
        return DiskImage(paths.cloud_init_iso(namespace, name, "noCloud"))
    if volume.cloud_init_config_drive:
        return DiskImage(paths.cloud_init_iso(namespace, name, "configdrive"))
    if volume.empty_disk:
        return DiskImage(f"{paths.EMPTY_DISKS}/{volume.name}.qcow2", "qcow2")
    if configured(volume):
        return DiskImage(paths.config_iso(volume.name))
    if volume.downward_metrics is not None:
        return DiskImage(paths.METRICS_DISK)
    if claim(volume) or volume.host_disk:
        return facts.images.get(volume.name)
    return None


CONFIGURED = ("configMap", "secret", "downwardAPI", "serviceAccount", "sysprep")
"""Sources that are files which the kubelet mounts."""


def configured(volume: Volume) -> str:
    """The volume's source, if it is files that become a disk; else ""."""
    given = source(volume)
    return given if given in CONFIGURED else ""


WORKING = (
    *CONFIGURED,
    "containerDisk",
    "cloudInitNoCloud",
    "cloudInitConfigDrive",
    "containerPath",
    "dataVolume",
    "downwardMetrics",
    "emptyDisk",
    "ephemeral",
    "hostDisk",
    "memoryDump",
    "persistentVolumeClaim",
)
"""The sources that `backing` knows."""


# Volumes that are persistent volume claims.


def claim(volume: Volume) -> str:
    """The name of the claim behind the volume, "" where none is. A data volume's has its name."""
    if volume.persistent_volume_claim:
        return volume.persistent_volume_claim.claim_name
    if volume.ephemeral and volume.ephemeral.persistent_volume_claim:
        return volume.ephemeral.persistent_volume_claim.claim_name
    return volume.data_volume.name if volume.data_volume else ""


def hotplugged(volume: Volume) -> bool:
    """Whether the volume comes and goes while the guest runs: the launcher's pod is without it."""
    given = volume.persistent_volume_claim or volume.data_volume
    return bool(given and given.hotpluggable)


def claims(vmi: VMI, *, hotplug: bool = True) -> dict[str, Access]:
    """The claims that the guest's disks need, each with the strongest use that is made of it;
    without `hotplug` those that it cannot start without."""
    used: dict[str, Access] = {}
    for volume in vmi.spec.volumes or ():
        if hotplugged(volume) and not hotplug:
            continue
        name = claim(volume)
        if name and used.get(name) != "writes":
            used[name] = access(vmi, volume)
    return used | (dict.fromkeys(targets(vmi), "writes") if hotplug else {})


def targets(vmi: VMI) -> list[str]:
    """The claims that are attached to be written to from outside of the guest."""
    dumps = [volume.memory_dump for volume in vmi.spec.volumes or () if volume.memory_dump]
    return [each.claim_name for each in (*dumps, *(vmi.spec.utility_volumes or ()))]


def shown(vmi: VMI) -> frozenset[str]:
    """The volumes that the guest mounts as folders, and that are no disks."""
    return frozenset(each.name for each in vmi.spec.domain.devices.filesystems or ())


def access(vmi: VMI, volume: Volume) -> Access:
    if volume.name in shown(vmi):
        return "reads" if read_only(volume) else "shares"
    disks = vmi.spec.domain.devices.disks or ()
    disk = next((disk for disk in disks if disk.name == volume.name), None)
    if disk is not None and disk.shareable:
        return "shares"
    target = disk and (disk.disk or disk.lun)
    if read_only(volume) or (disk and disk.cdrom) or (target and target.readonly):
        return "reads"
    return "writes"


def read_only(volume: Volume) -> bool:
    """Whether the pod itself gets the volume for reading only."""
    given = volume.persistent_volume_claim
    return bool(volume.ephemeral or (given and given.read_only))


def claim_info(vmi: VMI, volume: Volume) -> PersistentVolumeClaimInfo | None:
    """What virt-controller has noted of the claim."""
    for status in vmi.status.volume_status or ():
        if status.name == volume.name:
            return status.persistent_volume_claim_info
    return None


def claim_pod(vmi: VMI, volumes: Iterable[Volume], cluster: Cluster) -> PodPart:
    """The claims as volumes of the pod; compute gets each as a folder or as a device."""
    given, mounts, devices = [], [], []
    for volume in volumes:
        if hotplugged(volume):
            continue
        reference: Json = {"claimName": claim(volume)}
        if read_only(volume):
            reference["readOnly"] = True
        given.append({"name": volume.name, "persistentVolumeClaim": reference})
        info = claim_info(vmi, volume)
        if info and info.volume_mode == "Block":
            devices.append({"name": volume.name, "devicePath": paths.claim_device(volume.name)})
        else:
            folder = paths.claim_folder(volume.name)
            mounts.append({"name": volume.name, "mountPath": folder})
    return PodPart(
        volumes=tuple(given),
        mounts=tuple(mounts),
        devices=tuple(devices),
        env=tolerated(cluster),
    )


def claim_size(vmi: VMI, volume: Volume) -> int:
    """Bytes that the claim behind the volume has, or else asks for; 0 where nobody knows."""
    info = claim_info(vmi, volume)
    if info is None:
        return 0
    given = (info.capacity or {}).get("storage") or (info.requests or {}).get("storage")
    return bytes_of(given or 0)


def growing(vmi: VMI) -> list[Volume]:
    """The volumes whose disks become larger with their claims: those that the guest writes to."""
    return [
        volume
        for volume in vmi.spec.volumes or ()
        if claim(volume) and not volume.ephemeral and access(vmi, volume) != "reads"
    ]


def claim_boot(vmi: VMI, volumes: Iterable[Volume], facts: Guest) -> Iterable[BootStep]:
    """A disk file for each claim that has none: as large as the claim, without its bytes. One that
    is there becomes as large as a claim that has grown since."""
    grow = {volume.name for volume in growing(vmi)}
    for volume in volumes:
        image, size = facts.images.get(volume.name), claim_size(vmi, volume)
        if image is None or image.block or not size:
            continue
        place = paths.hotplug if hotplugged(volume) else paths.claim_folder
        if not image.size:
            yield MakeRaw(place(volume.name), paths.DISK_FILE, size, least(size, facts))
        elif image.size < size and volume.name in grow:
            yield GrowRaw(place(volume.name), paths.DISK_FILE, size)
