"""Preferences: values for what a VirtualMachine leaves open, by the needs of its guest system."""

from __future__ import annotations

from msgspec import field

from virtpod.api.base import Int64, Quantity, Wire
from virtpod.api.devices import Rng, TPMDevice
from virtpod.api.disks import BlockSize
from virtpod.api.hostdevices import VGPUOptions
from virtpod.api.machine import (
    EFI,
    ClockOffsetUTC,
    CPUFeature,
    FeatureAPIC,
    FeatureHyperv,
    FeatureKVM,
    FeatureState,
    LaunchSecurity,
    Timer,
)
from virtpod.api.meta import ObjectMeta
from virtpod.api.network import InterfaceMasquerade


class CPUPreferenceRequirement(Wire):
    guest: Int64
    """Least number of virtual CPUs."""


class SpreadOptions(Wire):
    across: str | None = None
    """SocketsCores (default), SocketsCoresThreads or CoresThreads."""
    ratio: Int64 | None = None
    """How many times more of the second; 2 by default."""


class CPUPreferences(Wire):
    preferred_cpu_features: list[CPUFeature] | None = field(
        default=None, name="preferredCPUFeatures"
    )
    """CPU flags."""
    preferred_cpu_topology: str | None = field(default=None, name="preferredCPUTopology")
    """sockets (default), cores, threads, spread or any: what virtual CPUs become."""
    spread_options: SpreadOptions | None = None
    """How virtual CPUs are spread."""


class ClockOffset(Wire):
    timezone: str | None = None
    """Time zone of the guest's clock, such as `Europe/Berlin`."""
    utc: ClockOffsetUTC | None = None
    """The guest's clock follows UTC."""


class ClockPreferences(Wire):
    preferred_clock_offset: ClockOffset | None = None
    """What the guest's clock follows."""
    preferred_timer: Timer | None = None
    """Timers of the guest."""


class DevicePreferences(Wire):
    preferred_autoattach_graphics_device: bool | None = None
    """Whether the guest has a display."""
    preferred_autoattach_input_device: bool | None = None
    """Whether a tablet is added when no input is named."""
    preferred_autoattach_mem_balloon: bool | None = None
    """Whether the guest has a memory balloon."""
    preferred_autoattach_pod_interface: bool | None = None
    """Whether the pod's network is joined when no network is named."""
    preferred_autoattach_serial_console: bool | None = None
    """Whether the guest has a serial console."""
    preferred_block_multi_queue: bool | None = None
    """Whether disks have a queue for each virtual CPU."""
    preferred_cdrom_bus: str | None = None
    """Bus of CD-ROMs."""
    preferred_disable_hotplug: bool | None = None
    """Whether no spare PCI slots are kept."""
    preferred_disk_block_size: BlockSize | None = None
    """Block sizes of disks."""
    preferred_disk_bus: str | None = None
    """Bus of disks."""
    preferred_disk_cache: str | None = None
    """Cache mode of disks."""
    preferred_disk_dedicated_io_thread: bool | None = None
    """Whether a thread of its own serves each virtio disk."""
    preferred_disk_io: str | None = field(default=None, name="preferredDiskIO")
    """I/O mode of disks."""
    preferred_input_bus: str | None = None
    """Bus of inputs."""
    preferred_input_type: str | None = None
    """Type of inputs."""
    preferred_interface_masquerade: InterfaceMasquerade | None = None
    """Interfaces on the pod network get masquerade."""
    preferred_interface_model: str | None = None
    """Model of interfaces."""
    preferred_lun_bus: str | None = None
    """Bus of LUNs."""
    preferred_network_interface_multi_queue: bool | None = None
    """Whether interfaces have a pair of queues for each virtual CPU."""
    preferred_panic_device_model: str | None = None
    """Model of panic devices."""
    preferred_rng: Rng | None = None
    """The guest gets random numbers from the node."""
    preferred_sound_model: str | None = None
    """Model of sound cards."""
    preferred_tpm: TPMDevice | None = field(default=None, name="preferredTPM")
    """A trusted platform module."""
    preferred_use_virtio_transitional: bool | None = None
    """Whether virtio devices also speak the old version 0.9."""
    preferred_video_type: str | None = None
    """The display's hardware."""
    preferred_virtual_gpu_options: VGPUOptions | None = field(
        default=None, name="preferredVirtualGPUOptions"
    )
    """Options of virtual GPUs."""


