"""Sysctls of a network namespace.

/proc/sys/net shows the namespace of the thread that opens it, so nothing need be mounted. The pod's
own container could not write there: its /proc/sys is read-only.
"""

from __future__ import annotations

import os

from virtpod.domain.steps import Sysctl

ROOT = "/proc/sys"


def write(step: Sysctl) -> None:
    """Raises OSError where there is no such sysctl."""
    path = os.path.join(ROOT, *step.key.split("."))
    with open(path, "r+b", buffering=0) as file:
        if file.read(4096).strip() != step.value.encode():
            file.seek(0)
            file.write(step.value.encode())
