"""Where a disk's bytes come from. Each Volume has a name and exactly one source."""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from virtpod.api.base import Quantity, Wire, one_of
from virtpod.api.core import (
    CorePersistentVolumeClaimVolumeSource,
    DownwardAPIVolumeFile,
    LocalObjectReference,
)


class CloudInitConfigDriveSource(Wire):
    network_data: str | None = None
    """Network configuration, as text."""
    network_data_base64: str | None = None
    """Network configuration, base64."""
    network_data_secret_ref: LocalObjectReference | None = None
    """Secret with the network configuration under `networkdata`."""
    secret_ref: LocalObjectReference | None = None
    """Secret with the user data under `userdata`."""
    user_data: str | None = None
    """User data, as text."""
    user_data_base64: str | None = None
    """User data, base64."""


class CloudInitNoCloudSource(Wire):
    network_data: str | None = None
    """Network configuration, as text."""
    network_data_base64: str | None = None
    """Network configuration, base64."""
    network_data_secret_ref: LocalObjectReference | None = None
    """Secret with the network configuration under `networkdata`."""
    secret_ref: LocalObjectReference | None = None
    """Secret with the user data under `userdata`."""
    user_data: str | None = None
    """User data, as text."""
    user_data_base64: str | None = None
    """User data, base64."""


class ConfigMapVolumeSource(Wire):
    name: str | None = None
    """Name of the ConfigMap."""
    optional: bool | None = None
    """Whether the guest starts without it."""
    volume_label: str | None = None
    """Label of the disk that the guest sees."""


class ContainerDiskSource(Wire):
    image: str
    """Container image that holds the disk."""
    image_pull_policy: Annotated[str, one_of("Always", "IfNotPresent", "Never")] | None = None
    """When the image is pulled."""
    image_pull_secret: str | None = None
    """Secret for the image's registry."""
    path: str | None = None
    """Path of the disk in the image; by default the one file below `/disk`."""


class ContainerPathVolumeSource(Wire):
    path: str
    """Path in the launcher's container."""
    read_only: bool | None = None
    """Whether the guest cannot write; only true is taken."""


class DataVolumeSource(Wire):
    name: str
    """Name of the DataVolume and of its claim."""
    hotpluggable: bool | None = None
    """Whether it can be detached while the guest runs."""


class DownwardAPIVolumeSource(Wire):
    fields: list[DownwardAPIVolumeFile] | None = None
    """Files, each with a field of the pod."""
    volume_label: str | None = None
    """Label of the disk that the guest sees."""


class DownwardMetricsVolumeSource(Wire):
    pass


class EmptyDiskSource(Wire):
    capacity: Quantity
    """Size of the disk."""


class EphemeralVolumeSource(Wire):
    persistent_volume_claim: CorePersistentVolumeClaimVolumeSource | None = None
    """Claim that is read; what the guest writes is lost when it ends."""


class HostDisk(Wire):
    type: str
    """Disk (must be there) or DiskOrCreate."""
    path: str
    """Path on the node."""
    capacity: Quantity | None = None
    """Size of a disk that is made."""
    shared: bool | None = None
    """Whether several nodes see the same file."""


class PersistentVolumeClaimVolumeSource(Wire):
    claim_name: str
    """Name of the claim."""
    hotpluggable: bool | None = None
    """Whether it can be detached while the guest runs."""
    read_only: bool | None = None
    """Whether the guest cannot write."""


class HotplugVolumeSource(Wire):
    data_volume: DataVolumeSource | None = None
    """A DataVolume."""
    persistent_volume_claim: PersistentVolumeClaimVolumeSource | None = None
    """A claim."""


class MemoryDumpVolumeSource(Wire):
    claim_name: str
    """Name of the claim."""
    hotpluggable: bool | None = None
    """Whether it can be detached while the guest runs."""
    read_only: bool | None = None
    """Whether it cannot be written."""


class SecretVolumeSource(Wire):
    optional: bool | None = None
    """Whether the guest starts without it."""
    secret_name: str | None = None
    """Name of the secret."""
    volume_label: str | None = None
    """Label of the disk that the guest sees."""


class ServiceAccountVolumeSource(Wire):
    service_account_name: str | None = None
    """Service account whose token the guest sees."""


class SysprepSource(Wire):
    config_map: LocalObjectReference | None = None
    """ConfigMap with the answer files of Windows' set-up."""
    secret: LocalObjectReference | None = None
    """Secret with the answer files of Windows' set-up."""


class UtilityVolume(Wire):
    name: str
    """Name of the volume."""
    claim_name: str
    """Name of the claim."""
    read_only: bool | None = None
    """Whether it cannot be written."""
    type: str | None = None
    """What it is for: MemoryDump or Backup."""


class Volume(Wire):
    name: str
    """Name that disks refer to."""
    cloud_init_config_drive: CloudInitConfigDriveSource | None = None
    """Data for cloud-init, as a config drive."""
    cloud_init_no_cloud: CloudInitNoCloudSource | None = None
    """Data for cloud-init, as a NoCloud disk."""
    config_map: ConfigMapVolumeSource | None = None
    """A ConfigMap's files."""
    container_disk: ContainerDiskSource | None = None
    """A disk from a container image; what the guest writes is lost when it ends."""
    container_path: ContainerPathVolumeSource | None = None
    """A folder of the launcher's container."""
    data_volume: DataVolumeSource | None = None
    """A disk that is imported first."""
    downward_api: DownwardAPIVolumeSource | None = field(default=None, name="downwardAPI")
    """Fields of the pod as files."""
    downward_metrics: DownwardMetricsVolumeSource | None = None
    """The node's metrics as a disk."""
    empty_disk: EmptyDiskSource | None = None
    """An empty disk that is gone when the guest ends."""
    ephemeral: EphemeralVolumeSource | None = None
    """A claim that is read, and changes that are lost when the guest ends."""
    host_disk: HostDisk | None = None
    """A file on the node."""
    memory_dump: MemoryDumpVolumeSource | None = None
    """A claim that takes a dump of the guest's memory."""
    persistent_volume_claim: PersistentVolumeClaimVolumeSource | None = None
    """A claim."""
    secret: SecretVolumeSource | None = None
    """A secret's files."""
    service_account: ServiceAccountVolumeSource | None = None
    """A service account's token."""
    sysprep: SysprepSource | None = None
    """Answer files of Windows' set-up."""
