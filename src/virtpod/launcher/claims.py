"""Disks in claims: looked at, and made where there is none, without trusting what is there.

A claim is a tenant's, and other pods may write to it. Its disk is opened beneath an open handle of
the claim's folder, so no link leads out of it; what QEMU then opens by name can at most be another
file of this same pod.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from virtpod.domain import paths
from virtpod.domain.facts import DiskImage, Guest
from virtpod.launcher.images import ImageInvalid, open_beneath

MODE = 0o660
PROBE = ".direct"
RESERVE = 128 * 1024
"""Bytes of the file system that are left to it."""
STEP = 1024 * 1024
"""Bytes by which a disk grows at least: what a file system frees or takes for itself is no growth.
"""


def reserve() -> int:
    """Bytes that are left free, as virt-controller has it."""
    told = os.environ.get(paths.RESERVE, "")
    return int(told) if told.isdecimal() else RESERVE


def tolerance() -> int:
    """Percent that a disk may be smaller than was asked for, as virt-controller has it."""
    told = os.environ.get(paths.TOLERANCE, "")
    return int(told) if told.isdecimal() and int(told) <= 100 else Guest.tolerance


class ClaimInvalid(ImageInvalid):
    """The claim cannot back a disk."""

    reason = "ClaimInvalid"


def look(volume: str, *, read_only: bool) -> DiskImage:
    """The disk of the claim; its size is 0 where it must be made. Raises ClaimInvalid, OSError."""
    device = paths.claim_device(volume)
    if os.path.exists(device):
        return _device(device, volume)
    return _mounted(paths.claim_folder(volume), volume, read_only=read_only)


def look_at_host(volume: str, name: str, *, made: bool, read_only: bool) -> DiskImage:
    """The same of a file on the node; `made`: virt-handler has made an empty one where there was
    none. Raises ClaimInvalid, OSError."""
    place = paths.claim_folder(volume)
    found = _mounted(place, volume, name, read_only=read_only)
    if found.size or made:
        return found
    raise ClaimInvalid(
        f"hostDisk of volume {volume}: there is no disk {name} in its folder on this node, or it "
        "is empty; put it there, or have it made by type DiskOrCreate"
    )


def look_hotplugged(volume: str, *, read_only: bool) -> DiskImage:
    """The same of a claim that virt-handler has brought into the container."""
    place = paths.hotplug(volume)
    if os.path.isdir(place):
        return _mounted(place, volume, read_only=read_only)
    return _device(place, volume)


def _mounted(place: str, volume: str, name: str = paths.DISK_FILE, *, read_only: bool) -> DiskImage:
    folder = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return in_folder(folder, f"{place}/{name}", volume, read_only=read_only)
    finally:
        os.close(folder)


def _device(path: str, volume: str) -> DiskImage:
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISBLK(os.fstat(opened).st_mode):
            raise ClaimInvalid(f"the claim of volume {volume} is no block device")
        return DiskImage(path, size=os.lseek(opened, 0, os.SEEK_END), block=True, direct=True)
    finally:
        os.close(opened)


def in_folder(folder: int, path: str, volume: str, *, read_only: bool) -> DiskImage:
    """The disk of a claim that is mounted; `folder` is an open handle of it, `path` what QEMU
    will know the disk by."""
    name = os.path.basename(path)
    flags = os.O_NONBLOCK | (os.O_RDONLY if read_only else os.O_RDWR)
    try:
        opened = open_beneath(folder, name, flags)
    except FileNotFoundError:
        if read_only:
            raise ClaimInvalid(
                f"volume {volume} holds no {name}, and none can be made in it for it is read-only"
            ) from None
        return DiskImage(path, direct=_direct_made(folder))
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EXDEV, errno.EACCES, errno.EISDIR):
            raise
        raise ClaimInvalid(
            f"{name} in volume {volume} cannot be used: {error.strerror}; "
            f"it must be a regular file that user {paths.QEMU_UID} may read and write"
        ) from None
    try:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode):
            raise ClaimInvalid(f"{name} in volume {volume} is no regular file")
        if read_only and not found.st_size:
            raise ClaimInvalid(f"the disk {name} in volume {volume} is empty")
        return DiskImage(path, size=found.st_size, direct=_direct(opened))
    finally:
        os.close(opened)


def _direct(opened: int) -> bool:
    """Whether the file system can read past the page cache."""
    try:
        os.close(os.open(f"/proc/self/fd/{opened}", os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _direct_made(folder: int) -> bool:
    """The same of a file that is yet to be made."""
    flags = os.O_CREAT | os.O_RDWR | os.O_DIRECT
    try:
        os.close(open_beneath(folder, PROBE, flags, MODE))
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            os.unlink(PROBE, dir_fd=folder)
    return True


def could_be(volume: str, most: int, *, hotplugged: bool) -> int:
    """Bytes that the disk of the claim can have: all of a device; of a file what there is room for,
    up to `most`. Raises OSError."""
    place = paths.hotplug(volume)
    if not hotplugged:
        device = paths.claim_device(volume)
        place = device if os.path.exists(device) else paths.claim_folder(volume)
    if not os.path.isdir(place):
        return _device(place, volume).size
    opened = _opened(place, paths.DISK_FILE)
    try:
        return _room(opened, most)
    finally:
        os.close(opened)


def grow(folder: str, name: str, most: int) -> None:
    """Makes the file larger; a start does not fail for want of it."""
    opened = _opened(folder, name)
    try:
        found = os.fstat(opened)
        if stat.S_ISREG(found.st_mode) and (size := _room(opened, most)) > found.st_size:
            os.ftruncate(opened, size)
            os.fsync(opened)
    finally:
        os.close(opened)


def _opened(folder: str, name: str) -> int:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return open_beneath(handle, name, os.O_RDWR | os.O_NONBLOCK)
    finally:
        os.close(handle)


def _room(opened: int, most: int) -> int:
    """Bytes that the open file can have, which is never less than it has."""
    found, room = os.fstat(opened), os.fstatvfs(opened)
    size = found.st_size
    mine = found.st_blocks * 512
    larger = min(most, mine + room.f_bavail * room.f_frsize - reserve()) // 4096 * 4096
    return larger if larger >= size + STEP else size


def make(folder: str, name: str, most: int, least: int) -> None:
    """A sparse file, whose size is set last: an empty one was left by somebody who was ended."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        opened = open_beneath(handle, name, os.O_CREAT | os.O_RDWR, MODE)
    finally:
        os.close(handle)
    try:
        if os.fstat(opened).st_size:
            return
        room = os.fstatvfs(opened)
        free = room.f_bavail * room.f_frsize - reserve()
        if free < least:
            raise ClaimInvalid(
                f"the volume has no room for its disk of {most >> 20} MiB: its file system has "
                f"{max(free, 0) >> 20} MiB free, and {least >> 20} MiB are needed at least"
            )
        os.fchmod(opened, MODE)
        os.ftruncate(opened, min(most, free) // 4096 * 4096)
        os.fsync(opened)
    finally:
        os.close(opened)
