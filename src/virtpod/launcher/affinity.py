"""Keeps libvirt's start on one processor, so that the node's capability cache is believed.

Where KVM is usable, libvirt compares the CPUID leaves in its cache with what KVM tells it at its
start. Leaf 0x1f holds the number of the processor it is read on, so that a cache made on one
processor is thrown away on all others, and QEMU is asked anew: a second of every VM's start.

https://docs.kernel.org/virt/kvm/api.html#kvm-get-supported-cpuid
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

KVM = Path("/dev/kvm")


@contextmanager
def on_one_processor() -> Iterator[None]:
    """Children started within begin on the first processor; only where there is KVM."""
    allowed = os.sched_getaffinity(0)
    if not KVM.exists():
        yield
        return
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def release(pid: int) -> None:
    """Lets all threads of a process run where we may."""
    allowed = os.sched_getaffinity(0)
    with suppress(OSError):  # it has ended
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread), allowed)
