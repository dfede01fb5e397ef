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
    """Machine types that guests may have, as patterns."""
    machine_type: str | None = None
    """Machine type of guests that name none."""
    ovmf_path: str | None = None
    """Folder of EFI firmware."""


class ArchConfiguration(Wire):
    amd64: ArchSpecificConfiguration | None = None
    """Of guests on amd64."""
    arm64: ArchSpecificConfiguration | None = None
    """Of guests on arm64."""
    default_architecture: str | None = None
    """Architecture of guests that name none."""
    ppc64le: ArchSpecificConfiguration | None = None
    """Deprecated: this architecture is not supported."""
    s390x: ArchSpecificConfiguration | None = None
    """Of guests on s390x."""


class CertConfig(Wire):
    duration: Duration | None = None
    """Time that a certificate is valid."""
    renew_before: Duration | None = None
    """Time before its end at which it is renewed."""


class ChangedBlockTrackingSelectors(Wire):
    namespace_label_selector: LabelSelector | None = None
    """Namespaces whose VMs' disks are tracked."""
    virtual_machine_label_selector: LabelSelector | None = None
    """VMs whose disks are tracked."""


class CommonInstancetypesDeployment(Wire):
    enabled: bool | None = None
    """Whether the common instance types are installed; true by default."""


class NodePlacement(Wire):
    affinity: Affinity | None = None
    """Nodes and other pods that the components shall be near to or apart from."""
    node_selector: dict[str, str] | None = None
    """Labels that nodes of the components must have."""
    tolerations: list[Toleration] | None = None
    """Taints of nodes that do not keep the components away."""


class ComponentConfig(Wire):
    node_placement: NodePlacement | None = None
    """Where the components run."""
    replicas: int | None = None
    """Number of pods of each component; by default as many as the cluster's size asks for."""


class TDXConfiguration(Wire):
    attestation: TDXAttestationConfiguration | None = None
    """How TDX guests are attested."""


class ConfidentialComputeConfiguration(Wire):
    tdx: TDXConfiguration | None = None
    """Intel TDX."""


class CustomProfile(Wire):
    localhost_profile: str | None = None
    """Path of the profile in the kubelet's seccomp folder."""
    runtime_default_profile: bool | None = None
    """Whether the container runtime's profile is used."""


class CustomizeComponentsPatch(Wire):
    type: str
    """json, merge or strategic."""
    resource_type: str
    """Kind of the object."""
    resource_name: str
    """Name of the object."""
    patch: str
    """The patch as JSON."""


class Flags(Wire):
    api: dict[str, str] | None = None
    """Flags of virt-api, by name without dashes."""
    controller: dict[str, str] | None = None
    """Flags of virt-controller, by name without dashes."""
    handler: dict[str, str] | None = None
    """Flags of virt-handler, by name without dashes."""


class CustomizeComponents(Wire):
    flags: Flags | None = None
    """Command-line flags of components."""
    patches: AtomicList[CustomizeComponentsPatch] | None = None
    """Patches of objects that virt-operator makes."""


class DiskVerification(Wire):
    memory_limit: Quantity
    """Memory that looking into a disk image may take."""


class LogVerbosity(Wire):
    node_verbosity: dict[str, Int32] | None = None
    """Verbosity of virt-handler on single nodes, by node name."""
    virt_api: Int32 | None = field(default=None, name="virtAPI")
    """Verbosity of virt-api."""
    virt_controller: Int32 | None = None
    """Verbosity of virt-controller."""
    virt_handler: Int32 | None = None
    """Verbosity of virt-handler."""
    virt_launcher: Int32 | None = None
    """Verbosity of launchers that start from now on."""
    virt_operator: Int32 | None = None
    """Verbosity of virt-operator."""
    virt_synchronization_controller: Int32 | None = None
    """Verbosity of what synchronises migrations between clusters."""


