"""Running a function in another network namespace.

A network namespace belongs to a thread: the function gets one of its own, which ends with it. So
no thread of virt-handler is ever left in a pod's namespace, whatever happens in between.

https://man7.org/linux/man-pages/man2/setns.2.html
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def enter(namespace: int) -> None:
    """Moves the calling thread, for good."""
    if _libc.setns(namespace, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "setns")


async def inside(namespace: int, work: Callable[[], T]) -> T:
    """`work()` in the namespace that the descriptor is of; the descriptor stays the caller's.

    Being cancelled does not stop `work`, which must not be left half done: it is waited for.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def told(result: T | None, error: BaseException | None) -> None:
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        try:
            enter(namespace)
            result = work()
        except BaseException as error:
            loop.call_soon_threadsafe(told, None, error)
        else:
            loop.call_soon_threadsafe(told, result, None)

    threading.Thread(target=run, name="netns", daemon=True).start()
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        await asyncio.wait([done])
        if not done.cancelled():
            done.exception()
        raise
