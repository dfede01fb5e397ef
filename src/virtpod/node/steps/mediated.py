"""Makes and removes mediated devices, by the files that their cards' drivers have in sysfs.

https://docs.kernel.org/driver-api/vfio-mediated-device.html#directories-and-files-under-the-sysfs-for-each-physical-device
"""

from __future__ import annotations

import os
from pathlib import Path


def make(sysfs: Path, parent: str, kind: str, uuid: str) -> None:
    """Raises OSError."""
    folder = sysfs / "class/mdev_bus" / parent / "mdev_supported_types" / kind
    _write(folder / "create", uuid)


def remove(sysfs: Path, dev: Path, uuid: str, group: str) -> None:
    """Raises OSError: also where the device is open, which the kernel would wait for."""
    if group:
        # A group is opened once at a time: who has it open has the device.
        os.close(os.open(dev / "vfio" / group, os.O_RDWR | os.O_CLOEXEC))
    _write(sysfs / "bus/mdev/devices" / uuid / "remove", "1")


def _write(file: Path, text: str) -> None:
    """In one go, into a file that is there."""
    opened = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(opened, text.encode())
    finally:
        os.close(opened)
