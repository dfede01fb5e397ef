"""PCI functions in sysfs: found by their ids, made, and bound to the driver that gives them away.

Source: the kernel's Documentation/ABI/testing/sysfs-bus-pci (sriov_numvfs, driver_override) and
Documentation/PCI/pci-iov-howto.rst.
"""

from pathlib import Path

VFIO = "vfio-pci"


class Missing(Exception):
    """A function is not there, or did not get its driver; the message names it."""


def find(sysfs: Path, identity: str) -> str:
    """The address of the one function whose ids are `vendor:device`. Raises Missing."""
    found = [
        folder.name for folder in sorted(_functions(sysfs).iterdir()) if _id(folder) == identity
    ]
    if len(found) != 1:
        raise Missing(f"{len(found)} PCI functions are {identity}, one is wanted")
    return found[0]


def create(sysfs: Path, address: str, count: int) -> tuple[str, ...]:
    """Have a physical function make `count` virtual ones: their addresses, by their numbers."""
    folder = _functions(sysfs) / address
    most = int((folder / "sriov_totalvfs").read_text())
    if count > most:
        raise Missing(f"{address} makes at most {most} virtual functions, not {count}")
    (folder / "sriov_numvfs").write_text(str(count))
    return tuple((folder / f"virtfn{number}").resolve().name for number in range(count))


def give_away(sysfs: Path, address: str) -> None:
    """Bind a function to vfio-pci, whatever drives it now. Raises Missing."""
    folder = _functions(sysfs) / address
    (folder / "driver_override").write_text(VFIO)
    if driver(sysfs, address):
        (folder / "driver/unbind").write_text(address)
    (sysfs / "bus/pci/drivers_probe").write_text(address)
    if driver(sysfs, address) != VFIO:
        raise Missing(
            f"{address} is not driven by {VFIO} but by {driver(sysfs, address) or 'none'}"
        )


def driver(sysfs: Path, address: str) -> str:
    """The name of a function's driver; "" where it has none."""
    link = _functions(sysfs) / address / "driver"
    return link.readlink().name if link.is_symlink() else ""


def described(sysfs: Path) -> list[str]:
    """A line for each function: address, ids, driver, IOMMU group."""
    lines = []
    for folder in sorted(_functions(sysfs).iterdir()):
        group = folder / "iommu_group"
        within = group.readlink().name if group.is_symlink() else "-"
        by = driver(sysfs, folder.name) or "-"
        lines.append(f"{folder.name} {_id(folder)} driver {by} group {within}")
    return lines


def _functions(sysfs: Path) -> Path:
    return sysfs / "bus/pci/devices"


def _id(folder: Path) -> str:
    vendor, device = ((folder / name).read_text().strip() for name in ("vendor", "device"))
    return f"{vendor.removeprefix('0x')}:{device.removeprefix('0x')}"
