"""DataVolume specs (cdi.kubevirt.io/v1beta1), as VirtualMachines embed them.

Only the shape lives here: importing data is the work of whoever serves that group.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from virtpod.api.base import Wire, one_of
from virtpod.api.core import (
    PersistentVolumeClaimSpec,
    TypedLocalObjectReference,
    TypedObjectReference,
    VolumeResourceRequirements,
)
from virtpod.api.meta import LabelSelector


class DataVolumeBlankImage(Wire):
    pass


class DataVolumeCheckpoint(Wire):
    previous: str
    current: str


class DataVolumeSourceGCS(Wire):
    url: str
    secret_ref: str | None = None


class DataVolumeSourceHTTP(Wire):
    url: str
    cert_config_map: str | None = None
    extra_headers: list[str] | None = None
    secret_extra_headers: list[str] | None = None
    secret_ref: str | None = None


class DataVolumeSourceImageIO(Wire):
    url: str
    disk_id: str
    cert_config_map: str | None = None
    insecure_skip_verify: bool | None = None
    secret_ref: str | None = None


class DataVolumeSourcePVC(Wire):
    namespace: str
    name: str


class PlatformOptions(Wire):
    architecture: str | None = None


class DataVolumeSourceRegistry(Wire):
    cert_config_map: str | None = None
    image_stream: str | None = None
    platform: PlatformOptions | None = None
    pull_method: str | None = None
    secret_ref: str | None = None
    url: str | None = None


class DataVolumeSourceS3(Wire):
    url: str
    cert_config_map: str | None = None
    secret_ref: str | None = None


class DataVolumeSourceSnapshot(Wire):
    namespace: str
    name: str


class DataVolumeSourceUpload(Wire):
    pass


class DataVolumeSourceVDDK(Wire):
    backing_file: str | None = None
    extra_args: str | None = None
    init_image_url: str | None = field(default=None, name="initImageURL")
    secret_ref: str | None = None
    thumbprint: str | None = None
    url: str | None = None
    uuid: str | None = None


class DataVolumeImportSource(Wire):
    blank: DataVolumeBlankImage | None = None
    gcs: DataVolumeSourceGCS | None = None
    http: DataVolumeSourceHTTP | None = None
    imageio: DataVolumeSourceImageIO | None = None
    pvc: DataVolumeSourcePVC | None = None
    registry: DataVolumeSourceRegistry | None = None
    s3: DataVolumeSourceS3 | None = None
    snapshot: DataVolumeSourceSnapshot | None = None
    upload: DataVolumeSourceUpload | None = None
    vddk: DataVolumeSourceVDDK | None = None


class DataVolumeSourceRef(Wire):
    name: str
    kind: str
    namespace: str | None = None


class StorageSpec(Wire):
    access_modes: (
        list[
            Annotated[
                str, one_of("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
            ]
        ]
        | None
    ) = None
    data_source: TypedLocalObjectReference | None = None
    data_source_ref: TypedObjectReference | None = None
    resources: VolumeResourceRequirements | None = None
    selector: LabelSelector | None = None
    storage_class_name: str | None = None
    volume_mode: Annotated[str, one_of("Block", "Filesystem", "FromStorageProfile")] | None = None
    volume_name: str | None = None


class DataVolumeSpec(Wire):
    checkpoints: list[DataVolumeCheckpoint] | None = None
    content_type: str | None = None
    final_checkpoint: bool | None = None
    preallocation: bool | None = None
    priority_class_name: str | None = None
    pvc: PersistentVolumeClaimSpec | None = None
    source: DataVolumeImportSource | None = None
    source_ref: DataVolumeSourceRef | None = None
    storage: StorageSpec | None = None
