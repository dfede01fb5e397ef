"""SCSI devices of the node's storage that the guest commands itself, reservations included.

A reservation is a privileged command: QEMU has it made by qemu-pr-helper, which runs beside
virt-handler and whose socket a device plugin brings into the pod.

https://libvirt.org/formatdomain.html#hard-drives-floppy-disks-cdroms
https://www.qemu.org/docs/master/tools/qemu-pr-helper.html
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.disks import Disk
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.steps import BootStep
from virtpod.features.contract import UNSUPPORTED, Cause, Feature, PodPart
from virtpod.features.disks import claim, source
from virtpod.wire.messages import DomainChanged

Part = tuple[tuple[int, Disk], ...]

BUS = "scsi"
"""The one that QEMU hands commands on from; libvirt refuses any other."""
SOURCES = ("persistentVolumeClaim", "dataVolume")
RESOURCE = "devices.kubevirt.io/pr-helper"


def asked(vmi: VMI) -> Part:
    return tuple(
        (index, disk)
        for index, disk in enumerate(vmi.spec.domain.devices.disks or ())
        if disk.lun is not None
    )


def defaults(part: Part, vmi: VMI, cluster: Cluster) -> None:
    """Asked before the feature of all disks, whose usual bus is another."""
    for _, disk in part:
        if disk.lun is not None and not disk.lun.bus:
            disk.lun.bus = BUS


def validate(part: Part, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    volumes = {volume.name: volume for volume in vmi.spec.volumes or ()}
    for index, disk in part:
        where = f"spec.domain.devices.disks[{index}].lun"
        volume = volumes.get(disk.name)
        if volume is not None and source(volume) not in SOURCES:
            message = f"{where} can only be mapped to a DataVolume or PersistentVolumeClaim volume."
            yield Cause(where, message)
        bus = disk.lun and disk.lun.bus
        if bus != BUS:
            message = f"{where}.bus: a LUN's bus is {BUS}, not {bus}"
            yield Cause(f"{where}.bus", message, UNSUPPORTED)
        if disk.serial:
            path = f"spec.domain.devices.disks[{index}].serial"
            yield Cause(path, f"{path}: a LUN has the serial number of its device; remove it")
        if _reserves(disk) and bus != BUS:
            message = f"{where}.reservation: only LUNs on bus scsi can be reserved"
            yield Cause(f"{where}.reservation", message)
        if _reserves(disk) and not _served(cluster):
            yield Cause(
                f"{where}.reservation",
                f"{where}.reservation: no node makes persistent reservations; the KubeVirt object "
                "must have spec.configuration.persistentReservationConfiguration.enabled",
                UNSUPPORTED,
            )


def _reserves(disk: Disk) -> bool:
    return bool(disk.lun and disk.lun.reservation)


def _served(cluster: Cluster) -> bool:
    given = cluster.config.persistent_reservation_configuration
    return bool(given and given.enabled)


def pod(part: Part, vmi: VMI, cluster: Cluster) -> PodPart:
    wanted = any(_reserves(disk) for _, disk in part)
    return PodPart(limits={RESOURCE: "1"} if wanted else {})


def boot(part: Part, vmi: VMI, facts: Guest) -> Iterable[BootStep]:
    """Nothing is made. Raises OSError where the guest would command a file."""
    volumes = {volume.name: volume for volume in vmi.spec.volumes or ()}
    for _, disk in part:
        image = facts.images.get(disk.name)
        if image and not image.block:
            raise OSError(
                f"disk {disk.name} is a LUN, which must be a block device: PVC "
                f"{claim(volumes[disk.name])} has volumeMode Filesystem; use one with volumeMode "
                "Block, or make it a disk"
            )
    return ()


def blocks_migration(part: Part, vmi: VMI, domain: DomainChanged) -> str | None:
    held = [disk.name for _, disk in part if _reserves(disk)]
    return f"LUN {held[0]} may be reserved for this node" if held else None


FEATURE = Feature(
    name="lun",
    owns=("domain.devices.disks.lun",),
    asked=asked,
    defaults=defaults,
    validate=validate,
    pod=pod,
    boot=boot,
    blocks_migration=blocks_migration,
)
