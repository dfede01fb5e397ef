"""Opening what lies in a pod's volumes, which the pod's processes may change at any moment.

Every path is resolved by the kernel beneath an open handle of the pod's own folder, and without
any link: neither `..` nor a planted link leads out of it (CVE-2023-26484, CVE-2025-64437). What
was opened is then looked at by handle, and used by handle.

openat2: https://man7.org/linux/man-pages/man2/openat2.2.html
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import re
import socket
import stat
import struct
from collections.abc import Iterator

SYS_OPENAT2 = 437
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
STRICT = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS

_libc = ctypes.CDLL(None, use_errno=True)
_UID = re.compile(r"[0-9A-Za-z-]{1,64}")


class Unsafe(Exception):
    """What was found is not what it has to be; nobody's business but a forger's or a bug's."""


def open_beneath(folder: int, path: str, flags: int) -> int:
    """A descriptor of `path`, reached from `folder` without links. Raises OSError."""
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, 0, STRICT)
    opened: int = _libc.syscall(
        SYS_OPENAT2, folder, os.fsencode(path), how, ctypes.c_size_t(len(how))
    )
    if opened < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return opened


@contextlib.contextmanager
def pod_folder(pods: str, uid: str) -> Iterator[int]:
    """A handle of the pod's folder below the kubelet's."""
    if not _UID.fullmatch(uid):
        raise Unsafe(f"{uid!r} is not a uid")
    folder = os.open(f"{pods}/{uid}", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield folder
    finally:
        os.close(folder)


def empty_dir(volume: str) -> str:
    """Where the kubelet keeps an emptyDir volume, relative to the pod's folder."""
    return f"volumes/kubernetes.io~empty-dir/{volume}"


async def connect(pods: str, uid: str, path: str, owner: int) -> socket.socket:
    """A connection to the unix socket `path` in the pod's folder, which `owner` must own.

    Raises OSError (not there, nobody listens), Unsafe.
    """
    with pod_folder(pods, uid) as folder:
        handle = open_beneath(folder, path, os.O_PATH | os.O_NOFOLLOW)
    try:
        found = os.fstat(handle)
        if not stat.S_ISSOCK(found.st_mode) or found.st_uid != owner:
            raise Unsafe(f"{path} of pod {uid} is not a socket of user {owner}")
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            # By its handle: the very socket that was looked at, and no limit of 107 characters.
            await asyncio.get_running_loop().sock_connect(peer, f"/proc/self/fd/{handle}")
        except BaseException:
            peer.close()
            raise
        return peer
    finally:
        os.close(handle)


def peer_pid(peer: socket.socket) -> int:
    """The process that listens at the other end, in our own PID namespace."""
    pid, _, _ = struct.unpack(
        "3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    )
    return int(pid)


def in_pod(cgroup: str, uid: str) -> bool:
    """Whether /proc/<pid>/cgroup's text names the pod: with dashes (cgroupfs) or underscores
    (systemd)."""
    names = (uid, uid.replace("-", "_"))
    parts = (part for line in cgroup.splitlines() for part in line.rpartition(":")[2].split("/"))
    return any(
        part.removesuffix(".slice").endswith(f"pod{name}") for part in parts for name in names
    )


def namespace_of(pid: int, pod: str) -> int:
    """A handle of the network namespace of `pid`, which must be a process of the pod.

    The process is looked at again after its namespace was opened: a number that was given to
    another process meanwhile is noticed.
    """
    network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with open(f"/proc/{pid}/cgroup") as file:
            if not in_pod(file.read(), pod):
                raise Unsafe(f"process {pid} is not of pod {pod}")
        if os.stat(network).st_ino == os.stat("/proc/self/ns/net").st_ino:
            raise Unsafe(f"process {pid} of pod {pod} is in virt-handler's own network namespace")
    except BaseException:
        os.close(network)
        raise
    return network
