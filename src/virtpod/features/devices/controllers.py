"""The buses that other devices sit on: SCSI, virtio-serial, USB.

https://libvirt.org/formatdomain.html#controllers
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.traits import virtio_model
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Guest
from virtpod.domain.xml import E, Element
from virtpod.features.contract import Feature, always


def scsi(vmi: VMI) -> bool:
    """Whether the machine has a SCSI bus: for its disks, or for those plugged in later."""
    given = vmi.spec.domain.devices
    targets = [disk.disk or disk.cdrom or disk.lun for disk in given.disks or ()]
    return not given.disable_hotplug or any(t and t.bus == "scsi" for t in targets)


def usb(vmi: VMI) -> bool:
    """Whether anything sits on a USB bus."""
    given = vmi.spec.domain.devices
    targets = [disk.disk or disk.cdrom or disk.lun for disk in given.disks or ()]
    return (
        vmi.spec.architecture == "arm64"
        or any((i.bus or "usb") == "usb" for i in given.inputs or ())
        or any(t and t.bus == "usb" for t in targets)
        or given.client_passthrough is not None
    )


def devices(part: VMI, vmi: VMI, facts: Guest) -> Iterable[Element]:
    given = any(each.kind == "usb" for devices in facts.given.values() for each in devices)
    model = "qemu-xhci" if usb(vmi) or given else "none"
    yield E("controller", type="usb", index=0, model=model)
    if scsi(vmi):
        plain = vmi.spec.architecture == "s390x"  # libvirt's schema has another word here
        model = "virtio-scsi" if plain else virtio_model(vmi)
        yield E("controller", type="scsi", index=0, model=model)
    yield E("controller", type="virtio-serial", index=0, model=virtio_model(vmi))


FEATURE = Feature(
    name="controllers",
    owns=("domain.devices.disableHotplug", "domain.devices.useVirtioTransitional"),
    asked=always,
    devices=devices,
)
