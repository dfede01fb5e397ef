"""DomainSpec: the machine and its devices put together, as spec.domain holds it."""

from __future__ import annotations

from virtpod.api.base import Wire
from virtpod.api.devices import Devices
from virtpod.api.machine import (
    CPU,
    Chassis,
    Clock,
    DiskIOThreads,
    Features,
    Firmware,
    LaunchSecurity,
    Machine,
    Memory,
    ResourceRequirements,
)


class DomainSpec(Wire):
    devices: Devices
    """Disks, interfaces and all else on the machine's buses."""
    chassis: Chassis | None = None
    """What the machine says of its case (SMBIOS type 3)."""
    clock: Clock | None = None
    """The guest's clock and timers."""
    cpu: CPU | None = None
    """Number, shape and model of virtual CPUs."""
    features: Features | None = None
    """Features of the hypervisor that the guest sees."""
    firmware: Firmware | None = None
    """BIOS or EFI, serial numbers, and kernels that are booted directly."""
    io_threads: DiskIOThreads | None = None
    """Threads that serve disks, beside the policy's."""
    io_threads_policy: str | None = None
    """shared, auto or supplementalPool: which threads serve which disks."""
    launch_security: LaunchSecurity | None = None
    """Encryption of the guest's memory."""
    machine: Machine | None = None
    """Machine type."""
    memory: Memory | None = None
    """Memory that the guest sees."""
    reboot_policy: str | None = None
    """Reboot (default) or Terminate: what a reboot from inside the guest does."""
    resources: ResourceRequirements | None = None
    """What the pod asks of its node."""