class FeaturePreferences(Wire):
    preferred_acpi: FeatureState | None = None
    """ACPI."""
    preferred_apic: FeatureAPIC | None = None
    """The interrupt controller."""
    preferred_hyperv: FeatureHyperv | None = None
    """Features that Windows knows from Hyper-V."""
    preferred_kvm: FeatureKVM | None = None
    """KVM's own features."""
    preferred_pvspinlock: FeatureState | None = None
    """Paravirtual spin locks."""
    preferred_smm: FeatureState | None = None
    """System management mode."""


class FirmwarePreferences(Wire):
    preferred_efi: EFI | None = None
    """Boot by EFI, with these options."""
    preferred_use_bios: bool | None = None
    """Boot by BIOS."""
    preferred_use_bios_serial: bool | None = None
    """Whether the BIOS writes to the serial console."""
    preferred_use_efi: bool | None = None
    """Deprecated: use preferredEfi."""
    preferred_use_secure_boot: bool | None = None
    """Deprecated: use preferredEfi."""


class MachinePreferences(Wire):
    preferred_machine_type: str | None = None
    """Machine type."""


class MemoryPreferenceRequirement(Wire):
    guest: Quantity
    """Least memory of the guest."""


class PreferenceRequirements(Wire):
    architecture: str | None = None
    """Architecture that the guest needs."""
    cpu: CPUPreferenceRequirement | None = None
    """CPUs that the guest needs."""
    memory: MemoryPreferenceRequirement | None = None
    """Memory that the guest needs."""


class VolumePreferences(Wire):
    preferred_storage_class_name: str | None = None
    """StorageClass of DataVolumes that name none."""


class VirtualMachinePreferenceSpec(Wire):
    annotations: dict[str, str] | None = None
    """Annotations that instances get."""
    clock: ClockPreferences | None = None
    """The clock, where the VM leaves it open."""
    cpu: CPUPreferences | None = None
    """CPUs, where the VM leaves them open."""
    devices: DevicePreferences | None = None
    """Devices, where the VM leaves them open."""
    features: FeaturePreferences | None = None
    """Features of the hypervisor, where the VM leaves them open."""
    firmware: FirmwarePreferences | None = None
    """Firmware, where the VM leaves it open."""
    machine: MachinePreferences | None = None
    """The machine, where the VM leaves it open."""
    prefer_spread_socket_to_core_ratio: Int64 | None = None
    """Deprecated: use cpu.spreadOptions.ratio."""
    preferred_architecture: str | None = None
    """Architecture of the guest."""
    preferred_launch_security: LaunchSecurity | None = None
    """Encryption of the guest's memory."""
    preferred_subdomain: str | None = None
    """Subdomain of the guest's host name."""
    preferred_termination_grace_period_seconds: Int64 | None = None
    """Seconds that the guest may take to power off."""
    requirements: PreferenceRequirements | None = None
    """What an instance type must give to be used with this preference."""
    volumes: VolumePreferences | None = None
    """Volumes, where the VM leaves them open."""


class VirtualMachineClusterPreference(Wire):
    spec: VirtualMachinePreferenceSpec
    """What VMs prefer."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    """Name, namespace, labels and what else every object has."""


class VirtualMachinePreference(Wire):
    spec: VirtualMachinePreferenceSpec
    """What VMs prefer."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    """Name, namespace, labels and what else every object has."""
