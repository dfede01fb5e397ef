"""Devices of the node that are lent to a container which runs: VFIO groups and USB devices.

A device's node is made in the container's /dev by its number, and belongs to the user that runs
QEMU. What was lent is noted in the container itself, as a folder for each device with nodes of the
same numbers: so nothing has to be remembered here. The container's folders are a tenant's: they are
opened beneath open handles and through no link.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from virtpod.domain import paths
from virtpod.node.peer import Peer
from virtpod.node.safepath import beneath
from virtpod.node.steps import cgroup, devices
from virtpod.node.steps.devices import VFIO, give, unlock
from virtpod.node.steps.mounts import SHARE, check_contained, in_thread, seen_from_outside

PROC = Path("/proc")
FOLDER = paths.LOANS.rpartition("/")[2]
SEPARATOR = "+"
"""For / in the name of a note."""


async def lend(name: str, nodes: Mapping[str, int], target: Peer, owner: int) -> None:
    """Makes the device `name` usable in the container of a process. `nodes`: numbers by path below
    /dev. Can be repeated. Raises OSError."""
    if not name or "/" in name or name in (".", ".."):
        raise ValueError(f"{name!r} cannot be a device's name")

    def work() -> None:
        check_contained(target)
        with seen_from_outside(target) as root:
            for path, number in nodes.items():
                cgroup.allow(target.pid, number, "c")
                with _folder(root, f"dev/{path}") as folder:
                    _node(folder, path.rpartition("/")[2], number, owner)
            with _notes(root, make=True) as notes:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o755, dir_fd=notes)
                with beneath(notes, name, os.O_RDONLY | os.O_DIRECTORY) as folder:
                    for path, number in nodes.items():
                        if number != os.makedev(*VFIO):  # is all devices', and stays
                            _node(folder, path.replace("/", SEPARATOR), number, owner)
        for process in _container(target):
            unlock(process)

    await in_thread(work)


async def take_back(name: str, target: Peer) -> None:
    """Undoes it. Raises OSError: EBUSY while something in the container has it open."""

    def work() -> None:
        with (
            seen_from_outside(target) as root,
            contextlib.suppress(FileNotFoundError),
            _notes(root) as notes,
        ):
            with beneath(notes, name, os.O_RDONLY | os.O_DIRECTORY) as folder:
                noted = {
                    each: devices.number(folder, each, stat.S_ISCHR) for each in os.listdir(folder)
                }
                _check_closed(name, target, set(noted.values()))
                for note, number in noted.items():
                    if number:
                        _remove(root, f"dev/{note.replace(SEPARATOR, '/')}", number)
                        cgroup.deny(target.pid, number, "c")
                    os.unlink(note, dir_fd=folder)
            os.rmdir(name, dir_fd=notes)

    await in_thread(work)


def lent(process: Peer) -> frozenset[str]:
    """The devices that the container of a process was lent. Raises OSError."""
    with (
        seen_from_outside(process) as root,
        contextlib.suppress(FileNotFoundError),
        _notes(root) as notes,
    ):
        return frozenset(os.listdir(notes))
    return frozenset()


@contextlib.contextmanager
def _notes(root: int, *, make: bool = False) -> Iterator[int]:
    """A handle of the folder with the notes. Raises FileNotFoundError."""
    with beneath(root, SHARE, os.O_RDONLY | os.O_DIRECTORY) as share:
        if make:
            with contextlib.suppress(FileExistsError):
                os.mkdir(FOLDER, 0o755, dir_fd=share)
        with beneath(share, FOLDER, os.O_RDONLY | os.O_DIRECTORY) as notes:
            yield notes


@contextlib.contextmanager
def _folder(root: int, path: str) -> Iterator[int]:
    """A handle of the folder that `path` is in, which is made where it is not there."""
    steps = path.split("/")[:-1]
    handle = os.dup(root)
    try:
        for step in steps:
            with contextlib.suppress(FileExistsError):
                os.mkdir(step, 0o755, dir_fd=handle)
            with beneath(handle, step, os.O_PATH | os.O_DIRECTORY) as found:
                os.dup2(found, handle, inheritable=False)
        yield handle
    finally:
        os.close(handle)


def _node(folder: int, name: str, number: int, owner: int) -> None:
    if devices.number(folder, name, stat.S_ISCHR) not in (0, number):
        os.unlink(name, dir_fd=folder)
    with contextlib.suppress(FileExistsError):
        os.mknod(name, stat.S_IFCHR | 0o600, number, dir_fd=folder)
    with beneath(folder, name) as made:
        give(made, (os.major(number), os.minor(number)), owner)


def _remove(root: int, path: str, number: int) -> None:
    folder, _, name = path.rpartition("/")
    with (
        contextlib.suppress(FileNotFoundError),
        beneath(root, folder, os.O_PATH | os.O_DIRECTORY) as handle,
    ):
        if devices.number(handle, name, stat.S_ISCHR) == number:
            os.unlink(name, dir_fd=handle)


def _check_closed(name: str, target: Peer, numbers: set[int]) -> None:
    for process in _container(target):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for handle in os.scandir(PROC / str(process) / "fd"):
                with contextlib.suppress(FileNotFoundError):
                    found = handle.stat()
                    if stat.S_ISCHR(found.st_mode) and found.st_rdev in numbers:
                        what = f"the guest still has device {name} open"
                        raise OSError(errno.EBUSY, what)


def _container(target: Peer) -> Iterator[int]:
    """The processes that see what the process sees."""
    own = os.stat(PROC / str(target.pid) / "ns/mnt").st_ino
    for process in PROC.iterdir():
        if process.name.isdecimal():
            with contextlib.suppress(OSError):
                if os.stat(process / "ns/mnt").st_ino == own:
                    yield int(process.name)
