"""The blocks of what is below a disk, for guests that are to have them of the same size.

https://man7.org/linux/man-pages/man4/sd.4.html (BLKSSZGET), statfs(2)
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from collections.abc import Mapping
from pathlib import Path

from virtpod.api.vmi import VirtualMachineInstance
from virtpod.domain.facts import Blocks
from virtpod.features.disks import matches_volume

LOGICAL, PHYSICAL = 0x1268, 0x127B  # BLKSSZGET, BLKPBSZGET
SMALLEST, LARGEST = 512, 2 * 1024 * 1024
"""Bytes of a block, as QEMU takes them."""


def of(vmi: VirtualMachineInstance, places: Mapping[str, str]) -> dict[str, Blocks]:
    """By disk, where the spec asks for it. `places`: what is below each: a device, a file, or the
    folder that a file is to be made in. Raises OSError."""
    disks = vmi.spec.domain.devices.disks or ()
    return {
        disk.name: look(places[disk.name])
        for disk in disks
        if matches_volume(disk) and disk.name in places
    }


def look(place: str) -> Blocks:
    """What is not there yet is looked for in its folder."""
    while not os.path.exists(place):
        place = os.path.dirname(place)
    opened = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(opened)
        if stat.S_ISBLK(found.st_mode):
            return _device(opened, found.st_rdev)
        size = _sane(os.fstatvfs(opened).f_bsize)
        return Blocks(size, size)
    finally:
        os.close(opened)


def _device(opened: int, number: int) -> Blocks:
    logical, physical = (
        _sane(struct.unpack("I", fcntl.ioctl(opened, kind, bytes(4)))[0])
        for kind in (LOGICAL, PHYSICAL)
    )
    queue = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/queue")
    try:
        discard = int((queue / "discard_granularity").read_text())
    except (OSError, ValueError):
        discard = 0
    return Blocks(logical, max(logical, physical), discard if discard % logical == 0 else 0)


def _sane(size: int) -> int:
    """A size that QEMU takes; file systems on a network name that of their packets."""
    power = 1 << (max(size, SMALLEST).bit_length() - 1)
    return min(power, LARGEST) if power == size else SMALLEST
