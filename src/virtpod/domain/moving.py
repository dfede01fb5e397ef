"""Kinds of PCI functions that guests move with: what two nodes must have in common.

A driver that saves a device's state restores it in one of the same vendor:product alone, and QAT's
in one whose physical function is set up for the same services.
https://docs.kernel.org/driver-api/vfio.html, drivers/vfio/pci/qat/main.c
"""

from __future__ import annotations

import re
from collections.abc import Collection

from virtpod.domain.qat import service

LABEL = "pci-device.node.kubevirt.io/"
"""How labels begin by which nodes tell the kinds that VFIO has there."""
MOVES, STAYS = "moves", "stays"
"""Their values: whether the drivers of all functions of the kind save their state."""
DRIVERS = frozenset(
    ("qat_vfio_pci", "mlx5_vfio_pci", "hisi_acc_vfio_pci", "pds_vfio_pci", "virtio_vfio_pci")
)
"""Of Linux: those that do. Some have hyphens in sysfs."""
TARGETS = "HostDeviceTargets"
"""Condition of a VMI: whether another node has the devices that its guest would bring."""
_KIND = re.compile(r"([0-9a-f]{4})-([0-9a-f]{4})(?:\.([a-z][a-z-]{0,40}[a-z]))?")


def saves(driver: str) -> bool:
    """Whether it is a driver that saves a device's state."""
    return driver.replace("-", "_") in DRIVERS


def kind(id: str, services: Collection[str] = ()) -> str:
    """8086-4941.cy of 8086:4941 and sym, asym; empty where that makes no label."""
    found = id.replace(":", "-") + (f".{service(services)}" if services else "")
    return found if _KIND.fullmatch(found) else ""


def told(kind: str) -> tuple[str, str]:
    """vendor:product of a kind, and Intel's word for its services; empty: it has none. ("", "") of
    what is no kind."""
    match = _KIND.fullmatch(kind)
    return (f"{match[1]}:{match[2]}", match[3] or "") if match else ("", "")
