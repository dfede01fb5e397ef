"""KubeVirt: the one object that installs and configures the product."""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from virtpod.api.base import (
    AtomicList,
    Duration,
    Int32,
    Int64,
    Nullable,
    NullableTime,
    Quantity,
    SetList,
    Wire,
    list_map,
    one_of,
)
from virtpod.api.core import Affinity, LocalObjectReference, Toleration
from virtpod.api.machine import TDXAttestationConfiguration
from virtpod.api.meta import LabelSelector, ObjectMeta


class ArchSpecificConfiguration(Wire):
    emulated_machines: AtomicList[str] | None = None
    machine_type: str | None = None
    ovmf_path: str | None = None


class ArchConfiguration(Wire):
    amd64: ArchSpecificConfiguration | None = None
    arm64: ArchSpecificConfiguration | None = None
    default_architecture: str | None = None
    ppc64le: ArchSpecificConfiguration | None = None
    s390x: ArchSpecificConfiguration | None = None


class CertConfig(Wire):
    duration: Duration | None = None
    renew_before: Duration | None = None


class ChangedBlockTrackingSelectors(Wire):
    namespace_label_selector: LabelSelector | None = None
    virtual_machine_label_selector: LabelSelector | None = None


class CommonInstancetypesDeployment(Wire):
    enabled: bool | None = None


class NodePlacement(Wire):
    affinity: Affinity | None = None
    node_selector: dict[str, str] | None = None
    tolerations: list[Toleration] | None = None


class ComponentConfig(Wire):
    node_placement: NodePlacement | None = None
    replicas: int | None = None


class TDXConfiguration(Wire):
    attestation: TDXAttestationConfiguration | None = None


class ConfidentialComputeConfiguration(Wire):
    tdx: TDXConfiguration | None = None


class CustomProfile(Wire):
    localhost_profile: str | None = None
    runtime_default_profile: bool | None = None


class CustomizeComponentsPatch(Wire):
    type: str
    resource_type: str
    resource_name: str
    patch: str


class Flags(Wire):
    api: dict[str, str] | None = None
    controller: dict[str, str] | None = None
    handler: dict[str, str] | None = None


class CustomizeComponents(Wire):
    flags: Flags | None = None
    patches: AtomicList[CustomizeComponentsPatch] | None = None


class DiskVerification(Wire):
    memory_limit: Quantity


class LogVerbosity(Wire):
    node_verbosity: dict[str, Int32] | None = None
    virt_api: Int32 | None = field(default=None, name="virtAPI")
    virt_controller: Int32 | None = None
    virt_handler: Int32 | None = None
    virt_launcher: Int32 | None = None
    virt_operator: Int32 | None = None
    virt_synchronization_controller: Int32 | None = None


class DeveloperConfiguration(Wire):
    cluster_profiler: bool | None = None
    cpu_allocation_ratio: Int32 | None = None
    disabled_feature_gates: AtomicList[str] | None = None
    disk_verification: DiskVerification | None = None
    feature_gates: AtomicList[str] | None = None
    log_verbosity: LogVerbosity | None = None
    memory_overcommit: Int32 | None = None
    minimum_cluster_tsc_frequency: Int64 | None = field(
        default=None, name="minimumClusterTSCFrequency"
    )
    minimum_reserve_pvc_bytes: Int64 | None = field(default=None, name="minimumReservePVCBytes")
    node_selectors: dict[str, str] | None = None
    pvc_tolerate_less_space_up_to_percent: Int32 | None = None
    use_emulation: bool | None = None


class DisableFreePageReporting(Wire):
    pass


class DisableSerialConsoleLog(Wire):
    pass


class GenerationStatus(Wire):
    resource: str
    name: str
    last_generation: Int64
    group: str
    hash: str | None = None
    namespace: str | None = None


class HypervisorConfiguration(Wire):
    name: str | None = None


class InstancetypeConfiguration(Wire):
    reference_policy: str | None = None


class InterfaceBindingMigration(Wire):
    method: str | None = None


class ResourceRequirementsWithoutClaims(Wire):
    limits: dict[str, Quantity] | None = None
    requests: dict[str, Quantity] | None = None


class InterfaceBindingPlugin(Wire):
    compute_resource_overhead: ResourceRequirementsWithoutClaims | None = None
    domain_attachment_type: str | None = None
    downward_api: str | None = field(default=None, name="downwardAPI")
    migration: InterfaceBindingMigration | None = None
    network_attachment_definition: str | None = None
    sidecar_image: str | None = None


