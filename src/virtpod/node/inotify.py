"""Waiting for paths to come and go, without asking again and again.

https://man7.org/linux/man-pages/man7/inotify.7.html
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
from collections.abc import AsyncIterator, Callable

_libc = ctypes.CDLL(None, use_errno=True)

IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE = 0x40, 0x80, 0x100, 0x200
IN_DELETE_SELF, IN_MOVE_SELF = 0x400, 0x800
IN_DONT_FOLLOW = 0x02000000
COMES_OR_GOES = IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE_SELF | IN_MOVE_SELF


class Watch:
    """One inotify instance: `on(folder)`, then `await changed()`. Close it, or use `with`."""

    def __init__(self) -> None:
        self._descriptor: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), "inotify_init1")
        self._event = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._descriptor, self._event.set)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def on(self, folder: str) -> bool:
        """Watches a folder as well; False where there is none. Asking twice does no harm."""
        name = os.fsencode(folder)
        watched = _libc.inotify_add_watch(self._descriptor, name, COMES_OR_GOES | IN_DONT_FOLLOW)
        if watched >= 0:
            return True
        number = ctypes.get_errno()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            raise OSError(number, os.strerror(number), folder)
        return False

    async def changed(self) -> None:
        """Returns when something came or went in a watched folder since the last call."""
        await self._event.wait()
        self._event.clear()
        with contextlib.suppress(BlockingIOError):
            os.read(self._descriptor, 65536)


async def until(path: str, there: Callable[[str], bool] = os.path.lexists) -> None:
    """Returns as soon as `path` exists. None of its folders need exist yet, save the root.

    The nearest folder that exists is watched, then the next one below it: a watch is always set
    before the look, so nothing slips between.
    """
    while not there(path):
        with Watch() as watch:
            folder = os.path.dirname(path)
            while not watch.on(folder):
                folder = os.path.dirname(folder)
            below = _below(folder, path)
            while not os.path.lexists(below) and os.path.isdir(folder):
                await watch.changed()
            if below == path and not there(path) and os.path.lexists(path):
                await watch.changed()


def _below(folder: str, path: str) -> str:
    """The next step from `folder` towards `path`."""
    rest = os.path.relpath(path, folder)
    return os.path.join(folder, rest.split("/", 1)[0])


async def changes(folder: str) -> AsyncIterator[None]:
    """Yields at once, and after each coming and going in `folder`."""
    with Watch() as watch:
        watch.on(folder)
        while True:
            yield
            await watch.changed()
