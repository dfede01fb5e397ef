"""VirtualMachineExport: disks and manifests of a VirtualMachine, offered for download."""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from virtpod.api.base import AtomicList, Duration, Nullable, NullableTime, Time, Wire, list_map
from virtpod.api.core import TypedLocalObjectReference
from virtpod.api.meta import ObjectMeta


class ExportCondition(Wire):
    type: str
    status: str
    last_probe_time: NullableTime | None = None
    last_transition_time: NullableTime | None = None
    message: str | None = None
    reason: str | None = None


class VirtualMachineExportSpec(Wire):
    source: TypedLocalObjectReference
    token_secret_ref: str | None = None
    ttl_duration: Duration | None = None


class VirtualMachineExportBackupEndpoint(Wire):
    url: str
    endpoint: str


class VirtualMachineExportBackup(Wire):
    name: str
    endpoints: Annotated[list[VirtualMachineExportBackupEndpoint], list_map("endpoint")] | None = (
        None
    )


class VirtualMachineExportManifest(Wire):
    url: str
    type: str


class VirtualMachineExportVolumeFormat(Wire):
    url: str
    format: str


class VirtualMachineExportVolume(Wire):
    name: str
    formats: Annotated[list[VirtualMachineExportVolumeFormat], list_map("format")] | None = None


class VirtualMachineExportLink(Wire):
    cert: str
    backups: Annotated[list[VirtualMachineExportBackup], list_map("name")] | None = None
    manifests: Annotated[list[VirtualMachineExportManifest], list_map("type")] | None = None
    volumes: Annotated[list[VirtualMachineExportVolume], list_map("name")] | None = None


class VirtualMachineExportLinks(Wire):
    external: VirtualMachineExportLink | None = None
    internal: VirtualMachineExportLink | None = None


class VirtualMachineExportStatus(Wire):
    conditions: AtomicList[ExportCondition] | None = None
    links: VirtualMachineExportLinks | None = None
    phase: str | None = None
    service_name: str | None = None
    token_secret_ref: str | None = None
    ttl_expiration_time: Time | None = None
    virtual_machine_name: str | None = None


class VirtualMachineExport(Wire):
    spec: VirtualMachineExportSpec
    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    status: Nullable[VirtualMachineExportStatus] | None = None
