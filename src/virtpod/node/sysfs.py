"""What sysfs says about devices that a guest may be given: PCI functions, mediated and USB devices.

Whatever stands in sysfs is only believed as far as it can be read: a function whose files are
missing, or say nonsense, is left out or lacks that fact; nothing here raises.

https://docs.kernel.org/PCI/sysfs-pci.html, https://docs.kernel.org/driver-api/vfio.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LARGEST = 4096
"""Bytes of an attribute that are read; none is larger than a page."""
ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_ID = re.compile(r"(?:0x)?([0-9a-f]{4})")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
BRIDGES = "0x06"
"""How the class of bridges begins: they belong to an IOMMU group, and to no guest."""


@dataclass(frozen=True)
class Function:
    """A PCI function."""

    address: str
    """domain:bus:device.function, in hexadecimal."""
    id: str
    """vendor:product, four hexadecimal digits each."""
    driver: str = ""
    group: str = ""
    """Of the IOMMU; empty: none."""
    numa: int | None = None
    vfio: bool = False
    """Its driver gives it to user space, whatever the driver is called."""
    parent: str = ""
    """The address of the physical function that it is a virtual one of."""
    children: tuple[str, ...] = ()
    """The addresses of its virtual functions."""
    bridge: bool = False


@dataclass(frozen=True)
class Mediated:
    uuid: str
    type: str
    """The name of its type, as its driver says it; its id where that has no name."""
    parent: str = ""
    group: str = ""
    numa: int | None = None


@dataclass(frozen=True)
class Usb:
    id: str
    """vendor:product, four hexadecimal digits each."""
    bus: int
    number: int
    numa: int | None = None


def functions(sysfs: Path) -> dict[str, Function]:
    """All PCI functions by address, in the order of their addresses."""
    found = {}
    for folder in _folders(sysfs / "bus/pci/devices"):
        identity = _identity(folder, "vendor", "device")
        if not ADDRESS.fullmatch(folder.name) or not identity:
            continue
        driver = _target(folder / "driver")
        found[folder.name] = Function(
            address=folder.name,
            id=identity,
            driver=driver,
            group=_target(folder / "iommu_group"),
            numa=_numa(folder),
            vfio=driver == "vfio-pci" or any(_folders(folder / "vfio-dev")),
            parent=_target(folder / "physfn"),
            children=tuple(sorted(filter(None, map(_target, _glob(folder, "virtfn*"))))),
            bridge=text(folder / "class").startswith(BRIDGES),
        )
    return found


def mediated(sysfs: Path) -> list[Mediated]:
    """All mediated devices, in the order of their uuids."""
    found = []
    for folder in _folders(sysfs / "bus/mdev/devices"):
        if not _UUID.fullmatch(folder.name):
            continue
        kind = text(folder / "mdev_type/name") or _target(folder / "mdev_type")
        try:
            parent = folder.resolve().parent
        except OSError:
            continue
        group = _target(folder / "iommu_group")
        found.append(Mediated(folder.name, kind, parent.name, group, _numa(parent)))
    return found


def usb(sysfs: Path) -> list[Usb]:
    """All USB devices, in the order of bus and number."""
    found = []
    for folder in _folders(sysfs / "bus/usb/devices"):
        identity = _identity(folder, "idVendor", "idProduct")
        bus, number = text(folder / "busnum"), text(folder / "devnum")
        if identity and bus.isdecimal() and number.isdecimal():
            found.append(Usb(identity, int(bus), int(number), _numa(folder)))
    return sorted(found, key=lambda device: (device.bus, device.number))


def text(path: Path) -> str:
    """An attribute's content without white space around it; empty where there is none."""
    try:
        with path.open("rb") as file:
            return file.read(LARGEST).decode("ascii", "replace").strip()
    except OSError:
        return ""


def _identity(folder: Path, vendor: str, product: str) -> str:
    parts = [_ID.fullmatch(text(folder / name).lower()) for name in (vendor, product)]
    return ":".join(part[1] for part in parts if part) if all(parts) else ""


def _numa(folder: Path) -> int | None:
    """None also for -1, by which the kernel says that it does not know."""
    said = text(folder / "numa_node")
    return int(said) if said.isdecimal() and len(said) < 5 else None


def _target(link: Path) -> str:
    """The name of what a link leads to; empty where it is none."""
    try:
        return link.readlink().name
    except OSError:
        return ""


def _folders(folder: Path) -> Iterator[Path]:
    yield from _glob(folder, "*")


def _glob(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []
