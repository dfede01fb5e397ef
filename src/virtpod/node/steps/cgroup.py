"""Which block devices a container may use, changed while it runs.

cgroup v1 keeps a list that can be added to and taken from. v2 has a BPF program, which can only be
replaced: the new one lets the device pass and asks the old one about all else.

Sources: https://docs.kernel.org/admin-guide/cgroup-v1/devices.html,
https://docs.kernel.org/admin-guide/cgroup-v2.html#device-controller
"""

from __future__ import annotations

import os
from pathlib import Path

HOST = Path("/proc/1/root/sys/fs/cgroup")


def allow(pid: int, device: int) -> None:
    """Lets the container of a process use the block device. Raises OSError."""
    _write(pid, "devices.allow", device)


def deny(pid: int, device: int) -> None:
    """Undoes it."""
    _write(pid, "devices.deny", device)


def _write(pid: int, file: str, device: int) -> None:
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "devices" in controllers.split(","):
            rule = f"b {os.major(device)}:{os.minor(device)} rwm"
            (HOST / "devices" / path.lstrip("/") / file).write_text(rule)
            return
    raise OSError("block volumes cannot be hot-plugged on a node with cgroup v2 by this version")
