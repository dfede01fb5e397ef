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


class VirtualMachineInstanceBackupStatus(Wire):
    backup_msg: str | None = None
    backup_name: str | None = None
    checkpoint_name: str | None = None
    completed: bool | None = None
    end_timestamp: Time | None = None
    failed: bool | None = None
    quiesce_status: str | None = None
    start_timestamp: Time | None = None
    volumes: AtomicList[VirtualMachineInstanceBackupVolumeInfo] | None = None


class ChangedBlockTrackingStatus(Wire):
    state: str
    backup_status: VirtualMachineInstanceBackupStatus | None = None


class ContainerDiskInfo(Wire):
    checksum: Int64 | None = None


class DomainMemoryDumpInfo(Wire):
    claim_name: str | None = None
    end_timestamp: Time | None = None
    start_timestamp: Time | None = None
    target_file_name: str | None = None


class DowntimeTuningOptions(Wire):
    cooldown_seconds: Int32 | None = None
    initial_ms: Int64 | None = None
    start_after_iteration: Int64 | None = None
    steps: Int32 | None = None


class StallDetectorOptions(Wire):
    completion_timeout_factor: Quantity | None = None
    ewma_alpha: Quantity | None = None
    patience_window_decay_factor: Quantity | None = None
    precopy_possible_factor: Quantity | None = None
    search_local_minima: bool | None = None
    stall_margin: Int64 | None = None
    stall_progress_timeout: Int64 | None = None
    switchover_timeout: Int64 | None = None


class ExperimentalMigrationOptions(Wire):
    compression: str | None = None
    downtime_tuning: DowntimeTuningOptions | None = None
    stall_detector: StallDetectorOptions | None = None


class GuestAgentPing(Wire):
    pass


class HotplugVolumeStatus(Wire):
    attach_pod_name: str | None = None
    attach_pod_uid: str | None = field(default=None, name="attachPodUID")


class InitrdInfo(Wire):
    checksum: Int64 | None = None


class KernelInfo(Wire):
    checksum: Int64 | None = None


class KernelBootStatus(Wire):
    initrd_info: InitrdInfo | None = None
    kernel_info: KernelInfo | None = None


class MemoryStatus(Wire):
    guest_at_boot: Quantity | None = None
    guest_current: Quantity | None = None
    guest_requested: Quantity | None = None
    memory_overhead: Quantity | None = None


