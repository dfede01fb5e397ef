"""Working in a pod's network namespace: in a thread of its own, which ends with the work.

A thread that has entered a namespace is never used for anything else, so nothing can be done in
the wrong one by mistake; subprocesses it starts are in the pod's namespace as well.

Source: https://man7.org/linux/man-pages/man2/setns.2.html
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def of(pid: int) -> int:
    """A handle of the process's network namespace; the caller closes it.

    Refuses our own and the node's: a launcher in one of those is none of ours.
    """
    handle = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    theirs = os.fstat(handle)
    for ours in ("/proc/self/ns/net", "/proc/1/ns/net"):
        try:
            own = os.stat(ours)
        except PermissionError:
            continue  # a first process with more rights than we have: not in a pod of ours
        if (own.st_dev, own.st_ino) == (theirs.st_dev, theirs.st_ino):
            os.close(handle)
            raise PermissionError(f"process {pid} is not in a pod's network namespace")
    return handle


async def inside(namespace: int, work: Callable[[], T]) -> T:
    """`work()` in the namespace; blocks a thread, not the loop. Cannot be interrupted: what it
    calls must have deadlines of its own."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type] # None only where T is None

    def run() -> None:
        try:
            if _libc.setns(handle, CLONE_NEWNET) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
            result = work()
        except BaseException as error:  # is raised again where it is awaited
            _call(loop, tell, None, error)
        else:
            _call(loop, tell, result, None)
        finally:
            os.close(handle)

    handle = os.dup(namespace)  # ours, whatever the caller does if it is cancelled
    threading.Thread(target=run, name="netns", daemon=True).start()
    return await done


def _call(loop: asyncio.AbstractEventLoop, tell: Callable[..., None], *args: object) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(tell, *args)
