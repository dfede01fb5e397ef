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
    network_data_base64: str | None = None
    network_data_secret_ref: LocalObjectReference | None = None
    secret_ref: LocalObjectReference | None = None
    user_data: str | None = None
    user_data_base64: str | None = None


class CloudInitNoCloudSource(Wire):
    network_data: str | None = None
    network_data_base64: str | None = None
    network_data_secret_ref: LocalObjectReference | None = None
    secret_ref: LocalObjectReference | None = None
    user_data: str | None = None
    user_data_base64: str | None = None


class ConfigMapVolumeSource(Wire):
    name: str | None = None
    optional: bool | None = None
    volume_label: str | None = None


class ContainerDiskSource(Wire):
    image: str
    image_pull_policy: Annotated[str, one_of("Always", "IfNotPresent", "Never")] | None = None
    image_pull_secret: str | None = None
    path: str | None = None


class ContainerPathVolumeSource(Wire):
    path: str
    read_only: bool | None = None


class DataVolumeSource(Wire):
    name: str
    hotpluggable: bool | None = None


class DownwardAPIVolumeSource(Wire):
    fields: list[DownwardAPIVolumeFile] | None = None
    volume_label: str | None = None


class DownwardMetricsVolumeSource(Wire):
    pass


class EmptyDiskSource(Wire):
    capacity: Quantity


class EphemeralVolumeSource(Wire):
    persistent_volume_claim: CorePersistentVolumeClaimVolumeSource | None = None


class HostDisk(Wire):
    type: str
    path: str
    capacity: Quantity | None = None
    shared: bool | None = None


class PersistentVolumeClaimVolumeSource(Wire):
    claim_name: str
    hotpluggable: bool | None = None
    read_only: bool | None = None


class HotplugVolumeSource(Wire):
    data_volume: DataVolumeSource | None = None
    persistent_volume_claim: PersistentVolumeClaimVolumeSource | None = None


class MemoryDumpVolumeSource(Wire):
    claim_name: str
    hotpluggable: bool | None = None
    read_only: bool | None = None


class SecretVolumeSource(Wire):
    optional: bool | None = None
    secret_name: str | None = None
    volume_label: str | None = None


class ServiceAccountVolumeSource(Wire):
    service_account_name: str | None = None


class SysprepSource(Wire):
    config_map: LocalObjectReference | None = None
    secret: LocalObjectReference | None = None


class UtilityVolume(Wire):
    name: str
    claim_name: str
    read_only: bool | None = None
    type: str | None = None


class Volume(Wire):
    name: str
    cloud_init_config_drive: CloudInitConfigDriveSource | None = None
    cloud_init_no_cloud: CloudInitNoCloudSource | None = None
    config_map: ConfigMapVolumeSource | None = None
    container_disk: ContainerDiskSource | None = None
    container_path: ContainerPathVolumeSource | None = None
    data_volume: DataVolumeSource | None = None
    downward_api: DownwardAPIVolumeSource | None = field(default=None, name="downwardAPI")
    downward_metrics: DownwardMetricsVolumeSource | None = None
    empty_disk: EmptyDiskSource | None = None
    ephemeral: EphemeralVolumeSource | None = None
    host_disk: HostDisk | None = None
    memory_dump: MemoryDumpVolumeSource | None = None
    persistent_volume_claim: PersistentVolumeClaimVolumeSource | None = None
    secret: SecretVolumeSource | None = None
    service_account: ServiceAccountVolumeSource | None = None
    sysprep: SysprepSource | None = None
