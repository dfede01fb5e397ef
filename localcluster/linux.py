"""The three system calls that Python 3.11 has no name for, and finding processes for sure.

Sources: setns(2), unshare(2), mount(2). Python has os.setns and os.unshare from 3.12 on.
"""

import ctypes
import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_SHARED = 1 << 20

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    _checked(_libc.unshare(flags), "unshare")


def setns(file: int, flags: int) -> None:
    _checked(_libc.setns(file, flags), "setns")


def mount(source: str, target: Path | str, kind: str = "", flags: int = 0, data: str = "") -> None:
    arguments = (source, str(target), kind, data)
    encoded = [argument.encode() or None for argument in arguments]
    result = _libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3])
    _checked(result, f"mount {kind or 'bind'} on {target}")


def enter_netns(path: Path) -> None:
    """Move this thread, thus sockets it makes from now on, to the network namespace at `path`."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(file, CLONE_NEWNET)
    finally:
        os.close(file)


@contextmanager
def within_netns(path: Path) -> Iterator[None]:
    """Be in the network namespace at `path` for a while: sockets stay where they were made."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter_netns(path)
        try:
            yield
        finally:
            setns(home, CLONE_NEWNET)
    finally:
        os.close(home)


def start_time(pid: int) -> int | None:
    """Clock ticks since boot at which `pid` was started; None when it is gone or a zombie.

    A pid alone may by now belong to another process; pid and start time together may not.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def kill_and_wait(pid: int, started: int, number: signal.Signals, seconds: float) -> bool:
    """Signal that very process and say whether it ended in time."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        if start_time(pid) != started:
            return True
        signal.pidfd_send_signal(handle, number)
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    except ProcessLookupError:
        return True
    finally:
        os.close(handle)
