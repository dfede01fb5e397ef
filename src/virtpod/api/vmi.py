"""VirtualMachineInstance: one running guest, its spec and all that is known of it."""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from virtpod.api.access import AccessCredential
from virtpod.api.base import (
    AtomicList,
    Int32,
    Int64,
    Nullable,
    NullableTime,
    Quantity,
    Time,
    Wire,
    list_map,
    one_of,
)
from virtpod.api.core import (
    Affinity,
    ExecAction,
    HTTPGetAction,
    PodDNSConfig,
    TCPSocketAction,
    Toleration,
    TopologySpreadConstraint,
)
from virtpod.api.domain import DomainSpec
from virtpod.api.machine import CPUTopology, Machine
from virtpod.api.meta import ObjectMeta
from virtpod.api.network import Network
from virtpod.api.volumes import UtilityVolume, Volume


class VirtualMachineInstanceBackupVolumeInfo(Wire):
    volume_name: str
    """Name of the volume."""


class VirtualMachineInstanceBackupStatus(Wire):
    backup_msg: str | None = None
    """What went wrong."""
    backup_name: str | None = None
    """The VirtualMachineBackup that is under way."""
    checkpoint_name: str | None = None
    """The checkpoint that it sets."""
    completed: bool | None = None
    """Whether it is over."""
    end_timestamp: Time | None = None
    """When it ended."""
    failed: bool | None = None
    """Whether it ended without a usable copy."""
    quiesce_status: str | None = None
    """Whether the guest's file systems were frozen when it began."""
    start_timestamp: Time | None = None
    """When it began."""
    volumes: AtomicList[VirtualMachineInstanceBackupVolumeInfo] | None = None
    """The disks that are copied."""


class ChangedBlockTrackingStatus(Wire):
    state: str
    """Undefined, PendingRestart, Initializing, Enabled, Disabled or why it cannot be."""
    backup_status: VirtualMachineInstanceBackupStatus | None = None
    """The backup that is under way."""


class ContainerDiskInfo(Wire):
    checksum: Int64 | None = None
    """CRC-32 of the disk image."""


class DomainMemoryDumpInfo(Wire):
    claim_name: str | None = None
    """PersistentVolumeClaim that takes the dump."""
    end_timestamp: Time | None = None
    """When the dump was complete."""
    start_timestamp: Time | None = None
    """When the dump began."""
    target_file_name: str | None = None
    """Name of the dump in the volume."""


class DowntimeTuningOptions(Wire):
    cooldown_seconds: Int32 | None = None
    """Seconds between two raises of the permitted downtime."""
    initial_ms: Int64 | None = None
    """Milliseconds of downtime that are permitted at first."""
    start_after_iteration: Int64 | None = None
    """Passes over memory before the first raise."""
    steps: Int32 | None = None
    """Raises until the greatest downtime is permitted."""


class StallDetectorOptions(Wire):
    completion_timeout_factor: Quantity | None = None
    """Factor on the completion timeout when the migration is judged."""
    ewma_alpha: Quantity | None = None
    """Weight, as a decimal, of the newest measurement in the moving average."""
    patience_window_decay_factor: Quantity | None = None
    """By how much, as a decimal, patience shrinks from one window to the next."""
    precopy_possible_factor: Quantity | None = None
    """Factor, as a decimal, below which copying ahead can still succeed."""
    search_local_minima: bool | None = None
    """Whether to wait for a moment with little left to copy."""
    stall_margin: Int64 | None = None
    """Share, as a decimal, by which the rest must shrink to count as progress."""
    stall_progress_timeout: Int64 | None = None
    """Time without progress after which the migration counts as stalled."""
    switchover_timeout: Int64 | None = None
    """Time that the last step may take."""


class ExperimentalMigrationOptions(Wire):
    compression: str | None = None
    """How memory is compressed on its way."""
    downtime_tuning: DowntimeTuningOptions | None = None
    """How the permitted downtime grows while a migration does not converge."""
    stall_detector: StallDetectorOptions | None = None
    """How a migration that does not converge is recognised."""


class GuestAgentPing(Wire):
    pass


class HotplugVolumeStatus(Wire):
    attach_pod_name: str | None = None
    """Pod that holds the volume on the guest's node."""
    attach_pod_uid: str | None = field(default=None, name="attachPodUID")
    """UID of that pod."""


class InitrdInfo(Wire):
    checksum: Int64 | None = None
    """CRC-32 of the initial RAM disk."""


class KernelInfo(Wire):
    checksum: Int64 | None = None
    """CRC-32 of the kernel."""