class KSMConfiguration(Wire):
    node_label_selector: LabelSelector | None = None


class KubeVirtSelfSignConfiguration(Wire):
    ca: CertConfig | None = None
    ca_overlap_interval: Duration | None = None
    ca_rotate_interval: Duration | None = None
    cert_rotate_interval: Duration | None = None
    server: CertConfig | None = None


class KubeVirtCertificateRotateStrategy(Wire):
    self_signed: KubeVirtSelfSignConfiguration | None = None


class LiveUpdateConfiguration(Wire):
    max_cpu_sockets: Int64 | None = None
    max_guest: Quantity | None = None
    max_hotplug_ratio: Int64 | None = None


class NodeMediatedDeviceTypesConfig(Wire):
    node_selector: dict[str, str]
    mediated_device_types: AtomicList[str] | None = None
    mediated_devices_types: AtomicList[str] | None = None


class MediatedDevicesConfiguration(Wire):
    enabled: bool | None = None
    mediated_device_types: AtomicList[str] | None = None
    mediated_devices_types: AtomicList[str] | None = None
    node_mediated_device_types: AtomicList[NodeMediatedDeviceTypesConfig] | None = None


class MigrationConfiguration(Wire):
    allow_auto_converge: bool | None = None
    allow_post_copy: bool | None = None
    allow_workload_disruption: bool | None = None
    bandwidth_per_migration: Quantity | None = None
    completion_timeout_per_gi_b: Int64 | None = None
    disable_tls: bool | None = field(default=None, name="disableTLS")
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


class NetworkConfiguration(Wire):
    binding: dict[str, InterfaceBindingPlugin] | None = None
    default_network_interface: str | None = None
    permit_bridge_interface_on_pod_network: bool | None = None
    permit_slirp_interface: bool | None = None


class MediatedHostDevice(Wire):
    resource_name: str
    mdev_name_selector: str
    external_resource_provider: bool | None = None


class PciHostDevice(Wire):
    resource_name: str
    pci_vendor_selector: str
    external_resource_provider: bool | None = None


class USBSelector(Wire):
    vendor: str
    product: str


class USBHostDevice(Wire):
    resource_name: str
    external_resource_provider: bool | None = None
    selectors: AtomicList[USBSelector] | None = None


class PermittedHostDevices(Wire):
    mediated_devices: AtomicList[MediatedHostDevice] | None = None
    pci_host_devices: AtomicList[PciHostDevice] | None = None
    usb: AtomicList[USBHostDevice] | None = None


class PersistentReservationConfiguration(Wire):
    enabled: bool | None = None


class TokenBucketRateLimiter(Wire):
    qps: float
    burst: Int32


class RateLimiter(Wire):
    token_bucket_rate_limiter: TokenBucketRateLimiter | None = None


class RESTClientConfiguration(Wire):
    rate_limiter: RateLimiter | None = None


class ReloadableComponentConfiguration(Wire):
    rest_client: RESTClientConfiguration | None = None


class SMBiosConfiguration(Wire):
    family: str | None = None
    manufacturer: str | None = None
    product: str | None = None
    sku: str | None = None
    version: str | None = None


class VirtualMachineInstanceProfile(Wire):
    custom_profile: CustomProfile | None = None


class SeccompConfiguration(Wire):
    virtual_machine_instance_profile: VirtualMachineInstanceProfile | None = None


class SupportContainerResources(Wire):
    type: str
    resources: ResourceRequirementsWithoutClaims


class TLSConfiguration(Wire):
    ciphers: SetList[str] | None = None
    min_tls_version: str | None = field(default=None, name="minTLSVersion")


class VirtTemplateDeployment(Wire):
    enabled: bool | None = None


class VirtualMachineOptions(Wire):
    disable_free_page_reporting: DisableFreePageReporting | None = None
    disable_serial_console_log: DisableSerialConsoleLog | None = None


