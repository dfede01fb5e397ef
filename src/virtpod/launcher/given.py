"""Which devices of the node this container was given: device plugins say it in the environment.

The variables are those of KubeVirt's own plugins, of the SR-IOV network device plugin, and of
Intel's QAT plugin, which counts its functions instead of naming their resource.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from virtpod.domain.facts import GivenDevice

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
    resources: Iterable[str], environment: Mapping[str, str], sysfs: Path = Path("/sys")
) -> dict[str, tuple[GivenDevice, ...]]:
    """The devices of each resource, in the order in which they are named. What is no address is
    left out: whoever wrote it is not ourselves."""
    found = {}
    for resource in resources:
        suffix = resource.upper().replace("/", "_").replace(".", "_")
        for prefix, kind in VARIABLES:
            if named := environment.get(prefix + suffix):
                found[resource] = _devices(kind, named.split(","), sysfs)
                break
        else:
            if resource.startswith(QAT):
                named_ones = [environment.get(f"QAT{number}", "") for number in range(64)]
                found[resource] = _devices("pci", named_ones, sysfs)
    return found


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
    driver = _target(sysfs / "bus/pci/devices" / address / "driver")
    own = "" if driver == "vfio-pci" else driver
    return GivenDevice(kind, address, physical(address, sysfs), own)


def physical(address: str, sysfs: Path) -> str:
    """The address of the physical function that one is a virtual one of; empty: of none."""
    return _target(sysfs / "bus/pci/devices" / address / "physfn")


def _target(link: Path) -> str:
    try:
        return link.readlink().name
    except OSError:
        return ""
