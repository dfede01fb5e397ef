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
DEVICES = "bus/pci/devices"
DRIVERS = "bus/pci/drivers"
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
class Errors:
    """What Advanced Error Reporting (AER) has counted of a function since the node's start; None:
    it has no such counter. https://docs.kernel.org/PCI/pcieaer-howto.html"""

    correctable: int | None = None
    nonfatal: int | None = None
    fatal: int | None = None


@dataclass(frozen=True)
class Mediated:
    uuid: str
    type: str
    """The name of its type, as its driver says it; its id where that has no name."""
    parent: str = ""
    group: str = ""
    numa: int | None = None


@dataclass(frozen=True)
class MediatedType:
    """What a card can make mediated devices of."""

    parent: str
    id: str
    name: str = ""
    """As its driver says it; empty: it has none."""
    available: int = 0
    """How many more it has room for."""

    def called(self, name: str) -> bool:
        """By its id or its name, which is written with underscores for spaces too."""
        return name in (self.id, self.name, self.name.replace(" ", "_"))


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
    for folder in _folders(sysfs / DEVICES):
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


def errors(sysfs: Path, address: str) -> Errors:
    """The totals; the kernel lists each kind of error before them."""
    counted: dict[str, int | None] = {}
    for kind, total in (("correctable", "COR"), ("nonfatal", "NONFATAL"), ("fatal", "FATAL")):
        said = text(sysfs / DEVICES / address / f"aer_dev_{kind}")
        [*_, last] = [line.split() for line in said.splitlines() if line.strip()] or [[]]
        counted[kind] = number(last[1]) if last[:1] == [f"TOTAL_ERR_{total}"] and last[1:] else None
    return Errors(**counted)


def drivers(sysfs: Path) -> frozenset[str]:
    """The drivers of PCI functions that are loaded."""
    return frozenset(folder.name for folder in _folders(sysfs / DRIVERS))


def deny_list(sysfs: Path) -> bool:
    """Whether vfio-pci refuses the functions that its makers distrust."""
    return text(sysfs / "module/vfio_pci/parameters/disable_denylist") != "Y"


def mediated(sysfs: Path) -> list[Mediated]:
    """All mediated devices, in the order of their uuids."""
    found = []
    for folder in _folders(sysfs / "bus/mdev/devices"):
        if not _UUID.fullmatch(folder.name):
            continue
        kind = text(folder / "mdev_type/name") or _target(folder / "mdev_type")
        try:
            parent = folder.resolve().parent
        except (OSError, RuntimeError):  # the second where links lead round in a circle
            continue
        group = _target(folder / "iommu_group")
        found.append(Mediated(folder.name, kind, parent.name, group, _numa(parent)))
    return found


def mediated_types(sysfs: Path) -> list[MediatedType]:
    """All, in the order of cards and types."""
    found = []
    for folder in _glob(sysfs / "class/mdev_bus", "*/mdev_supported_types/*"):
        room = text(folder / "available_instances")
        found.append(
            MediatedType(
                parent=folder.parent.parent.name,
                id=folder.name,
                name=text(folder / "name"),
                available=int(room) if room.isdecimal() and len(room) < 6 else 0,
            )
        )
    return found


def usb(sysfs: Path) -> list[Usb]:
    """All USB devices, in the order of bus and number."""
    found = []
    for folder in _folders(sysfs / "bus/usb/devices"):
        identity = _identity(folder, "idVendor", "idProduct")
        bus, device = text(folder / "busnum"), text(folder / "devnum")
        if identity and bus.isdecimal() and device.isdecimal():
            found.append(Usb(identity, int(bus), int(device), _numa(folder)))
    return sorted(found, key=lambda each: (each.bus, each.number))


def text(path: Path) -> str:
    """An attribute's content without white space around it; empty where there is none."""
    try:
        with path.open("rb") as file:
            return file.read(LARGEST).decode("ascii", "replace").strip()
    except OSError:
        return ""


def number(said: str) -> int | None:
    """A count; None where it is none."""
    return int(said) if said.isascii() and said.isdecimal() and len(said) < 21 else None


def _identity(folder: Path, vendor: str, product: str) -> str:
    parts = [_ID.fullmatch(text(folder / name).lower()) for name in (vendor, product)]
    return ":".join(part[1] for part in parts if part) if all(parts) else ""


def _numa(folder: Path) -> int | None:
    """None also for -1, by which the kernel says that it does not know."""
    said = number(text(folder / "numa_node"))
    return said if said is not None and said < 10000 else None


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
