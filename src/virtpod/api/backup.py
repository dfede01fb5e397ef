"""VirtualMachineBackup and its tracker: full and incremental copies of a running guest's disks."""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from virtpod.api.base import AtomicList, Duration, Nullable, Time, Wire, list_map
from virtpod.api.core import TypedLocalObjectReference
from virtpod.api.machinery import StandardCondition
from virtpod.api.meta import ObjectMeta


class BackupVolumeInfo(Wire):
    volume_name: str
    data_endpoint: str | None = None
    map_endpoint: str | None = None


class BackupCheckpoint(Wire):
    creation_time: Time | None = None
    name: str | None = None
    volumes: AtomicList[BackupVolumeInfo] | None = None


class BackupOptions(Wire):
    backup_cert: str | None = None
    backup_key: str | None = None
    backup_name: str | None = None
    backup_start_time: Time | None = None
    ca_cert: str | None = None
    cmd: str | None = None
    export_server_addr: str | None = None
    export_server_name: str | None = None
    incremental: str | None = None
    mode: str | None = None
    skip_quiesce: bool | None = None
    target_path: str | None = None


class VirtualMachineBackupSpec(Wire):
    source: TypedLocalObjectReference
    force_full_backup: bool | None = None
    mode: str | None = None
    pvc_name: str | None = None
    skip_quiesce: bool | None = None
    token_secret_ref: str | None = None
    ttl_duration: Duration | None = None


class VirtualMachineBackupStatus(Wire):
    checkpoint_name: str | None = None
    conditions: Annotated[list[StandardCondition], list_map("type")] | None = None
    endpoint_cert: str | None = None
    export_uid: str | None = field(default=None, name="exportUID")
    included_volumes: AtomicList[BackupVolumeInfo] | None = None
    type: str | None = None


class VirtualMachineBackup(Wire):
    spec: VirtualMachineBackupSpec
    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    status: Nullable[VirtualMachineBackupStatus] | None = None


class VirtualMachineBackupTrackerSpec(Wire):
    source: TypedLocalObjectReference


class VirtualMachineBackupTrackerStatus(Wire):
    checkpoint_redefinition_required: bool | None = None
    latest_checkpoint: BackupCheckpoint | None = None


class VirtualMachineBackupTracker(Wire):
    spec: VirtualMachineBackupTrackerSpec
    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    status: Nullable[VirtualMachineBackupTrackerStatus] | None = None
