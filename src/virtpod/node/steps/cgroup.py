"""Which devices a container may use, changed while it runs.

cgroup v1 keeps a list that can be added to and taken from; of v2 see `device_program.py`.

Source: https://docs.kernel.org/admin-guide/cgroup-v1/devices.html
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from virtpod.node.steps import device_program
from virtpod.node.steps.device_program import Kind

HOST = Path("/proc/1/root/sys/fs/cgroup")
HOST_NAMESPACE = "/proc/1/ns/cgroup"
CLONE_NEWCGROUP = 0x02000000

_libc = ctypes.CDLL(None, use_errno=True)


def allow(pid: int, device: int, kind: Kind = "b") -> None:
    """Lets the container of a process use the block device, or the character device. Raises
    OSError."""
    _change(pid, kind, device, allowed=True)


def deny(pid: int, device: int, kind: Kind = "b") -> None:
    """Undoes it."""
    _change(pid, kind, device, allowed=False)


def _change(pid: int, kind: Kind, device: int, *, allowed: bool) -> None:
    """In a thread of its own: it may enter another namespace."""
    unified = ""
    for line in _lines(pid):
        _, controllers, path = line.split(":", 2)
        if "devices" in controllers.split(","):
            rule = f"{kind} {os.major(device)}:{os.minor(device)} rwm"
            file = "devices.allow" if allowed else "devices.deny"
            (HOST / "devices" / path.lstrip("/") / file).write_text(rule)
            return
        if not controllers:
            unified = path
    if not unified:
        raise OSError(f"process {pid} is in no cgroup that knows of devices")
    group = os.open(HOST / unified.lstrip("/"), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        number = os.major(device), os.minor(device)
        device_program.change(group, kind, number, allowed=allowed)
    finally:
        os.close(group)


def _lines(pid: int) -> list[str]:
    """The cgroups of a process, by their places in the host's own tree: with v2 a container has a
    cgroup namespace, whose paths are relative to itself."""
    handle = os.open(HOST_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(handle, CLONE_NEWCGROUP) != 0:
            raise OSError(ctypes.get_errno(), "cannot enter the host's cgroup namespace")
    finally:
        os.close(handle)
    return Path(f"/proc/{pid}/cgroup").read_text().splitlines()
