"""A virtual IOMMU: with it a guest's drivers in user space (qatlib, DPDK) use VFIO as on a real
machine. KubeVirt's API has no field for it, so an annotation of the VMI asks for one.

The guest must turn it on: `intel_iommu=on` in its kernel's command line.
https://libvirt.org/formatdomain.html#iommu-devices, https://wiki.qemu.org/Features/VT-d
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.traits import VIOMMU, own_devices, vcpus
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.quantity import bytes_of
from virtpod.domain.xml import E, Element
from virtpod.features.contract import UNSUPPORTED, Cause, Feature, PodPart

MODEL = "intel"
WHERE = f"metadata.annotations[{VIOMMU}]"
ENTRIES = 512
"""Bytes of memory for each byte of page tables: eight bytes for 4 KiB."""
WITHOUT_EXTENDED = 255
"""More virtual CPUs than these get no interrupt without the extended mode."""


def asked(vmi: VMI) -> str | None:
    return (vmi.metadata.annotations or {}).get(VIOMMU)


def validate(model: str, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    if model != MODEL:
        message = f"annotation {VIOMMU}: {model!r} is not known; the model of an IOMMU is {MODEL}"
        yield Cause(WHERE, message, UNSUPPORTED)
    machine = vmi.spec.domain.machine
    if vmi.spec.architecture != "amd64" or "q35" not in ((machine and machine.type) or ""):
        message = f"annotation {VIOMMU}: an IOMMU of Intel's exists with machine type q35 alone"
        yield Cause(WHERE, message, UNSUPPORTED)
    if vmi.spec.domain.launch_security:
        message = f"annotation {VIOMMU}: a guest with launchSecurity cannot have an IOMMU"
        yield Cause(WHERE, message)


def pod(model: str, vmi: VMI, cluster: Cluster) -> PodPart:
    """Each device has page tables of its own, and may lock all of the guest's memory once more."""
    memory = vmi.spec.domain.memory
    size = bytes_of(memory.guest) if memory and memory.guest else 0
    return PodPart(overhead=size // ENTRIES * own_devices(vmi))


def devices(model: str, vmi: VMI, facts: Guest) -> Iterable[Element]:
    """Devices that the guest has to itself want its map told of each change (caching mode). QEMU
    alone decides on interrupts where nothing of the kernel's delivers them."""
    remaps = None if facts.emulation else "on"
    extended = "on" if vcpus(vmi) > WITHOUT_EXTENDED else None
    yield E("iommu", E("driver", intremap=remaps, caching_mode="on", eim=extended), model=MODEL)


def tune(model: str, vmi: VMI, facts: Guest, domain: Element) -> None:
    """Interrupts are remapped by QEMU, so that it must have the I/O APIC too."""
    features = domain.find("features")
    if features is not None and not facts.emulation:
        features.append(E("ioapic", driver="qemu"))


FEATURE = Feature(
    name="viommu",
    owns=(),
    asked=asked,
    validate=validate,
    pod=pod,
    devices=devices,
    tune=tune,
)