class KubeVirtConfiguration(Wire):
    additional_guest_memory_overhead_ratio: str | None = None
    api_configuration: ReloadableComponentConfiguration | None = None
    architecture_configuration: ArchConfiguration | None = None
    auto_cpu_limit_namespace_label_selector: LabelSelector | None = field(
        default=None, name="autoCPULimitNamespaceLabelSelector"
    )
    changed_block_tracking_label_selectors: ChangedBlockTrackingSelectors | None = None
    common_instancetypes_deployment: CommonInstancetypesDeployment | None = None
    confidential_compute: ConfidentialComputeConfiguration | None = None
    controller_configuration: ReloadableComponentConfiguration | None = None
    cpu_model: str | None = None
    cpu_request: Quantity | None = None
    default_runtime_class: str | None = None
    developer_configuration: DeveloperConfiguration | None = None
    emulated_machines: list[str] | None = None
    eviction_strategy: str | None = None
    handler_configuration: ReloadableComponentConfiguration | None = None
    hypervisors: AtomicList[HypervisorConfiguration] | None = None
    image_pull_policy: Annotated[str, one_of("Always", "IfNotPresent", "Never")] | None = None
    instancetype: InstancetypeConfiguration | None = None
    ksm_configuration: KSMConfiguration | None = None
    live_update_configuration: LiveUpdateConfiguration | None = None
    machine_type: str | None = None
    mediated_devices_configuration: MediatedDevicesConfiguration | None = None
    mem_balloon_stats_period: Int64 | None = None
    migrations: MigrationConfiguration | None = None
    min_cpu_model: str | None = field(default=None, name="minCPUModel")
    network: NetworkConfiguration | None = None
    obsolete_cpu_models: dict[str, bool] | None = field(default=None, name="obsoleteCPUModels")
    ovmf_path: str | None = None
    permitted_host_devices: PermittedHostDevices | None = None
    persistent_reservation_configuration: PersistentReservationConfiguration | None = None
    role_aggregation_strategy: str | None = None
    seccomp_configuration: SeccompConfiguration | None = None
    selinux_launcher_type: str | None = None
    smbios: SMBiosConfiguration | None = None
    support_container_resources: (
        Annotated[list[SupportContainerResources], list_map("type")] | None
    ) = None
    supported_guest_agent_versions: list[str] | None = None
    tls_configuration: TLSConfiguration | None = None
    virt_template_deployment: VirtTemplateDeployment | None = None
    virtual_machine_instances_per_node: Int32 | None = None
    virtual_machine_options: VirtualMachineOptions | None = None
    vm_rollout_strategy: str | None = None
    vm_state_storage_class: str | None = None
    webhook_configuration: ReloadableComponentConfiguration | None = None


class KubeVirtWorkloadUpdateStrategy(Wire):
    batch_eviction_interval: Duration | None = None
    batch_eviction_size: Int32 | None = None
    workload_update_methods: AtomicList[str] | None = None


class KubeVirtSpec(Wire):
    certificate_rotate_strategy: KubeVirtCertificateRotateStrategy | None = None
    configuration: KubeVirtConfiguration | None = None
    customize_components: CustomizeComponents | None = None
    image_pull_policy: Annotated[str, one_of("Always", "IfNotPresent", "Never")] | None = None
    image_pull_secrets: AtomicList[LocalObjectReference] | None = None
    image_registry: str | None = None
    image_tag: str | None = None
    infra: ComponentConfig | None = None
    monitor_account: str | None = None
    monitor_namespace: str | None = None
    product_component: str | None = None
    product_name: str | None = None
    product_version: str | None = None
    service_monitor_namespace: str | None = None
    synchronization_port: str | None = None
    uninstall_strategy: str | None = None
    workload_update_strategy: KubeVirtWorkloadUpdateStrategy | None = None
    workloads: ComponentConfig | None = None


class KubeVirtCondition(Wire):
    type: str
    status: str
    last_probe_time: NullableTime | None = None
    last_transition_time: NullableTime | None = None
    message: str | None = None
    reason: str | None = None


class KubeVirtStatus(Wire):
    conditions: list[KubeVirtCondition] | None = None
    default_architecture: str | None = None
    generations: AtomicList[GenerationStatus] | None = None
    observed_deployment_config: str | None = None
    observed_deployment_id: str | None = field(default=None, name="observedDeploymentID")
    observed_generation: Int64 | None = None
    observed_kube_virt_registry: str | None = None
    observed_kube_virt_version: str | None = None
    operator_version: str | None = None
    outdated_virtual_machine_instance_workloads: Int32 | None = None
    phase: str | None = None
    synchronization_addresses: AtomicList[str] | None = None
    target_deployment_config: str | None = None
    target_deployment_id: str | None = field(default=None, name="targetDeploymentID")
    target_kube_virt_registry: str | None = None
    target_kube_virt_version: str | None = None


class KubeVirt(Wire):
    spec: KubeVirtSpec
    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    status: Nullable[KubeVirtStatus] = field(default_factory=KubeVirtStatus)
