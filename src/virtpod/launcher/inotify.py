"""Waiting for a path to appear, without asking again and again.

https://man7.org/linux/man-pages/man7/inotify.7.html
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
from collections.abc import Iterable

_libc = ctypes.CDLL(None, use_errno=True)
IN_CREATE, IN_MOVED_TO = 0x100, 0x80


async def appears(path: str) -> None:
    """Returns as soon as `path` exists; its folder must exist."""
    watch = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if watch < 0:
        raise OSError(ctypes.get_errno(), "inotify_init1")
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()
    try:
        folder = os.fsencode(os.path.dirname(path))
        if _libc.inotify_add_watch(watch, folder, IN_CREATE | IN_MOVED_TO) < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch", path)
        loop.add_reader(watch, changed.set)
        while not os.path.exists(path):
            await changed.wait()
            changed.clear()
            with contextlib.suppress(BlockingIOError):
                os.read(watch, 4096)
    finally:
        loop.remove_reader(watch)
        os.close(watch)


class Folders:
    """`with Folders(names) as folders: await folders.changed(30)`: something in one of them was
    made or exchanged."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = names
        self._watch = -1
        self._event = asyncio.Event()

    def __enter__(self) -> Folders:
        self._watch = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._watch < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        for name in self._names:
            _libc.inotify_add_watch(self._watch, os.fsencode(name), IN_CREATE | IN_MOVED_TO)
        asyncio.get_running_loop().add_reader(self._watch, self._read)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._watch)
        os.close(self._watch)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._watch, 64 * 1024)
        self._event.set()

    async def changed(self, within: float | None) -> None:
        """Returns after so many seconds at the latest."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._event.wait()
        self._event.clear()
