"""Instance types: CPU, memory and devices that VirtualMachines take as a whole."""

from __future__ import annotations

from msgspec import field

from virtpod.api.base import AtomicList, Int32, Int64, Quantity, Wire
from virtpod.api.hostdevices import GPU, HostDevice
from virtpod.api.machine import NUMA, DiskIOThreads, Hugepages, LaunchSecurity, Realtime
from virtpod.api.meta import ObjectMeta


class CPUInstancetype(Wire):
    guest: Int64
    dedicated_cpu_placement: bool | None = field(default=None, name="dedicatedCPUPlacement")
    isolate_emulator_thread: bool | None = None
    max_sockets: Int64 | None = None
    model: str | None = None
    numa: NUMA | None = None
    realtime: Realtime | None = None


class MemoryInstancetype(Wire):
    guest: Quantity
    hugepages: Hugepages | None = None
    max_guest: Quantity | None = None
    overcommit_percent: Int32 | None = None


class VirtualMachineInstancetypeSpec(Wire):
    memory: MemoryInstancetype
    cpu: CPUInstancetype
    annotations: dict[str, str] | None = None
    gpus: AtomicList[GPU] | None = None
    host_devices: AtomicList[HostDevice] | None = None
    io_threads: DiskIOThreads | None = None
    io_threads_policy: str | None = None
    launch_security: LaunchSecurity | None = None
    node_selector: dict[str, str] | None = None
    scheduler_name: str | None = None


class VirtualMachineClusterInstancetype(Wire):
    spec: VirtualMachineInstancetypeSpec
    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)


class VirtualMachineInstancetype(Wire):
    spec: VirtualMachineInstancetypeSpec
    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
