"""Who is at the other end of a launcher's socket: a process of that pod, and no other.

The kernel tells the pid of the process that listens (SO_PEERCRED), its cgroup tells the pod, and a
pidfd keeps the process from being mistaken for a later one of the same number. The pidfd also
tells the process's end at once: a launcher that is gone is seen, not guessed from silence.

Source: https://man7.org/linux/man-pages/man2/pidfd_open.2.html
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from virtpod.node.safepath import Unsafe

UCRED = struct.Struct("3i")


class Peer:
    """The process that listens on the other end; `close()` it."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self._pidfd = pidfd
        self._watched = False

    def check_alive(self) -> None:
        """What was read of /proc/<pid> before was this process's; raises ProcessLookupError."""
        signal.pidfd_send_signal(self._pidfd, 0)

    def when_gone(self, gone: Callable[[], None]) -> None:
        """Calls `gone` once, when the process has ended."""
        loop = asyncio.get_running_loop()

        def ended() -> None:
            self._unwatch()
            gone()

        loop.add_reader(self._pidfd, ended)
        self._watched = True

    def close(self) -> None:
        self._unwatch()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def _unwatch(self) -> None:
        if self._watched:
            self._watched = False
            asyncio.get_running_loop().remove_reader(self._pidfd)


def peer(connection: socket.socket, pod_uid: str, owner: int, proc: Path = Path("/proc")) -> Peer:
    """The peer of `connection`, if it runs as user `owner` in the pod; else Unsafe."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size)
    pid, uid, _ = UCRED.unpack(credentials)
    if uid != owner:
        raise Unsafe(f"the listener runs as user {uid}, not {owner}")
    if pid <= 0:
        raise Unsafe("the listener is not visible from here")
    found = Peer(pid, os.pidfd_open(pid))
    try:
        cgroups = (proc / str(pid) / "cgroup").read_text()
        if not in_pod(cgroups, pod_uid):
            raise Unsafe(f"process {pid} is not of pod {pod_uid}")
        found.check_alive()
    except BaseException:
        found.close()
        raise
    return found


def in_pod(cgroups: str, pod_uid: str) -> bool:
    """Whether /proc/<pid>/cgroup's content is that of a process in the pod.

    The kubelet names a pod's group pod<uid>, or with systemd's driver <..>-pod<uid>.slice with
    underscores.
    """
    names = {
        part for line in cgroups.splitlines() for part in line.partition("::")[2].split("/")
    } | {part for line in cgroups.splitlines() for part in line.split("/")}
    escaped = pod_uid.replace("-", "_")
    return any(name == f"pod{pod_uid}" or (name.endswith(f"pod{escaped}.slice")) for name in names)
