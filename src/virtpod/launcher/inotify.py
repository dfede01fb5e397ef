"""Waiting for a path to appear, without asking again and again.

https://man7.org/linux/man-pages/man7/inotify.7.html
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os

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