class PersistentVolumeClaimInfo(Wire):
    access_modes: (
        AtomicList[
            Annotated[
                str, one_of("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
            ]
        ]
        | None
    ) = None
    capacity: dict[str, Quantity] | None = None
    claim_name: str | None = None
    filesystem_overhead: str | None = None
    preallocated: bool | None = None
    requests: dict[str, Quantity] | None = None
    volume_mode: Annotated[str, one_of("Block", "Filesystem", "FromStorageProfile")] | None = None


class Probe(Wire):
    exec: ExecAction | None = None
    failure_threshold: Int32 | None = None
    guest_agent_ping: GuestAgentPing | None = None
    http_get: HTTPGetAction | None = None
    initial_delay_seconds: Int32 | None = None
    period_seconds: Int32 | None = None
    success_threshold: Int32 | None = None
    tcp_socket: TCPSocketAction | None = None
    timeout_seconds: Int32 | None = None


class StorageMigratedVolumeInfo(Wire):
    volume_name: str
    destination_pvc_info: PersistentVolumeClaimInfo | None = field(
        default=None, name="destinationPVCInfo"
    )
    source_pvc_info: PersistentVolumeClaimInfo | None = field(default=None, name="sourcePVCInfo")


class TopologyHints(Wire):
    tsc_frequency: Int64 | None = None


class VMIMConfigurationOptions(Wire):
    allow_auto_converge: bool | None = None
    allow_post_copy: bool | None = None
    allow_workload_disruption: bool | None = None
    bandwidth_per_migration: Quantity | None = None
    completion_timeout_per_gi_b: Int64 | None = None
    disable_tls: bool | None = field(default=None, name="disableTLS")
    experimental: ExperimentalMigrationOptions | None = None
    match_se_linux_level_on_migration: bool | None = field(
        default=None, name="matchSELinuxLevelOnMigration"
    )
    max_downtime_ms: Int64 | None = None
    network: str | None = None
    node_drain_taint_key: str | None = None
    parallel_migrations_per_cluster: Int64 | None = None
    parallel_outbound_migrations_per_node: Int64 | None = None
    progress_timeout: Int64 | None = None
    unsafe_migration_override: bool | None = None
    utility_volumes_timeout: Int64 | None = None


class VirtualMachineInstanceResourceClaim(Wire):
    name: str
    resource_claim_name: str | None = None
    resource_claim_template_name: str | None = None


class VirtualMachineInstanceSpec(Wire):
    domain: DomainSpec
    access_credentials: AtomicList[AccessCredential] | None = None
    affinity: Affinity | None = None
    architecture: str | None = None
    dns_config: PodDNSConfig | None = None
    dns_policy: (
        Annotated[str, one_of("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")] | None
    ) = None
    eviction_strategy: str | None = None
    hostname: str | None = None
    liveness_probe: Probe | None = None
    networks: list[Network] | None = None
    node_selector: dict[str, str] | None = None
    priority_class_name: str | None = None
    readiness_probe: Probe | None = None
    resource_claims: (
        Annotated[list[VirtualMachineInstanceResourceClaim], list_map("name")] | None
    ) = None
    scheduler_name: str | None = None
    service_account_name: str | None = None
    start_strategy: str | None = None
    subdomain: str | None = None
    termination_grace_period_seconds: Int64 | None = None
    tolerations: list[Toleration] | None = None
    topology_spread_constraints: (
        Annotated[list[TopologySpreadConstraint], list_map("topologyKey", "whenUnsatisfiable")]
        | None
    ) = None
    utility_volumes: Annotated[list[UtilityVolume], list_map("name")] | None = None
    volumes: list[Volume] | None = None


class VirtualMachineInstanceCondition(Wire):
    type: str
    status: str
    last_probe_time: NullableTime | None = None
    last_transition_time: NullableTime | None = None
    message: str | None = None
    reason: str | None = None


class VirtualMachineInstanceGuestOSInfo(Wire):
    id: str | None = None
    kernel_release: str | None = None
    kernel_version: str | None = None
    machine: str | None = None
    name: str | None = None
    pretty_name: str | None = None
    version: str | None = None
    version_id: str | None = None


class VirtualMachineInstanceMigrationSourceState(Wire):
    domain_name: str | None = None
    domain_namespace: str | None = None
    migration_uid: str | None = field(default=None, name="migrationUID")
    node: str | None = None
    node_selectors: dict[str, str] | None = None
    persistent_state_pvc_name: str | None = field(default=None, name="persistentStatePVCName")
    pod: str | None = None
    selinux_context: str | None = None
    sync_address: str | None = None
    virtual_machine_instance_uid: str | None = field(default=None, name="virtualMachineInstanceUID")


class VirtualMachineInstanceMigrationTargetState(Wire):
    attachment_pod_uid: str | None = field(default=None, name="attachmentPodUID")
    cpu_set: AtomicList[Int32] | None = None
    direct_migration_node_ports: dict[str, Int32] | None = None
    domain_detected: bool | None = None
    domain_name: str | None = None
    domain_namespace: str | None = None
    domain_ready_timestamp: Time | None = None
    migration_uid: str | None = field(default=None, name="migrationUID")
    node: str | None = None
    node_address: str | None = None
    node_topology: str | None = None
    persistent_state_pvc_name: str | None = field(default=None, name="persistentStatePVCName")
    pod: str | None = None
    selinux_context: str | None = None
    sync_address: str | None = None
    virtual_machine_instance_uid: str | None = field(default=None, name="virtualMachineInstanceUID")


class VirtualMachineInstanceMigrationState(Wire):
    abort_requested: bool | None = None
    abort_status: str | None = None
    completed: bool | None = None
    end_timestamp: Time | None = None
    failed: bool | None = None
    failure_reason: str | None = None
    migration_configuration: VMIMConfigurationOptions | None = None
    migration_network_type: str | None = None
    migration_policy_name: str | None = None
    migration_uid: str | None = None
    mode: str | None = None
    source_node: str | None = None
    source_persistent_state_pvc_name: str | None = field(
        default=None, name="sourcePersistentStatePVCName"
    )
    source_pod: str | None = None
    source_state: VirtualMachineInstanceMigrationSourceState | None = None
    start_timestamp: Time | None = None
    target_attachment_pod_uid: str | None = field(default=None, name="targetAttachmentPodUID")
    target_cpu_set: AtomicList[Int32] | None = field(default=None, name="targetCPUSet")
    target_direct_migration_node_ports: dict[str, Int32] | None = None
    target_memory_overhead: Quantity | None = None
    target_node: str | None = None
    target_node_address: str | None = None
    target_node_domain_detected: bool | None = None
    target_node_domain_ready_timestamp: Time | None = None
    target_node_topology: str | None = None
    target_persistent_state_pvc_name: str | None = field(
        default=None, name="targetPersistentStatePVCName"
    )
    target_pod: str | None = None
    target_state: VirtualMachineInstanceMigrationTargetState | None = None


class VirtualMachineInstanceNetworkInterface(Wire):
    info_source: str | None = None
    interface_name: str | None = None
    ip_address: str | None = None
    ip_addresses: list[str] | None = None
    link_state: str | None = None
    mac: str | None = None
    name: str | None = None
    pod_interface_name: str | None = None
    queue_count: Int32 | None = None


class VirtualMachineInstancePhaseTransitionTimestamp(Wire):
    phase: str | None = None
    phase_transition_timestamp: Time | None = None


class VolumeStatus(Wire):
    target: str
    name: str
    container_disk_volume: ContainerDiskInfo | None = None
    hotplug_volume: HotplugVolumeStatus | None = None
    memory_dump_volume: DomainMemoryDumpInfo | None = None
    message: str | None = None
    persistent_volume_claim_info: PersistentVolumeClaimInfo | None = None
    phase: str | None = None
    reason: str | None = None
    size: Int64 | None = None


class VirtualMachineInstanceStatus(Wire):
    vsockcid: Int64 | None = field(default=None, name="VSOCKCID")
    active_pods: dict[str, str] | None = None
    changed_block_tracking: ChangedBlockTrackingStatus | None = None
    conditions: list[VirtualMachineInstanceCondition] | None = None
    current_cpu_topology: CPUTopology | None = field(default=None, name="currentCPUTopology")
    evacuation_node_name: str | None = None
    fs_freeze_status: str | None = None
    guest_os_info: VirtualMachineInstanceGuestOSInfo | None = field(
        default=None, name="guestOSInfo"
    )
    interfaces: list[VirtualMachineInstanceNetworkInterface] | None = None
    kernel_boot_status: KernelBootStatus | None = None
    launcher_container_image_version: str | None = None
    machine: Machine | None = None
    memory: MemoryStatus | None = None
    migrated_volumes: AtomicList[StorageMigratedVolumeInfo] | None = None
    migration_method: str | None = None
    migration_state: VirtualMachineInstanceMigrationState | None = None
    migration_transport: str | None = None
    node_name: str | None = None
    phase: str | None = None
    phase_transition_timestamps: (
        AtomicList[VirtualMachineInstancePhaseTransitionTimestamp] | None
    ) = None
    qos_class: Annotated[str, one_of("BestEffort", "Burstable", "Guaranteed")] | None = None
    reason: str | None = None
    runtime_user: Int64 | None = None
    selinux_context: str | None = None
    topology_hints: TopologyHints | None = None
    virtual_machine_revision_name: str | None = None
    volume_status: AtomicList[VolumeStatus] | None = None


class VirtualMachineInstance(Wire):
    spec: VirtualMachineInstanceSpec
    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    status: Nullable[VirtualMachineInstanceStatus] = field(
        default_factory=VirtualMachineInstanceStatus
    )


class VirtualMachineInstanceTemplateSpec(Wire):
    metadata: ObjectMeta | None = None
    spec: VirtualMachineInstanceSpec | None = None
