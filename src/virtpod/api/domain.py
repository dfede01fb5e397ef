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
    chassis: Chassis | None = None
    clock: Clock | None = None
    cpu: CPU | None = None
    features: Features | None = None
    firmware: Firmware | None = None
    io_threads: DiskIOThreads | None = None
    io_threads_policy: str | None = None
    launch_security: LaunchSecurity | None = None
    machine: Machine | None = None
    memory: Memory | None = None
    reboot_policy: str | None = None
    resources: ResourceRequirements | None = None