class DeveloperConfiguration(Wire):
    cluster_profiler: bool | None = None
    """Whether the components can be profiled by a subresource."""
    cpu_allocation_ratio: Int32 | None = None
    """Virtual CPUs for each CPU that a pod asks for; 10 by default."""
    disabled_feature_gates: AtomicList[str] | None = None
    """Features that are on by default and shall be off."""
    disk_verification: DiskVerification | None = None
    """Limits of looking into disk images."""
    feature_gates: AtomicList[str] | None = None
    """Features that are off by default and shall be on."""
    log_verbosity: LogVerbosity | None = None
    """How much each component logs."""
    memory_overcommit: Int32 | None = None
    """Guest memory in percent of what the pod asks for; 100 by default."""
    minimum_cluster_tsc_frequency: Int64 | None = field(
        default=None, name="minimumClusterTSCFrequency"
    )
    """Hertz of the time stamp counter that all guests may count on."""
    minimum_reserve_pvc_bytes: Int64 | None = field(default=None, name="minimumReservePVCBytes")
    """Bytes that are kept free where a disk file is made."""
    node_selectors: dict[str, str] | None = None
    """Labels that a node must have to take guests."""
    pvc_tolerate_less_space_up_to_percent: Int32 | None = None
    """Percent by which a disk may be smaller than was asked for."""
    use_emulation: bool | None = None
    """Whether guests run without KVM where it is missing."""


class DisableFreePageReporting(Wire):
    pass


class DisableSerialConsoleLog(Wire):
    pass


class GenerationStatus(Wire):
    resource: str
    """Plural name of the kind."""
    name: str
    """Name of the object."""
    last_generation: Int64
    """Generation that virt-operator has last seen."""
    group: str
    """Group of the kind."""
    hash: str | None = None
    """Hash of what virt-operator last wrote."""
    namespace: str | None = None
    """Namespace of the object."""


class HypervisorConfiguration(Wire):
    name: str | None = None
    """kvm, or another hypervisor that the nodes offer."""


class InstancetypeConfiguration(Wire):
    reference_policy: str | None = None
    """reference (default), expand or expandAll: whether VMs keep referring to instance types."""


class InterfaceBindingMigration(Wire):
    method: str | None = None
    """link-refresh: what makes the guest ask for its address again after a migration."""


class ResourceRequirementsWithoutClaims(Wire):
    limits: dict[str, Quantity] | None = None
    """Most that a container may use."""
    requests: dict[str, Quantity] | None = None
    """Least that the node must keep for a container."""


class InterfaceBindingPlugin(Wire):
    compute_resource_overhead: ResourceRequirementsWithoutClaims | None = None
    """What the compute container needs more for it."""
    domain_attachment_type: str | None = None
    """tap or managedTap: how the machine is joined to the pod's network."""
    downward_api: str | None = field(default=None, name="downwardAPI")
    """device-info: the pod gets the device's description."""
    migration: InterfaceBindingMigration | None = None
    """What a migration does with it; without, such guests do not migrate."""
    network_attachment_definition: str | None = None
    """NetworkAttachmentDefinition that prepares the pod."""
    sidecar_image: str | None = None
    """Container image that changes the domain."""


class KSMConfiguration(Wire):
    node_label_selector: LabelSelector | None = None
    """Nodes where equal pages of memory are merged."""


class KubeVirtSelfSignConfiguration(Wire):
    ca: CertConfig | None = None
    """The authority's certificate."""
    ca_overlap_interval: Duration | None = None
    """Deprecated: use ca.renewBefore."""
    ca_rotate_interval: Duration | None = None
    """Deprecated: use ca.duration."""
    cert_rotate_interval: Duration | None = None
    """Deprecated: use server.duration."""
    server: CertConfig | None = None
    """Certificates of the components."""


class KubeVirtCertificateRotateStrategy(Wire):
    self_signed: KubeVirtSelfSignConfiguration | None = None
    """Certificates come from an authority of the installation's own."""


class LiveUpdateConfiguration(Wire):
    max_cpu_sockets: Int64 | None = None
    """Sockets up to which CPUs can be added, where the VM does not say."""
    max_guest: Quantity | None = None
    """Memory up to which it can be added, where the VM does not say."""
    max_hotplug_ratio: Int64 | None = None
    """Factor on what a guest starts with that gives both limits; 4 by default."""


class NodeMediatedDeviceTypesConfig(Wire):
    node_selector: dict[str, str]
    """Nodes that these types are for."""
    mediated_device_types: AtomicList[str] | None = None
    """Types of mediated devices that are made there."""
    mediated_devices_types: AtomicList[str] | None = None
    """Deprecated: the former name of mediatedDeviceTypes."""


class MediatedDevicesConfiguration(Wire):
    enabled: bool | None = None
    """Whether mediated devices are made and removed; true by default."""
    mediated_device_types: AtomicList[str] | None = None
    """Types of mediated devices that are made."""
    mediated_devices_types: AtomicList[str] | None = None
    """Deprecated: the former name of mediatedDeviceTypes."""
    node_mediated_device_types: AtomicList[NodeMediatedDeviceTypesConfig] | None = None
    """Other types for some nodes."""


