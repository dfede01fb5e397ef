"""Where devices sit on the guest's PCI bus, as annotations ask: for guests that are particular.

`placePCIDevicesOnRootComplex`: no bridges. `disablePCIHole64`: no window above 4 GiB, for 32-bit
guests. `pci-topology-version: v3`: ports that stay free for what is plugged in later; a new VM gets
it, unless it says otherwise.
https://libvirt.org/pci-hotplug.html
"""

from __future__ import annotations

from collections.abc import Mapping

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Guest
from virtpod.domain.quantity import bytes_of
from virtpod.domain.xml import E, Element
from virtpod.features.contract import Feature

ROOT = "kubevirt.io/placePCIDevicesOnRootComplex"
HOLE = "kubevirt.io/disablePCIHole64"
TOPOLOGY = "kubevirt.io/pci-topology-version"
PORTS = "v3"
WITHOUT = ("s390x",)
"""Architectures whose machines have no such bus."""
SMALL = 2 * 2**30
"""Bytes of memory up to which a guest has fewer ports."""
FEW, MANY = (8, 3), (16, 6)
"""Ports in all, and those that are free at least."""
SLOTS = range(0x02, 0x1B)
"""Of the root bus: the display is in slot 1, and what belongs to the chip set lies above."""
ON_PCI = ("interface", "memballoon", "rng", "watchdog", "vsock", "sound", "hostdev")
"""Elements that are PCI devices; disks, inputs and controllers depend on their bus or type."""


def asked(vmi: VMI) -> Mapping[str, str] | None:
    """On architectures whose machines have such a bus."""
    given = vmi.metadata.annotations or {}
    found = {name: given[name] for name in (ROOT, HOLE, TOPOLOGY) if name in given}
    return None if vmi.spec.architecture in WITHOUT else found


def topology(given: Mapping[str, str], architecture: str | None) -> Mapping[str, str]:
    """The annotation that a new VM gets beside those that are `given`; none where they say how its
    bus is to be."""
    said = TOPOLOGY in given or given.get(ROOT) == "true"
    return {} if said or architecture in WITHOUT else {TOPOLOGY: PORTS}


def tune(given: Mapping[str, str], vmi: VMI, facts: Guest, domain: Element) -> None:
    devices = domain.find("devices")
    assert devices is not None
    hole = E("pcihole64", "0", unit="KiB") if given.get(HOLE) == "true" else None
    if hole is not None or given.get(TOPOLOGY) == PORTS:
        # Ports that are named want a root that is.
        devices.insert(0, E("controller", hole, type="pci", index=0, model="pcie-root"))
    if given.get(ROOT) == "true":
        _onto_root(devices)
    elif given.get(TOPOLOGY) == PORTS:
        _with_ports(devices, vmi)


def _onto_root(devices: Element) -> None:
    taken = {
        int(address.get("slot", "0"), 16)
        for address in devices.iterfind("*/address[@type='pci']")
        if int(address.get("bus") or "0", 16) == 0
    }
    free = (slot for slot in SLOTS if slot not in taken)
    for device in devices:
        if not _on_pci(device) or device.find("address") is not None:
            continue
        slot = next(free, None)
        if slot is None:
            return  # libvirt finds room for the rest
        place = {"domain": "0x0000", "bus": "0x00", "slot": f"0x{slot:02x}", "function": "0x0"}
        device.append(E("address", type="pci", **place))


def _with_ports(devices: Element, vmi: VMI) -> None:
    memory = vmi.spec.domain.memory
    small = not (memory and memory.guest) or bytes_of(memory.guest) <= SMALL
    total, spare = FEW if small else MANY
    used = sum(_on_pci(device) and device.find("address") is None for device in devices)
    for _ in range(max(total, used + spare)):
        devices.append(E("controller", type="pci", model="pcie-root-port"))


def _on_pci(device: Element) -> bool:
    target = device.find("target")
    match device.tag:
        case "disk":
            return target is not None and target.get("bus") == "virtio"
        case "controller":
            kind, model = device.get("type"), device.get("model")
            return kind in ("scsi", "virtio-serial") or (kind == "usb" and model != "none")
        case "input":
            return device.get("bus") == "virtio"
        case "hostdev":
            return device.get("type") != "usb"
        case "memballoon":
            return device.get("model") != "none"
        case "memory":
            return device.get("model", "").startswith("virtio")
        case "watchdog":
            return device.get("model") == "i6300esb"
    return device.tag in ON_PCI


FEATURE = Feature(name="pci", owns=(), asked=asked, tune=tune)
