"""Files of a launcher's pod, opened by handle beneath a directory and never by a path string.

What a tenant controls (everything inside a launcher's volumes) may be a link, a FIFO or a socket
of somebody else's. openat2 resolves without following links and cannot leave the directory; type
and owner are checked on the open handle; a socket is connected to through that handle, so that
nothing can be exchanged in between.

Source: https://man7.org/linux/man-pages/man2/openat2.2.html
"""

from __future__ import annotations

import ctypes
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager

OPENAT2 = 437  # the same number on every architecture
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
CAREFUL = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS

_libc = ctypes.CDLL(None, use_errno=True)


class Unsafe(Exception):
    """What stands at a path is not what may stand there."""


class _How(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


@contextmanager
def beneath(directory: int, path: str, flags: int = os.O_PATH) -> Iterator[int]:
    """A handle of `path` below the open `directory`; OSError where a link would be followed (ELOOP)
    or the directory be left (EXDEV)."""
    handle = open_beneath(directory, path, flags)
    try:
        yield handle
    finally:
        os.close(handle)


def open_beneath(directory: int, path: str, flags: int = os.O_PATH) -> int:
    """Like `beneath`; the caller closes the handle."""
    how = _How(flags | os.O_CLOEXEC, 0, CAREFUL)
    while True:
        handle: int = _libc.syscall(
            OPENAT2, directory, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how)
        )
        if handle >= 0:
            return handle
        number = ctypes.get_errno()
        # EAGAIN: something was renamed meanwhile and the kernel could not be sure (man page).
        if number not in (11, 4):
            raise OSError(number, os.strerror(number), path)


def connected(directory: int, path: str, owner: int) -> socket.socket:
    """A non-blocking connection to the unix socket at `path`, whose file belongs to `owner`.

    Raises Unsafe, or OSError: nothing is there, nobody listens, the listener's queue is full.
    """
    with beneath(directory, path) as handle:
        found = os.fstat(handle)
        if not stat.S_ISSOCK(found.st_mode):
            raise Unsafe(f"{path} is not a socket")
        if found.st_uid != owner:
            raise Unsafe(f"{path} belongs to user {found.st_uid}, not {owner}")
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            # The link resolves to the open handle itself, whatever its name is by now.
            connection.connect(f"/proc/self/fd/{handle}")
        except BaseException:
            connection.close()
            raise
    return connection