class MigrationConfiguration(Wire):
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
    """Migrations at a time in the whole cluster; 5 by default."""
    parallel_outbound_migrations_per_node: Int64 | None = None
    """Migrations at a time away from one node; 2 by default."""
    progress_timeout: Int64 | None = None
    """Seconds without progress after which a migration is given up."""
    unsafe_migration_override: bool | None = None
    """Whether guests may be migrated that libvirt holds unsafe to move."""
    utility_volumes_timeout: Int64 | None = None
    """Seconds to wait for utility volumes to go before a migration starts."""


class NetworkConfiguration(Wire):
    binding: dict[str, InterfaceBindingPlugin] | None = None
    """Bindings that others supply, by name."""
    default_network_interface: str | None = None
    """Binding of guests that name no network: bridge or masquerade."""
    permit_bridge_interface_on_pod_network: bool | None = None
    """Whether guests may have the pod network by a bridge; true by default."""
    permit_slirp_interface: bool | None = None
    """Deprecated: slirp is gone."""


class MediatedHostDevice(Wire):
    resource_name: str
    """Resource that guests and nodes know the devices by."""
    mdev_name_selector: str
    """Name of the mediated device's type."""
    external_resource_provider: bool | None = None
    """Whether somebody else's device plugin serves it."""


class PciHostDevice(Wire):
    resource_name: str
    """Resource that guests and nodes know the devices by."""
    pci_vendor_selector: str
    """Vendor and product, as `10de:1eb8`."""
    external_resource_provider: bool | None = None
    """Whether somebody else's device plugin serves it."""


class USBSelector(Wire):
    vendor: str
    """Vendor ID, four hexadecimal digits."""
    product: str
    """Product ID, four hexadecimal digits."""


class USBHostDevice(Wire):
    resource_name: str
    """Resource that guests and nodes know the devices by."""
    external_resource_provider: bool | None = None
    """Whether somebody else's device plugin serves it."""
    selectors: AtomicList[USBSelector] | None = None
    """Devices that are given together."""


class PermittedHostDevices(Wire):
    mediated_devices: AtomicList[MediatedHostDevice] | None = None
    """Mediated devices that guests may have."""
    pci_host_devices: AtomicList[PciHostDevice] | None = None
    """PCI devices that guests may have."""
    usb: AtomicList[USBHostDevice] | None = None
    """USB devices that guests may have."""


class PersistentReservationConfiguration(Wire):
    enabled: bool | None = None
    """Whether nodes run the helper for SCSI reservations."""


class TokenBucketRateLimiter(Wire):
    qps: float
    """Requests a second in the long run."""
    burst: Int32
    """Requests that may come at once."""


class RateLimiter(Wire):
    token_bucket_rate_limiter: TokenBucketRateLimiter | None = None
    """A rate with room for bursts."""


class RESTClientConfiguration(Wire):
    rate_limiter: RateLimiter | None = None
    """Limit of requests to the API server."""


class ReloadableComponentConfiguration(Wire):
    rest_client: RESTClientConfiguration | None = None
    """The component's requests to the API server."""


class SMBiosConfiguration(Wire):
    family: str | None = None
    """Product family that guests read."""
    manufacturer: str | None = None
    """Manufacturer that guests read."""
    product: str | None = None
    """Product that guests read."""
    sku: str | None = None
    """Order number that guests read."""
    version: str | None = None
    """Version that guests read."""


class VirtualMachineInstanceProfile(Wire):
    custom_profile: CustomProfile | None = None
    """Profile of the launcher's pods."""


class SeccompConfiguration(Wire):
    virtual_machine_instance_profile: VirtualMachineInstanceProfile | None = None
    """System calls that launchers may make."""


class SupportContainerResources(Wire):
    type: str
    """Which container: container-disk, hotplug-disk, guest-console-log, sidecar, virtiofs and
    others."""
    resources: ResourceRequirementsWithoutClaims
    """What it asks for and may use."""


class TLSConfiguration(Wire):
    ciphers: SetList[str] | None = None
    """Cipher suites of TLS 1.2, by OpenSSL's names."""
    min_tls_version: str | None = field(default=None, name="minTLSVersion")
    """Oldest version of TLS that is spoken; VersionTLS12 by default."""


class VirtTemplateDeployment(Wire):
    enabled: bool | None = None
    """Whether VM templates are installed."""


