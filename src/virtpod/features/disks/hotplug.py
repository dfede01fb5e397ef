"""Claims that are attached to a guest while it runs, and taken away again.

The launcher's pod is made without them. A pod of their own brings them to the node (`pod` of
`render/attachment.py`), virt-handler brings them from there into the launcher's container, and
libvirt plugs them in.

https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainAttachDeviceFlags
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from msgspec import structs

from virtpod.api.disks import Disk
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.api.volumes import Volume
from virtpod.domain.facts import Cluster, DiskImage, Guest
from virtpod.domain.steps import BootStep
from virtpod.domain.xml import E, Element
from virtpod.features.contract import UNSUPPORTED, Cause, Feature
from virtpod.features.disks import claim_boot, hotplugged

Part = tuple[tuple[int, Volume], ...]

BUSES = ("scsi", "virtio")
"""Buses that a disk can join while the guest runs."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def asked(vmi: VMI) -> Part:
    return tuple(
        (index, volume) for index, volume in enumerate(vmi.spec.volumes or ()) if hotplugged(volume)
    )


def defaults(part: Part, vmi: VMI, cluster: Cluster) -> None:
    """Asked before the feature of all disks, whose usual bus takes no disk from a running guest."""
    names = {volume.name for _, volume in part}
    for disk in vmi.spec.domain.devices.disks or ():
        target = disk.disk or disk.lun
        if disk.name in names and target is not None and not target.bus:
            target.bus = BUSES[0]


def validate(part: Part, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    names = {volume.name for _, volume in part}
    for index, disk in enumerate(vmi.spec.domain.devices.disks or ()):
        if disk.name in names and (wrong := unfit(disk)):
            yield Cause(f"spec.domain.devices.disks[{index}]", wrong, UNSUPPORTED)
    if part and vmi.spec.domain.devices.disable_hotplug:
        yield Cause(
            "spec.domain.devices.disableHotplug",
            "spec.domain.devices.disableHotplug leaves no room for hotpluggable volumes; "
            "take it away, or make the volumes permanent",
        )


def unfit(disk: Disk) -> str:
    """Why a running guest cannot be given the disk, "" where it can."""
    if disk.cdrom is not None:
        return ""  # the drive is there from the start, and its medium changes
    target = disk.disk or disk.lun
    if target is None:
        return f"hotplug disk {disk.name} must be a disk, a lun or a cdrom"
    if disk.lun is not None and target.bus != "scsi":
        return f"hotplugged LUN {disk.name} does not use a scsi bus"
    if target.bus not in BUSES:
        return f"hotplugged disk {disk.name} requires bus to be one of {', '.join(BUSES)}"
    if target.bus == "virtio" and disk.dedicated_io_thread:
        return f"hotplugged disk {disk.name} cannot have a dedicated IO thread"
    return ""


def boot(part: Part, vmi: VMI, facts: Guest) -> Iterable[BootStep]:
    return claim_boot(vmi, (volume for _, volume in part), facts)


def alone(vmi: VMI, name: str) -> VMI:
    """The VMI with no other disk than this one: what is to be plugged in."""
    devices = vmi.spec.domain.devices
    disks = [disk for disk in devices.disks or () if disk.name == name]
    volumes = [volume for volume in vmi.spec.volumes or () if volume.name == name]
    domain = structs.replace(vmi.spec.domain, devices=structs.replace(devices, disks=disks))
    return structs.replace(vmi, spec=structs.replace(vmi.spec, domain=domain, volumes=volumes))


def holding(drive: Element, image: DiskImage | None) -> Element:
    """The drive with the medium in it, or with none; the tray is closed."""
    for each in drive.findall("source") + drive.findall("backingStore"):
        drive.remove(each)
    target, driver = drive.find("target"), drive.find("driver")
    if target is not None:
        target.attrib.pop("tray", None)
    if driver is not None:
        driver.set("type", image.format if image else "raw")
    if image is not None:
        drive.append(E("source", **{"dev" if image.block else "file": image.path}))
    drive.set("type", "block" if image and image.block else "file")
    return drive


def aimed(disk: Element, taken: Collection[str]) -> Element:
    """The disk with a name that none of the guest's has."""
    target = disk.find("target")
    assert target is not None
    prefix = target.get("dev", "sda")[:2]
    names = [*LETTERS, *(one + two for one in LETTERS for two in LETTERS)]
    target.set("dev", next(name for each in names if (name := prefix + each) not in taken))
    return disk


FEATURE = Feature(
    name="hotplug",
    owns=(
        "volumes.persistentVolumeClaim.hotpluggable",
        "volumes.dataVolume.hotpluggable",
    ),
    asked=asked,
    defaults=defaults,
    validate=validate,
)
