"""How much memory a launcher pod needs beside the guest's.

The sum of what the processes in the pod were seen to use, and of what each feature adds.
"""

from __future__ import annotations

from virtpod.domain.facts import Cluster
from virtpod.features.contract import PodPart

MIB = 2**20
LAUNCHER = 100 * MIB
MONITOR = 25 * MIB
LOG_DAEMON = 25 * MIB
LIBVIRT = 40 * MIB
QEMU = 50 * MIB
IO_THREAD = 8 * MIB
FIXED = LAUNCHER + MONITOR + LOG_DAEMON + LIBVIRT + QEMU + IO_THREAD
"""KubeVirt's figures, kept although we use less: quotas and bin packing must not change when a
cluster moves from one to the other."""


def overhead(parts: list[PodPart], cluster: Cluster) -> int:
    """Bytes."""
    total = FIXED + sum(part.overhead for part in parts)
    ratio = cluster.config.additional_guest_memory_overhead_ratio
    return int(total * float(ratio)) if ratio else total