class VirtualMachineOptions(Wire):
    disable_free_page_reporting: DisableFreePageReporting | None = None
    """Guests do not tell which pages are free."""
    disable_serial_console_log: DisableSerialConsoleLog | None = None
    """No container logs serial consoles."""


class KubeVirtConfiguration(Wire):
    additional_guest_memory_overhead_ratio: str | None = None
    """Factor, as a decimal, on the memory reckoned beyond the guest's own."""
    api_configuration: ReloadableComponentConfiguration | None = None
    """virt-api's requests to the API server."""
    architecture_configuration: ArchConfiguration | None = None
    """Machine types and firmware of each architecture."""
    auto_cpu_limit_namespace_label_selector: LabelSelector | None = field(
        default=None, name="autoCPULimitNamespaceLabelSelector"
    )
    """Namespaces where pods get a CPU limit by themselves."""
    changed_block_tracking_label_selectors: ChangedBlockTrackingSelectors | None = None
    """VMs whose disks' changes are recorded."""
    common_instancetypes_deployment: CommonInstancetypesDeployment | None = None
    """The common instance types and preferences."""
    confidential_compute: ConfidentialComputeConfiguration | None = None
    """Guests with encrypted memory."""
    controller_configuration: ReloadableComponentConfiguration | None = None
    """virt-controller's requests to the API server."""
    cpu_model: str | None = None
    """CPU model of guests that name none."""
    cpu_request: Quantity | None = None
    """CPU that the pods of guests ask for that name none; by default what cpuAllocationRatio gives
    for each virtual CPU."""
    default_runtime_class: str | None = None
    """RuntimeClass of the launcher's pods."""
    developer_configuration: DeveloperConfiguration | None = None
    """Feature gates, verbosity and what else is for the few."""
    emulated_machines: list[str] | None = None
    """Deprecated: use architectureConfiguration."""
    eviction_strategy: str | None = None
    """What happens when a pod is to leave its node, where the guest does not say."""
    handler_configuration: ReloadableComponentConfiguration | None = None
    """virt-handler's requests to the API server."""
    hypervisors: AtomicList[HypervisorConfiguration] | None = None
    """Hypervisors that guests may run on."""
    image_pull_policy: Annotated[str, one_of("Always", "IfNotPresent", "Never")] | None = None
    """When the launcher's image is pulled."""
    instancetype: InstancetypeConfiguration | None = None
    """How VMs refer to instance types."""
    ksm_configuration: KSMConfiguration | None = None
    """Nodes where equal pages of memory are merged."""
    live_update_configuration: LiveUpdateConfiguration | None = None
    """How far guests can grow while they run."""
    machine_type: str | None = None
    """Deprecated: use architectureConfiguration."""
    mediated_devices_configuration: MediatedDevicesConfiguration | None = None
    """Mediated devices that nodes make."""
    mem_balloon_stats_period: Int64 | None = None
    """Seconds between two memory statistics of a guest; 10 by default, 0 is never."""
    migrations: MigrationConfiguration | None = None
    """Limits and manner of migrations."""
    min_cpu_model: str | None = field(default=None, name="minCPUModel")
    """Deprecated: nothing reads it."""
    network: NetworkConfiguration | None = None
    """Bindings, and what guests get that name no network."""
    obsolete_cpu_models: dict[str, bool] | None = field(default=None, name="obsoleteCPUModels")
    """CPU models that nodes do not offer, by name."""
    ovmf_path: str | None = None
    """Deprecated: use architectureConfiguration."""
    permitted_host_devices: PermittedHostDevices | None = None
    """Devices of nodes that guests may have."""
    persistent_reservation_configuration: PersistentReservationConfiguration | None = None
    """SCSI persistent reservations."""
    role_aggregation_strategy: str | None = None
    """AggregateToDefault (default) or Manual: whether Kubernetes' admin, edit and view include
    VMs."""
    seccomp_configuration: SeccompConfiguration | None = None
    """System calls that launchers may make."""
    selinux_launcher_type: str | None = None
    """SELinux type of launchers."""
    smbios: SMBiosConfiguration | None = None
    """What guests read of their maker."""
    support_container_resources: (
        Annotated[list[SupportContainerResources], list_map("type")] | None
    ) = None
    """What helper containers ask for and may use."""
    supported_guest_agent_versions: list[str] | None = None
    """Deprecated: nothing reads it."""
    tls_configuration: TLSConfiguration | None = None
    """TLS that the components speak."""
    virt_template_deployment: VirtTemplateDeployment | None = None
    """VM templates."""
    virtual_machine_instances_per_node: Int32 | None = None
    """Guests that one node may have; 110 by default."""
    virtual_machine_options: VirtualMachineOptions | None = None
    """What all guests go without."""
    vm_rollout_strategy: str | None = None
    """LiveUpdate or Stage: when changes of a VM reach a running guest."""
    vm_state_storage_class: str | None = None
    """StorageClass of volumes for the state of TPM and EFI."""
    webhook_configuration: ReloadableComponentConfiguration | None = None
    """The webhooks' requests to the API server."""


