"""Which devices of the node this container was given: device plugins say it in the environment.

The variables are those of KubeVirt's own plugins, of the SR-IOV network device plugin, and of
Intel's QAT plugin, which counts its functions instead of naming their resource. It counts anew for
each resource, so that where a container has several of them, variables are lost; then the functions
are those whose VFIO groups the container has, told apart by what they do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from virtpod.domain.facts import GivenDevice
from virtpod.domain.qat import GENERIC, VIRTUAL, service

VARIABLES = (
    ("PCI_RESOURCE_", "pci"),
    ("MDEV_PCI_RESOURCE_", "mdev"),
    ("USB_RESOURCE_", "usb"),
    ("PCIDEVICE_", "pci"),
)
QAT = "qat.intel.com/"
SHAPES = {
    "pci": re.compile(r"[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]"),
    "mdev": re.compile(r"[0-9a-fA-F-]{36}"),
    "usb": re.compile(r"[0-9]{1,3}:[0-9]{1,3}"),
}


def given(
    resources: Iterable[str],
    environment: Mapping[str, str],
    sysfs: Path = Path("/sys"),
    dev: Path = Path("/dev"),
) -> dict[str, tuple[GivenDevice, ...]]:
    """The devices of each resource, in the order in which they are named. What is no address is
    left out: whoever wrote it is not ourselves."""
    found = {}
    counted = []
    for resource in resources:
        suffix = resource.upper().replace("/", "_").replace(".", "_")
        for prefix, kind in VARIABLES:
            if named := environment.get(prefix + suffix):
                found[resource] = _devices(kind, named.split(","), sysfs)
                break
        else:
            if resource.startswith(QAT):
                counted.append(resource)
    if len(counted) == 1:
        named_ones = [environment.get(f"QAT{number}", "") for number in range(64)]
        found[counted[0]] = _devices("pci", named_ones, sysfs)
    elif counted:
        taken = {each.address for those in found.values() for each in those}
        does = {each: _does(each, sysfs) for each in _in_groups(sysfs, dev) if each not in taken}
        for resource in counted:
            fit = [each for each, word in does.items() if QAT + word == resource]
            found[resource] = _devices("pci", fit, sysfs)
    return found


def _in_groups(sysfs: Path, dev: Path) -> Iterator[str]:
    """The QAT functions of the container's VFIO groups."""
    groups = [each.name for each in (dev / "vfio").glob("[0-9]*")]
    for group in sorted(filter(str.isdecimal, groups), key=int):
        for each in sorted((sysfs / "kernel/iommu_groups" / group / "devices").glob("*")):
            if _id(each) in VIRTUAL:
                yield each.name


def _does(address: str, sysfs: Path) -> str:
    """Intel's word for what a virtual function is set up for."""
    devices = sysfs / "bus/pci/devices"
    if not VIRTUAL[_id(devices / address)].by_service:
        return GENERIC
    return service(_text(devices / physical(address, sysfs) / "qat/cfg_services").split(";"))


def _id(device: Path) -> str:
    return ":".join(_text(device / name).removeprefix("0x") for name in ("vendor", "device"))


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError:
        return ""


def _devices(kind: str, addresses: Iterable[str], sysfs: Path) -> tuple[GivenDevice, ...]:
    return tuple(
        described(kind, address, sysfs)
        for address in dict.fromkeys(each.strip() for each in addresses)
        if SHAPES[kind].fullmatch(address)
    )


def described(kind: str, address: str, sysfs: Path = Path("/sys")) -> GivenDevice:
    """What sysfs has to say of it."""
    if kind != "pci":
        return GivenDevice(kind, address)
    folder = sysfs / "bus/pci/devices" / address
    driver = _target(folder / "driver")
    own = "" if driver == "vfio-pci" else driver
    group = _target(folder / "iommu_group")
    return GivenDevice(kind, address, physical(address, sysfs), own, group)


def physical(address: str, sysfs: Path) -> str:
    """The address of the physical function that one is a virtual one of; empty: of none."""
    return _target(sysfs / "bus/pci/devices" / address / "physfn")


def _target(link: Path) -> str:
    try:
        return link.readlink().name
    except OSError:
        return ""
