"""Device nodes of a launcher: they belong to the user that runs QEMU.

The runtime makes the nodes with the node's owner and mode, often root and 0600. They are the
container's own, so changing the owner changes nothing on the node. They are opened beneath the
container's root without following links, and must be the very device.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import stat
from collections.abc import Callable, Iterator

from virtpod.node.peer import Peer
from virtpod.node.safepath import beneath

log = logging.getLogger(__name__)

VFIO = (10, 196)
NODES = {
    "dev/kvm": (10, 232),
    "dev/vhost-net": (10, 238),
    "dev/vhost-vsock": (10, 241),
    "dev/net/tun": (10, 200),
}
"""Path below the container's root: major and minor number (kernel's devices.txt)."""


GIVEN = ("dev/vfio", "dev/bus/usb")
"""Folders of devices that the kubelet gave to this container and to no other."""
USB_MAJOR = 189
MOST = 1024
"""More devices than these no container has."""


def hand_over(process: Peer, owner: int, locks: bool = False) -> None:
    """Gives the devices that the process's container has to `owner`.

    Who has a PCI function locks all of its guest's memory, and so does who is said to (`locks`):
    the process may, and so may those that it starts.
    """
    root = os.open(f"/proc/{process.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        process.check_alive()  # so that the root is its own, and not a successor's
        for path, numbers in NODES.items():
            try:
                with beneath(root, path) as handle:
                    give(handle, numbers, owner)
            except FileNotFoundError:
                continue
        given = list(_given(root))
        for path, numbers in given:
            with beneath(root, path) as handle:
                give(handle, numbers, owner)
        if locks or any(path.startswith("dev/vfio/") for path, _ in given):
            unlock(process.pid)
    finally:
        os.close(root)


def _given(root: int) -> Iterator[tuple[str, tuple[int, int]]]:
    """VFIO groups and USB devices: paths, and the numbers that they must have."""
    majors = {USB_MAJOR, _vfio_major()}
    for folder in GIVEN:
        with contextlib.suppress(FileNotFoundError), beneath(root, folder) as handle:
            place = f"/proc/self/fd/{handle}"
            paths = [
                os.path.relpath(os.path.join(at, name), place)
                for at, _, names in os.walk(place)
                for name in names
            ]
            for path in paths[:MOST]:
                found = os.lstat(os.path.join(place, path))
                numbers = os.major(found.st_rdev), os.minor(found.st_rdev)
                if stat.S_ISCHR(found.st_mode) and (numbers == VFIO or numbers[0] in majors):
                    yield f"{folder}/{path}", numbers


def _vfio_major() -> int:
    """Of VFIO groups; -1 where the kernel has no VFIO."""
    with open("/proc/devices", encoding="ascii") as devices:
        for line in devices:
            number, _, name = line.strip().partition(" ")
            if name == "vfio":
                return int(number)
    return -1


def unlock(process: int) -> None:
    """Lets a process lock as much memory as it likes, and those that it starts from now on."""
    try:
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(process, resource.RLIMIT_MEMLOCK, unlimited)
    except ProcessLookupError:
        return  # it has ended
    except PermissionError as error:
        log.warning("a guest may not lock its memory", extra={"error": str(error)})


def give(handle: int, numbers: tuple[int, int], owner: int) -> None:
    """Gives the character device of these numbers to `owner`. Raises OSError where it is none."""
    found = os.fstat(handle)
    device = (os.major(found.st_rdev), os.minor(found.st_rdev))
    if not stat.S_ISCHR(found.st_mode) or device != numbers:
        raise OSError(f"a launcher's device {numbers} is something else: {device}")
    if found.st_uid != owner:
        os.chown(f"/proc/self/fd/{handle}", owner, owner)


def number(folder: int, name: str, kind: Callable[[int], bool]) -> int:
    """The number of the device of that name in an open folder, 0 where there is none. `kind`:
    stat.S_ISBLK or S_ISCHR; no link is followed."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return 0
    return found.st_rdev if kind(found.st_mode) else 0
