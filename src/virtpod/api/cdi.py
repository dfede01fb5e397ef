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
    """Snapshot that changes are copied since."""
    current: str
    """Snapshot that is copied."""


class DataVolumeSourceGCS(Wire):
    url: str
    """Address of the object in Google's storage."""
    secret_ref: str | None = None
    """Secret with the credentials."""


class DataVolumeSourceHTTP(Wire):
    url: str
    """Address of the image."""
    cert_config_map: str | None = None
    """ConfigMap with the server's authority."""
    extra_headers: list[str] | None = None
    """Headers of the request."""
    secret_extra_headers: list[str] | None = None
    """Secrets with headers of the request."""
    secret_ref: str | None = None
    """Secret with user name and password."""


class DataVolumeSourceImageIO(Wire):
    url: str
    """Address of the engine."""
    disk_id: str
    """The disk there."""
    cert_config_map: str | None = None
    """ConfigMap with the server's authority."""
    insecure_skip_verify: bool | None = None
    """Whether the server's certificate is not checked."""
    secret_ref: str | None = None
    """Secret with user name and password."""


class DataVolumeSourcePVC(Wire):
    namespace: str
    """Namespace of the claim."""
    name: str
    """Name of the claim."""


class PlatformOptions(Wire):
    architecture: str | None = None
    """Architecture of the image."""


class DataVolumeSourceRegistry(Wire):
    cert_config_map: str | None = None
    """ConfigMap with the registry's authority."""
    image_stream: str | None = None
    """ImageStream of OpenShift."""
    platform: PlatformOptions | None = None
    """Which of an image's platforms."""
    pull_method: str | None = None
    """pod or node: who pulls the image."""
    secret_ref: str | None = None
    """Secret with user name and password."""
    url: str | None = None
    """The image, such as `docker://example.org/disk:1`."""


class DataVolumeSourceS3(Wire):
    url: str
    """Address of the object."""
    cert_config_map: str | None = None
    """ConfigMap with the server's authority."""
    secret_ref: str | None = None
    """Secret with the credentials."""


class DataVolumeSourceSnapshot(Wire):
    namespace: str
    """Namespace of the VolumeSnapshot."""
    name: str
    """Name of the VolumeSnapshot."""


class DataVolumeSourceUpload(Wire):
    pass


class DataVolumeSourceVDDK(Wire):
    backing_file: str | None = None
    """File of the disk on the host."""
    extra_args: str | None = None
    """ConfigMap with further options of the library."""
    init_image_url: str | None = field(default=None, name="initImageURL")
    """Image that holds the library."""
    secret_ref: str | None = None
    """Secret with user name and password."""
    thumbprint: str | None = None
    """Fingerprint of the host's certificate."""
    url: str | None = None
    """Address of vCenter or the host."""
    uuid: str | None = None
    """UUID of the machine there."""


class DataVolumeImportSource(Wire):
    blank: DataVolumeBlankImage | None = None
    """An empty disk."""
    gcs: DataVolumeSourceGCS | None = None
    """Google's storage."""
    http: DataVolumeSourceHTTP | None = None
    """A web server."""
    imageio: DataVolumeSourceImageIO | None = None
    """oVirt."""
    pvc: DataVolumeSourcePVC | None = None
    """Another claim."""
    registry: DataVolumeSourceRegistry | None = None
    """A container image."""
    s3: DataVolumeSourceS3 | None = None
    """S3 storage."""
    snapshot: DataVolumeSourceSnapshot | None = None
    """A VolumeSnapshot."""
    upload: DataVolumeSourceUpload | None = None
    """A client uploads it."""
    vddk: DataVolumeSourceVDDK | None = None
    """VMware."""


class DataVolumeSourceRef(Wire):
    name: str
    """Name of the DataSource."""
    kind: str
    """DataSource."""
    namespace: str | None = None
    """Namespace of the DataSource; by default the DataVolume's."""


class StorageSpec(Wire):
    access_modes: (
        list[
            Annotated[
                str, one_of("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
            ]
        ]
        | None
    ) = None
    """Access modes; by default the best that the storage knows."""
    data_source: TypedLocalObjectReference | None = None
    """Object that the claim is filled from."""
    data_source_ref: TypedObjectReference | None = None
    """Object that the claim is filled from, of any kind."""
    resources: VolumeResourceRequirements | None = None
    """Size of the disk; the claim may be larger."""
    selector: LabelSelector | None = None
    """Labels of the volume."""
    storage_class_name: str | None = None
    """StorageClass; by default the cluster's."""
    volume_mode: Annotated[str, one_of("Block", "Filesystem", "FromStorageProfile")] | None = None
    """Filesystem or Block; by default the best that the storage knows."""
    volume_name: str | None = None
    """Name of the volume."""


class DataVolumeSpec(Wire):
    checkpoints: list[DataVolumeCheckpoint] | None = None
    """Steps of an import in several stages."""
    content_type: str | None = None
    """kubevirt (default: a disk) or archive."""
    final_checkpoint: bool | None = None
    """Whether the last checkpoint is the end."""
    preallocation: bool | None = None
    """Whether all space is allocated at once."""
    priority_class_name: str | None = None
    """PriorityClass of the import's pods."""
    pvc: PersistentVolumeClaimSpec | None = None
    """The claim, as given."""
    source: DataVolumeImportSource | None = None
    """Where the data come from."""
    source_ref: DataVolumeSourceRef | None = None
    """Object that says where the data come from."""
    storage: StorageSpec | None = None
    """The claim, with the storage's own defaults."""