class KernelBootStatus(Wire):
    initrd_info: InitrdInfo | None = None
    """The initial RAM disk that was booted."""
    kernel_info: KernelInfo | None = None
    """The kernel that was booted."""


class MemoryStatus(Wire):
    guest_at_boot: Quantity | None = None
    """Memory that the guest had when it started."""
    guest_current: Quantity | None = None
    """Memory that the guest has now."""
    guest_requested: Quantity | None = None
    """Memory that the guest is to have."""
    memory_overhead: Quantity | None = None
    """Memory of the pod beyond the guest's own."""


class PersistentVolumeClaimInfo(Wire):
    access_modes: (
        AtomicList[
            Annotated[
                str, one_of("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
            ]
        ]
        | None
    ) = None
    """Access modes of the volume."""
    capacity: dict[str, Quantity] | None = None
    """Size of the volume."""
    claim_name: str | None = None
    """Name of the claim."""
    filesystem_overhead: str | None = None
    """Share of the volume, 0 to 1 as a decimal, that the file system takes for itself."""
    preallocated: bool | None = None
    """Whether the disk's space is all allocated."""
    requests: dict[str, Quantity] | None = None
    """Size that was asked for."""
    volume_mode: Annotated[str, one_of("Block", "Filesystem", "FromStorageProfile")] | None = None
    """Filesystem or Block."""


class Probe(Wire):
    exec: ExecAction | None = None
    """A command that the guest agent runs in the guest."""
    failure_threshold: Int32 | None = None
    """Failures in a row after which the probe counts as failed."""
    guest_agent_ping: GuestAgentPing | None = None
    """Success is an answer of the guest agent."""
    http_get: HTTPGetAction | None = None
    """An HTTP request to the guest."""
    initial_delay_seconds: Int32 | None = None
    """Seconds after the start before the first probe."""
    period_seconds: Int32 | None = None
    """Seconds between two probes."""
    success_threshold: Int32 | None = None
    """Successes in a row after which the probe counts as passed again."""
    tcp_socket: TCPSocketAction | None = None
    """Success is a TCP connection to the guest."""
    timeout_seconds: Int32 | None = None
    """Seconds that one probe may take."""


class StorageMigratedVolumeInfo(Wire):
    volume_name: str
    """Name of the volume."""
    destination_pvc_info: PersistentVolumeClaimInfo | None = field(
        default=None, name="destinationPVCInfo"
    )
    """Where it goes."""
    source_pvc_info: PersistentVolumeClaimInfo | None = field(default=None, name="sourcePVCInfo")
    """Where it comes from."""


class TopologyHints(Wire):
    tsc_frequency: Int64 | None = None
    """Hertz of the time stamp counter that the guest's node must offer."""


class VMIMConfigurationOptions(Wire):
    allow_auto_converge: bool | None = None
    """Whether the guest is slowed down when it dirties memory faster than it is sent."""
    allow_post_copy: bool | None = None
    """Whether the guest may run on the target before all its memory is there."""
    allow_workload_disruption: bool | None = None
    """Whether the guest may be paused or slowed down for the migration to end."""
    bandwidth_per_migration: Quantity | None = None
    """Bytes a second that one migration may send; 0 is no limit."""
    completion_timeout_per_gi_b: Int64 | None = None
    """Seconds for each GiB of guest memory and disks that are copied."""
    disable_tls: bool | None = field(default=None, name="disableTLS")
    """Whether the guest's memory is sent in the clear."""
    experimental: ExperimentalMigrationOptions | None = None
    """Options that may change or go."""
    match_se_linux_level_on_migration: bool | None = field(
        default=None, name="matchSELinuxLevelOnMigration"
    )
    """Whether the target pod gets the source's SELinux level."""
    max_downtime_ms: Int64 | None = None
    """Milliseconds that the guest may stand still at the switch-over."""
    network: str | None = None
    """NetworkAttachmentDefinition of the network that migrations use."""
    node_drain_taint_key: str | None = None
    """Taint by which a node says that its guests shall leave."""
    parallel_migrations_per_cluster: Int64 | None = None
    """Migrations at a time in the whole cluster."""
    parallel_outbound_migrations_per_node: Int64 | None = None
    """Migrations at a time away from one node."""
    progress_timeout: Int64 | None = None
    """Seconds without progress after which a migration is given up."""
    unsafe_migration_override: bool | None = None
    """Whether guests may be migrated that libvirt holds unsafe to move."""
    utility_volumes_timeout: Int64 | None = None
    """Seconds to wait for utility volumes to go before a migration starts."""


class VirtualMachineInstanceResourceClaim(Wire):
    name: str
    """Name that devices refer to."""
    resource_claim_name: str | None = None
    """ResourceClaim of the namespace."""
    resource_claim_template_name: str | None = None
    """ResourceClaimTemplate that a claim is made from."""


class VirtualMachineInstanceSpec(Wire):
    domain: DomainSpec
    """The machine: CPU, memory, firmware and devices."""
    access_credentials: AtomicList[AccessCredential] | None = None
    """SSH keys and passwords that the guest gets from secrets."""
    affinity: Affinity | None = None
    """Nodes and other pods that the guest shall be near to or apart from."""
    architecture: str | None = None
    """amd64, arm64 or s390x."""
    dns_config: PodDNSConfig | None = None
    """DNS servers, search domains and options in place of or beside the cluster's."""
    dns_policy: (
        Annotated[str, one_of("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")] | None
    ) = None
    """How the pod, and by DHCP the guest, resolves names."""
    eviction_strategy: str | None = None
    """What happens when the pod is to leave its node: None, LiveMigrate, LiveMigrateIfPossible or
    External."""
    hostname: str | None = None
    """The guest's host name; by default the object's name."""
    liveness_probe: Probe | None = None
    """The guest is restarted, as its run strategy says, when this fails."""
    networks: list[Network] | None = None
    """What interfaces are joined to, matched by name."""
    node_selector: dict[str, str] | None = None
    """Labels that a node must have."""
    priority_class_name: str | None = None
    """PriorityClass of the pod."""
    readiness_probe: Probe | None = None
    """The guest is Ready while this succeeds."""
    resource_claims: (
        Annotated[list[VirtualMachineInstanceResourceClaim], list_map("name")] | None
    ) = None
    """Dynamically allocated devices that the guest's devices refer to."""
    scheduler_name: str | None = None
    """Scheduler that places the pod."""
    service_account_name: str | None = None
    """Service account of the pod."""
    start_strategy: str | None = None
    """Paused: the guest starts paused."""
    subdomain: str | None = None
    """Subdomain of the guest's fully qualified host name."""
    termination_grace_period_seconds: Int64 | None = None
    """Seconds that the guest may take to power off; 30 by default, 0 is at once."""
    tolerations: list[Toleration] | None = None
    """Taints of nodes that do not keep the guest away."""
    topology_spread_constraints: (
        Annotated[list[TopologySpreadConstraint], list_map("topologyKey", "whenUnsatisfiable")]
        | None
    ) = None
    """How guests are spread over zones and nodes."""
    utility_volumes: Annotated[list[UtilityVolume], list_map("name")] | None = None
    """Volumes attached for a task of Virtpod's own, not seen by the guest."""
    volumes: list[Volume] | None = None
    """Where disks' bytes come from, matched by name."""


class VirtualMachineInstanceCondition(Wire):
    type: str
    """What the condition speaks of."""
    status: str
    """True, False or Unknown."""
    last_probe_time: NullableTime | None = None
    """When it was last checked."""
    last_transition_time: NullableTime | None = None
    """When its status last changed."""
    message: str | None = None
    """A sentence for people."""
    reason: str | None = None
    """One word for programs."""


class VirtualMachineInstanceGuestOSInfo(Wire):
    id: str | None = None
    """Short name of the guest's system, such as `fedora`."""
    kernel_release: str | None = None
    """Release of its kernel."""
    kernel_version: str | None = None
    """Build of its kernel."""
    machine: str | None = None
    """Its processor architecture."""
    name: str | None = None
    """Its name."""
    pretty_name: str | None = None
    """Its name and version as people write them."""
    version: str | None = None
    """Its version in words."""
    version_id: str | None = None
    """Its version as a number."""


class VirtualMachineInstanceMigrationSourceState(Wire):
    domain_name: str | None = None
    """Name of the libvirt domain."""
    domain_namespace: str | None = None
    """Namespace of the guest on the source's side."""
    migration_uid: str | None = field(default=None, name="migrationUID")
    """UID of the migration object."""
    node: str | None = None
    """Node that the guest leaves."""
    node_selectors: dict[str, str] | None = None
    """Labels that the target's node must have because the source's has."""
    persistent_state_pvc_name: str | None = field(default=None, name="persistentStatePVCName")
    """Volume that holds the machine's state, such as a TPM's."""
    pod: str | None = None
    """Pod that the guest leaves."""
    selinux_context: str | None = None
    """SELinux label of that pod."""
    sync_address: str | None = None
    """Address at which the two sides exchange their states."""
    virtual_machine_instance_uid: str | None = field(default=None, name="virtualMachineInstanceUID")
    """UID of the instance on this side."""


class VirtualMachineInstanceMigrationTargetState(Wire):
    attachment_pod_uid: str | None = field(default=None, name="attachmentPodUID")
    """UID of the pod that holds hotplugged volumes on the target."""
    cpu_set: AtomicList[Int32] | None = None
    """CPUs of the node that the target pod has to itself."""
    direct_migration_node_ports: dict[str, Int32] | None = None
    """Ports of the target, by what they are for."""
    domain_detected: bool | None = None
    """Whether the guest was seen on the target."""
    domain_name: str | None = None
    """Name of the libvirt domain."""
    domain_namespace: str | None = None
    """Namespace of the guest on the target's side."""
    domain_ready_timestamp: Time | None = None
    """When the guest was first seen running on the target."""
    migration_uid: str | None = field(default=None, name="migrationUID")
    """UID of the migration object."""
    node: str | None = None
    """Node that the guest goes to."""
    node_address: str | None = None
    """Address of that node for migrations."""
    node_topology: str | None = None
    """NUMA topology of that node, as JSON."""
    persistent_state_pvc_name: str | None = field(default=None, name="persistentStatePVCName")
    """Volume that holds the machine's state, such as a TPM's."""
    pod: str | None = None
    """Pod that the guest goes to."""
    selinux_context: str | None = None
    """SELinux label of that pod."""
    sync_address: str | None = None
    """Address at which the two sides exchange their states."""
    virtual_machine_instance_uid: str | None = field(default=None, name="virtualMachineInstanceUID")
    """UID of the instance on this side."""


class VirtualMachineInstanceMigrationState(Wire):
    abort_requested: bool | None = None
    """Whether the migration is to be given up."""
    abort_status: str | None = None
    """How giving up went: Succeeded, Failed or Aborting."""
    completed: bool | None = None
    """Whether the migration is over."""
    end_timestamp: Time | None = None
    """When it was over."""
    failed: bool | None = None
    """Whether the guest stayed where it was."""
    failure_reason: str | None = None
    """Why it failed."""
    migration_configuration: VMIMConfigurationOptions | None = None
    """The settings that this migration runs with."""
    migration_network_type: str | None = None
    """Pod or Migration: the network that is used."""
    migration_policy_name: str | None = None
    """MigrationPolicy that applied."""
    migration_uid: str | None = None
    """UID of the migration object."""
    mode: str | None = None
    """PreCopy, PostCopy or Paused."""
    source_node: str | None = None
    """Node that the guest leaves."""
    source_persistent_state_pvc_name: str | None = field(
        default=None, name="sourcePersistentStatePVCName"
    )
    """Volume of the machine's state on the source."""
    source_pod: str | None = None
    """Pod that the guest leaves."""
    source_state: VirtualMachineInstanceMigrationSourceState | None = None
    """What the source's side knows."""
    start_timestamp: Time | None = None
    """When memory began to flow."""
    target_attachment_pod_uid: str | None = field(default=None, name="targetAttachmentPodUID")
    """UID of the pod that holds hotplugged volumes on the target."""
    target_cpu_set: AtomicList[Int32] | None = field(default=None, name="targetCPUSet")
    """CPUs of the target's node that the guest has to itself."""
    target_direct_migration_node_ports: dict[str, Int32] | None = None
    """Ports of the target, by what they are for."""
    target_memory_overhead: Quantity | None = None
    """Memory of the target pod beyond the guest's own."""
    target_node: str | None = None
    """Node that the guest goes to."""
    target_node_address: str | None = None
    """Address of that node for migrations."""
    target_node_domain_detected: bool | None = None
    """Whether the guest was seen on the target."""
    target_node_domain_ready_timestamp: Time | None = None
    """When the guest was first seen running on the target."""
    target_node_topology: str | None = None
    """NUMA topology of that node, as JSON."""
    target_persistent_state_pvc_name: str | None = field(
        default=None, name="targetPersistentStatePVCName"
    )
    """Volume of the machine's state on the target."""
    target_pod: str | None = None
    """Pod that the guest goes to."""
    target_state: VirtualMachineInstanceMigrationTargetState | None = None
    """What the target's side knows."""


class VirtualMachineInstanceNetworkInterface(Wire):
    info_source: str | None = None
    """Who knows of it: domain, guest-agent, multus-status; several with commas."""
    interface_name: str | None = None
    """Its name in the guest."""
    ip_address: str | None = None
    """Its first address."""
    ip_addresses: list[str] | None = None
    """All its addresses."""
    link_state: str | None = None
    """up or down."""
    mac: str | None = None
    """Its MAC address."""
    name: str | None = None
    """The interface of the spec."""
    pod_interface_name: str | None = None
    """Its name in the pod."""
    queue_count: Int32 | None = None
    """Pairs of queues."""


class VirtualMachineInstancePhaseTransitionTimestamp(Wire):
    phase: str | None = None
    """The phase."""
    phase_transition_timestamp: Time | None = None
    """When it was entered."""


class VolumeStatus(Wire):
    target: str
    """The disk's name in the guest's bus order, such as `vda`."""
    name: str
    """The volume of the spec."""
    container_disk_volume: ContainerDiskInfo | None = None
    """Of a container disk: what was mounted."""
    hotplug_volume: HotplugVolumeStatus | None = None
    """Of a hotplugged volume: the pod that holds it."""
    memory_dump_volume: DomainMemoryDumpInfo | None = None
    """Of a memory dump: how far it is."""
    message: str | None = None
    """A sentence on the phase."""
    persistent_volume_claim_info: PersistentVolumeClaimInfo | None = None
    """Of a claim: its size and modes."""
    phase: str | None = None
    """Pending, Bound, AttachedToNode, MountedToPod, Ready and others."""
    reason: str | None = None
    """One word on the phase."""
    size: Int64 | None = None
    """Bytes."""


class VirtualMachineInstanceStatus(Wire):
    vsockcid: Int64 | None = field(default=None, name="VSOCKCID")
    """The guest's vsock context ID."""
    active_pods: dict[str, str] | None = None
    """Pods that the guest runs or ran in: UID to node name."""
    changed_block_tracking: ChangedBlockTrackingStatus | None = None
    """Whether the disks' changes are recorded for incremental backups."""
    conditions: list[VirtualMachineInstanceCondition] | None = None
    """What holds of the guest now: Ready, LiveMigratable, Paused, AgentConnected and others."""
    current_cpu_topology: CPUTopology | None = field(default=None, name="currentCPUTopology")
    """CPUs that the guest has now."""
    evacuation_node_name: str | None = None
    """Node that the guest is to leave because it is drained."""
    fs_freeze_status: str | None = None
    """`frozen` while the guest's file systems are."""
    guest_os_info: VirtualMachineInstanceGuestOSInfo | None = field(
        default=None, name="guestOSInfo"
    )
    """The guest's system, as its agent tells."""
    interfaces: list[VirtualMachineInstanceNetworkInterface] | None = None
    """The guest's network interfaces with their addresses."""
    kernel_boot_status: KernelBootStatus | None = None
    """The kernel that was booted from a container image."""
    launcher_container_image_version: str | None = None
    """Image of the pod that the guest runs in."""
    machine: Machine | None = None
    """Machine type that QEMU runs."""
    memory: MemoryStatus | None = None
    """The guest's memory now."""
    migrated_volumes: AtomicList[StorageMigratedVolumeInfo] | None = None
    """Volumes that move to other storage."""
    migration_method: str | None = None
    """BlockMigration or LiveMigration: whether disks are copied too."""
    migration_state: VirtualMachineInstanceMigrationState | None = None
    """The migration that is under way or was the last."""
    migration_transport: str | None = None
    """Unix: how the launchers speak with each other."""
    node_name: str | None = None
    """Node that the guest runs on."""
    phase: str | None = None
    """Pending, Scheduling, Scheduled, Running, Succeeded, Failed, Unknown or WaitingForSync."""
    phase_transition_timestamps: (
        AtomicList[VirtualMachineInstancePhaseTransitionTimestamp] | None
    ) = None
    """When each phase was entered."""
    qos_class: Annotated[str, one_of("BestEffort", "Burstable", "Guaranteed")] | None = None
    """Quality of service class of the pod."""
    reason: str | None = None
    """One word on why the guest is in its phase."""
    runtime_user: Int64 | None = None
    """User ID that QEMU runs as; 0 is root."""
    selinux_context: str | None = None
    """SELinux label of the pod."""
    topology_hints: TopologyHints | None = None
    """What the guest asks of its node for clock stability."""
    virtual_machine_revision_name: str | None = None
    """ControllerRevision of the VM that the guest was made from."""
    volume_status: AtomicList[VolumeStatus] | None = None
    """The volumes, and how far each is."""


class VirtualMachineInstance(Wire):
    spec: VirtualMachineInstanceSpec
    """The guest that is wanted."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    """Name, namespace, labels and what else every object has."""
    status: Nullable[VirtualMachineInstanceStatus] = field(
        default_factory=VirtualMachineInstanceStatus
    )
    """What is known of the guest."""


class VirtualMachineInstanceTemplateSpec(Wire):
    metadata: ObjectMeta | None = None
    """Labels and annotations of the instance."""
    spec: VirtualMachineInstanceSpec | None = None
    """The guest that is wanted."""
