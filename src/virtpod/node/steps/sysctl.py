"""Kernel settings of the calling thread's network namespace.

/proc/sys/net shows the namespace of the thread that opens it:
https://man7.org/linux/man-pages/man7/network_namespaces.7.html
"""

from __future__ import annotations

from pathlib import Path

from virtpod.domain.steps import Sysctl

ROOT = Path("/proc/sys")


def write(step: Sysctl) -> None:
    """Writes it where it is not so already. OSError where the kernel does not know it."""
    parts = step.key.split(".")
    if parts[0] != "net" or any(part in ("", "..") or "/" in part for part in parts):
        raise ValueError(f"{step.key} is not a network setting")
    file = ROOT.joinpath(*parts)
    if file.read_text().strip() != step.value:
        file.write_text(step.value)
