"""Instance types: CPU, memory and devices that VirtualMachines take as a whole."""

from __future__ import annotations

from msgspec import field

from virtpod.api.base import AtomicList, Int32, Int64, Quantity, Wire
from virtpod.api.hostdevices import GPU, HostDevice
from virtpod.api.machine import NUMA, DiskIOThreads, Hugepages, LaunchSecurity, Realtime
from virtpod.api.meta import ObjectMeta


class CPUInstancetype(Wire):
    guest: Int64
    """Number of virtual CPUs; their shape is the preference's."""
    dedicated_cpu_placement: bool | None = field(default=None, name="dedicatedCPUPlacement")
    """Whether each virtual CPU has a CPU of the node to itself."""
    isolate_emulator_thread: bool | None = None
    """Whether QEMU's own threads get one more CPU to themselves."""
    max_sockets: Int64 | None = None
    """Sockets up to which CPUs can be added while the guest runs."""
    model: str | None = None
    """CPU model."""
    numa: NUMA | None = None
    """How the guest's NUMA cells are made."""
    realtime: Realtime | None = None
    """Scheduling of virtual CPUs in real time."""


class MemoryInstancetype(Wire):
    guest: Quantity
    """Memory that the guest sees."""
    hugepages: Hugepages | None = None
    """The guest's memory comes from huge pages."""
    max_guest: Quantity | None = None
    """Memory up to which it can be added while the guest runs."""
    overcommit_percent: Int32 | None = None
    """Percent of the guest's memory that the pod does not ask for, 0 to 100."""


class VirtualMachineInstancetypeSpec(Wire):
    memory: MemoryInstancetype
    """Memory of the guest."""
    cpu: CPUInstancetype
    """CPUs of the guest."""
    annotations: dict[str, str] | None = None
    """Annotations that instances get."""
    gpus: AtomicList[GPU] | None = None
    """GPUs of the guest."""
    host_devices: AtomicList[HostDevice] | None = None
    """Devices of the node that the guest gets."""
    io_threads: DiskIOThreads | None = None
    """Threads that serve disks."""
    io_threads_policy: str | None = None
    """Which threads serve which disks."""
    launch_security: LaunchSecurity | None = None
    """Deprecated: use the preference's preferredLaunchSecurity."""
    node_selector: dict[str, str] | None = None
    """Labels that a node must have."""
    scheduler_name: str | None = None
    """Scheduler that places the pod."""


class VirtualMachineClusterInstancetype(Wire):
    spec: VirtualMachineInstancetypeSpec
    """What VMs get."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    """Name, namespace, labels and what else every object has."""


class VirtualMachineInstancetype(Wire):
    spec: VirtualMachineInstancetypeSpec
    """What VMs get."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    """Name, namespace, labels and what else every object has."""
