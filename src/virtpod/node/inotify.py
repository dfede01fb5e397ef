"""Waiting for a file to appear, without looking again and again.

One inotify instance for the process (the kernel gives a user 128 of them). Directories are named
by open handles, so that nobody can exchange them.

Source: https://man7.org/linux/man-pages/man7/inotify.7.html
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

IN_CREATE = 0x100
IN_DELETE = 0x200
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_ONLYDIR = 0x01000000
IN_Q_OVERFLOW = 0x4000
MASK = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR
EVENT = struct.Struct("iIII")

_libc = ctypes.CDLL(None, use_errno=True)


class Watch:
    """Changes of one directory. `changed()` returns when something was made or went away since
    the last call."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def tell(self) -> None:
        self._event.set()

    async def changed(self) -> None:
        await self._event.wait()
        self._event.clear()


class Inotify:
    """`with Inotify() as inotify: async with inotify.watch(directory_handle) as watch: ...`"""

    def __init__(self) -> None:
        self._fd = -1
        self._watches: dict[int, set[Watch]] = {}

    def __enter__(self) -> Inotify:
        self._fd = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        asyncio.get_running_loop().add_reader(self._fd, self._read)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)
        self._fd = -1

    @asynccontextmanager
    async def watch(self, directory: int) -> AsyncIterator[Watch]:
        """Watches an open directory. Look at it after entering, then wait for changes."""
        path = f"/proc/self/fd/{directory}".encode()
        number = _checked(_libc.inotify_add_watch(self._fd, path, MASK))
        watch = Watch()
        # The kernel has one watch per directory, however often it is asked for.
        self._watches.setdefault(number, set()).add(watch)
        try:
            yield watch
        finally:
            others = self._watches.get(number, set())
            others.discard(watch)
            if not others and self._fd >= 0:
                self._watches.pop(number, None)
                _libc.inotify_rm_watch(self._fd, number)

    def _read(self) -> None:
        try:
            events = os.read(self._fd, 64 * 1024)
        except BlockingIOError:
            return
        at = 0
        while at < len(events):
            number, mask, _cookie, length = EVENT.unpack_from(events, at)
            at += EVENT.size + length
            if mask & IN_Q_OVERFLOW:
                told = [watch for watches in self._watches.values() for watch in watches]
            else:
                told = list(self._watches.get(number, ()))
            for watch in told:
                watch.tell()


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
