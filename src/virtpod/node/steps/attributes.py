"""Attributes of the node's sysfs, written: how devices are set up and given their drivers.

https://docs.kernel.org/admin-guide/abi-testing.html (sysfs-bus-pci, sysfs-driver-qat)
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from virtpod.domain.steps import WriteAttribute


def write(sysfs: Path, steps: Iterable[WriteAttribute]) -> None:
    """In order. Raises OSError of the first that the kernel refuses, with the attribute's path."""
    for step in steps:
        # One write call: the kernel takes each for a value of its own. Nothing is made anew.
        try:
            handle = os.open(sysfs / step.path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
            try:
                os.write(handle, step.value.encode())
            finally:
                os.close(handle)
        except OSError as error:
            raise OSError(error.errno, error.strerror, step.path) from error
