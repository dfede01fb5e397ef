"""A claim's folder or device, brought into a container that runs, and taken out again.

A mount is cloned in the mount namespace of one container and attached in that of another: it is in
no folder of the node in between, and it goes when its container goes. A thread of its own enters
the namespaces, as `netns` does it for networks.

What a tenant owns is opened beneath open handles and through no link. A device is made anew, by its
number, once the container was allowed to use that number.

Sources: https://man7.org/linux/man-pages/man2/open_tree.2.html, move_mount(2), mount_setattr(2)
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from virtpod.domain import paths
from virtpod.node.peer import Peer
from virtpod.node.safepath import beneath
from virtpod.node.steps import cgroup, devices

OPEN_TREE, MOVE_MOUNT, MOUNT_SETATTR = 428, 429, 442  # the same numbers on every architecture
AT_EMPTY_PATH = 0x1000
OPEN_TREE_CLONE = 1
MOVE_MOUNT_EMPTY_PATHS = 0x04 | 0x40
HARMLESS = 0x02 | 0x04 | 0x08
"""No set-uid programs, no devices, nothing executable (MOUNT_ATTR_*)."""
MS_PRIVATE = 1 << 18
UMOUNT_NOFOLLOW = 8
CLONE_FS = 0x200
CLONE_NEWNS = 0x20000

SHARE = paths.SHARE.removeprefix("/var/")
"""Below the root folder, where /var/run is a link to /run."""
FOLDER = paths.HOTPLUG.removeprefix("/var")

_libc = ctypes.CDLL(None, use_errno=True)


class _Attributes(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns", ctypes.c_uint64),
    )


async def bring(volume: str, source: Peer, target: Peer, owner: int) -> None:
    """Makes the claim that an attachment's container `source` has appear in `target`'s as a
    hot-plugged volume. Can be repeated. Raises OSError."""
    path = paths.attachment(volume)[1:]

    # What is read of /proc is read before a namespace is entered: it has another one.
    def work() -> None:
        with seen_from_outside(source) as root, beneath(root, path) as found:
            kind = os.fstat(found)
        block = stat.S_ISBLK(kind.st_mode)
        there = _mounted(target.pid)
        if block:
            cgroup.allow(target.pid, kind.st_rdev)
        with _namespace(source) as ours, _namespace(target) as theirs:
            tree = -1
            if not block:
                _enter(ours)
                with _root() as root, beneath(root, path, os.O_PATH | os.O_DIRECTORY) as found:
                    tree = _cloned(found)
            try:
                _enter(theirs)
                with _root() as root, _places(root, make=True) as places:
                    if block:
                        _node(places, volume, kind.st_rdev, owner)
                    elif volume not in there:
                        _attach(tree, places, volume)
            finally:
                if tree >= 0:
                    os.close(tree)

    await in_thread(work)


async def take_away(volume: str, target: Peer) -> None:
    """Undoes it. Raises OSError: EBUSY where something has it open."""

    def work() -> None:
        mounted = volume in _mounted(target.pid)
        with seen_from_outside(target) as root, _places(root) as places:
            if device := devices.number(places, volume, stat.S_ISBLK):
                os.unlink(volume, dir_fd=places)
                cgroup.deny(target.pid, device)
        if not mounted:
            return
        with _namespace(target) as theirs:
            _enter(theirs)
            with _root() as root, _places(root) as places:
                os.fchdir(places)  # of this thread alone
                _check(_libc.umount2(os.fsencode(volume), UMOUNT_NOFOLLOW), volume)
                os.rmdir(volume, dir_fd=places)

    await in_thread(work)


def there(process: Peer) -> frozenset[str]:
    """The volumes that have been brought into the container of a process. Raises OSError."""
    found = _mounted(process.pid)
    with (
        seen_from_outside(process) as root,
        contextlib.suppress(FileNotFoundError),
        _places(root) as places,
    ):
        found |= {name for name in os.listdir(places) if devices.number(places, name, stat.S_ISBLK)}
    return frozenset(found)


@contextmanager
def seen_from_outside(process: Peer) -> Iterator[int]:
    """A handle of the root folder of the process's container."""
    root = os.open(f"/proc/{process.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        process.check_alive()  # so that it is its own, and not a successor's
        yield root
    finally:
        os.close(root)


@contextmanager
def _namespace(process: Peer) -> Iterator[int]:
    """A handle of the process's mount namespace, which is not ours."""
    handle = os.open(f"/proc/{process.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        check_contained(process, handle)
        yield handle
    finally:
        os.close(handle)


def check_contained(process: Peer, namespace: int | None = None) -> None:
    """Raises PermissionError where the process sees what we see. `namespace`: a handle of its mount
    namespace."""
    own = os.stat("/proc/self/ns/mnt")
    found = os.stat(f"/proc/{process.pid}/ns/mnt") if namespace is None else os.fstat(namespace)
    process.check_alive()
    if (own.st_dev, own.st_ino) == (found.st_dev, found.st_ino):
        raise PermissionError(f"process {process.pid} is in no container of its own")


async def in_thread(work: Callable[[], None]) -> None:
    """In a thread that ends with the work. It cannot be interrupted, and takes no time to speak
    of: no part of it waits for a tenant."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            # A thread that shares its folders with others cannot enter a mount namespace.
            _check(_libc.unshare(CLONE_FS), "unshare")
            work()
        except BaseException as error:  # is raised again where it is awaited
            failed.append(error)

    thread = threading.Thread(target=run, name="mounts", daemon=True)
    thread.start()
    await asyncio.shield(asyncio.to_thread(thread.join))
    if failed:
        raise failed[0]


def _enter(namespace: int) -> None:
    _check(_libc.setns(namespace, CLONE_NEWNS), "setns")


@contextmanager
def _root() -> Iterator[int]:
    """A handle of the root folder of the container that this thread is in."""
    handle = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def _places(root: int, *, make: bool = False) -> Iterator[int]:
    """A handle of the folder that hot-plugged volumes are in. Raises FileNotFoundError."""
    with beneath(root, SHARE, os.O_RDONLY | os.O_DIRECTORY) as share:
        name = FOLDER.rpartition("/")[2]
        if make:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=share)
        with beneath(share, name, os.O_RDONLY | os.O_DIRECTORY) as places:
            yield places


def _mounted(pid: int) -> set[str]:
    """The volumes that are mounted, as the process sees it."""
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    points = [line.split(" ")[4].rpartition("/") for line in lines]
    return {name for folder, _, name in points if folder == FOLDER}


def _node(places: int, name: str, number: int, owner: int) -> None:
    if devices.number(places, name, stat.S_ISBLK) not in (0, number):
        os.unlink(name, dir_fd=places)
    with contextlib.suppress(FileExistsError):
        os.mknod(name, stat.S_IFBLK | 0o600, number, dir_fd=places)
    with beneath(places, name) as made:
        if os.fstat(made).st_rdev != number:
            raise OSError(f"what stands in the place of volume {name} is not its device")
        _check(_libc.fchownat(made, b"", owner, owner, AT_EMPTY_PATH), name)


def _cloned(found: int) -> int:
    """A mount of its own that shows what the handle does, and hears of no mounts elsewhere."""
    flags = AT_EMPTY_PATH | OPEN_TREE_CLONE | os.O_CLOEXEC
    tree = _check(_libc.syscall(OPEN_TREE, found, b"", flags))
    how = _Attributes(set=HARMLESS, propagation=MS_PRIVATE)
    try:
        _check(
            _libc.syscall(
                MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH, ctypes.byref(how), ctypes.sizeof(how)
            )
        )
    except BaseException:
        os.close(tree)
        raise
    return tree


def _attach(tree: int, places: int, name: str) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=places)
    with beneath(places, name, os.O_PATH | os.O_DIRECTORY) as place:
        _check(_libc.syscall(MOVE_MOUNT, tree, b"", place, b"", MOVE_MOUNT_EMPTY_PATHS), name)


def _check(result: int, what: str = "") -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result