class KubeVirtWorkloadUpdateStrategy(Wire):
    batch_eviction_interval: Duration | None = None
    """Time between two batches; 1 minute by default."""
    batch_eviction_size: Int32 | None = None
    """Guests that are evicted at a time; 10 by default."""
    workload_update_methods: AtomicList[str] | None = None
    """LiveMigrate and Evict: how guests come to a new launcher."""


class KubeVirtSpec(Wire):
    certificate_rotate_strategy: KubeVirtCertificateRotateStrategy | None = None
    """How long certificates live."""
    configuration: KubeVirtConfiguration | None = None
    """How the product behaves."""
    customize_components: CustomizeComponents | None = None
    """Patches and flags of components."""
    image_pull_policy: Annotated[str, one_of("Always", "IfNotPresent", "Never")] | None = None
    """When the components' images are pulled."""
    image_pull_secrets: AtomicList[LocalObjectReference] | None = None
    """Secrets for the images' registry."""
    image_registry: str | None = None
    """Registry of the images, where it is not virt-operator's."""
    image_tag: str | None = None
    """Version of the images, where it is not virt-operator's."""
    infra: ComponentConfig | None = None
    """Where the control plane runs, and how many of it."""
    monitor_account: str | None = None
    """Service account of Prometheus."""
    monitor_namespace: str | None = None
    """Namespace of Prometheus."""
    product_component: str | None = None
    """Label app.kubernetes.io/component of what is made."""
    product_name: str | None = None
    """Label app.kubernetes.io/part-of of what is made."""
    product_version: str | None = None
    """Label app.kubernetes.io/version of what is made."""
    service_monitor_namespace: str | None = None
    """Namespace of the ServiceMonitor."""
    synchronization_port: str | None = None
    """Port at which clusters exchange the states of migrations."""
    uninstall_strategy: str | None = None
    """RemoveWorkloads (default) or BlockUninstallIfWorkloadsExist."""
    workload_update_strategy: KubeVirtWorkloadUpdateStrategy | None = None
    """How running guests come to a new launcher."""
    workloads: ComponentConfig | None = None
    """Where guests run."""


class KubeVirtCondition(Wire):
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


class KubeVirtStatus(Wire):
    conditions: list[KubeVirtCondition] | None = None
    """Available, Progressing, Degraded, Created and Synchronized."""
    default_architecture: str | None = None
    """Architecture of guests that name none."""
    generations: AtomicList[GenerationStatus] | None = None
    """What virt-operator has written, for noticing others' changes."""
    observed_deployment_config: str | None = None
    """The options that are installed, as JSON."""
    observed_deployment_id: str | None = field(default=None, name="observedDeploymentID")
    """Hash of these options."""
    observed_generation: Int64 | None = None
    """Generation of this object that is installed."""
    observed_kube_virt_registry: str | None = None
    """Registry that is installed from."""
    observed_kube_virt_version: str | None = None
    """Version that is installed."""
    operator_version: str | None = None
    """Version of virt-operator."""
    outdated_virtual_machine_instance_workloads: Int32 | None = None
    """Guests that run in a launcher of an older version."""
    phase: str | None = None
    """Deploying, Deployed, Deleting or Deleted."""
    synchronization_addresses: AtomicList[str] | None = None
    """Addresses at which this cluster receives guests of others."""
    target_deployment_config: str | None = None
    """The options that are wanted, as JSON."""
    target_deployment_id: str | None = field(default=None, name="targetDeploymentID")
    """Hash of these options."""
    target_kube_virt_registry: str | None = None
    """Registry that is wanted."""
    target_kube_virt_version: str | None = None
    """Version that is wanted."""


class KubeVirt(Wire):
    spec: KubeVirtSpec
    """The installation that is wanted."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    """Name, namespace, labels and what else every object has."""
    status: Nullable[KubeVirtStatus] = field(default_factory=KubeVirtStatus)
    """The installation that is."""
