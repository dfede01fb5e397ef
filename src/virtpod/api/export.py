"""VirtualMachineExport: disks and manifests of a VirtualMachine, offered for download."""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from virtpod.api.base import AtomicList, Duration, Nullable, NullableTime, Time, Wire, list_map
from virtpod.api.core import TypedLocalObjectReference
from virtpod.api.meta import ObjectMeta


class ExportCondition(Wire):
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


class VirtualMachineExportSpec(Wire):
    source: TypedLocalObjectReference
    """A PersistentVolumeClaim, VirtualMachine, VirtualMachineSnapshot, backup or template."""
    token_secret_ref: str | None = None
    """Secret with the token that downloads need; made where it is not named."""
    ttl_duration: Duration | None = None
    """Time after which the export is deleted; 2 hours by default."""


class VirtualMachineExportBackupEndpoint(Wire):
    url: str
    """Its address."""
    endpoint: str
    """data or map."""


class VirtualMachineExportBackup(Wire):
    name: str
    """The disk."""
    endpoints: Annotated[list[VirtualMachineExportBackupEndpoint], list_map("endpoint")] | None = (
        None
    )
    """Where its data and its map of changes are."""


class VirtualMachineExportManifest(Wire):
    url: str
    """Its address."""
    type: str
    """all, auth-header-secret or oci."""


class VirtualMachineExportVolumeFormat(Wire):
    url: str
    """Its address."""
    format: str
    """raw, gzip, dir or tar.gz."""


class VirtualMachineExportVolume(Wire):
    name: str
    """The volume."""
    formats: Annotated[list[VirtualMachineExportVolumeFormat], list_map("format")] | None = None
    """What it can be downloaded as."""


class VirtualMachineExportLink(Wire):
    cert: str
    """Certificates, PEM, that the server is known by."""
    backups: Annotated[list[VirtualMachineExportBackup], list_map("name")] | None = None
    """Disks of a backup."""
    manifests: Annotated[list[VirtualMachineExportManifest], list_map("type")] | None = None
    """Manifests of the exported objects."""
    volumes: Annotated[list[VirtualMachineExportVolume], list_map("name")] | None = None
    """Exported volumes."""


class VirtualMachineExportLinks(Wire):
    external: VirtualMachineExportLink | None = None
    """For clients outside of the cluster."""
    internal: VirtualMachineExportLink | None = None
    """For clients in the cluster."""


class VirtualMachineExportStatus(Wire):
    conditions: AtomicList[ExportCondition] | None = None
    """Ready, PVCReady, VolumesCreated and OCIReady."""
    links: VirtualMachineExportLinks | None = None
    """Where to download from."""
    phase: str | None = None
    """Pending, Ready, Terminated or Skipped."""
    service_name: str | None = None
    """Service in front of the export's pod."""
    token_secret_ref: str | None = None
    """Secret with the token that downloads need."""
    ttl_expiration_time: Time | None = None
    """When the export is deleted."""
    virtual_machine_name: str | None = None
    """The VM that is exported."""


class VirtualMachineExport(Wire):
    spec: VirtualMachineExportSpec
    """What is to be exported."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    """Name, namespace, labels and what else every object has."""
    status: Nullable[VirtualMachineExportStatus] | None = None
    """How far it is."""
