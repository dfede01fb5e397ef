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
    """The disk."""
    data_endpoint: str | None = None
    """Where its data are read, in pull mode."""
    map_endpoint: str | None = None
    """Where the map of its changes is read, in pull mode."""


class BackupCheckpoint(Wire):
    creation_time: Time | None = None
    """When it was set."""
    name: str | None = None
    """Its name in libvirt."""
    volumes: AtomicList[BackupVolumeInfo] | None = None
    """Disks that it covers."""


class BackupOptions(Wire):
    backup_cert: str | None = None
    """Certificate, PEM, that the launcher shows."""
    backup_key: str | None = None
    """Key of that certificate, PEM."""
    backup_name: str | None = None
    """The VirtualMachineBackup."""
    backup_start_time: Time | None = None
    """When it began."""
    ca_cert: str | None = None
    """Authority, PEM, of the export server."""
    cmd: str | None = None
    """Start or Abort."""
    export_server_addr: str | None = None
    """Address of the export server, in pull mode."""
    export_server_name: str | None = None
    """Name in the export server's certificate."""
    incremental: str | None = None
    """Checkpoint that changes are copied since."""
    mode: str | None = None
    """Push or Pull."""
    skip_quiesce: bool | None = None
    """Whether the guest's file systems are not frozen."""
    target_path: str | None = None
    """Where the copy goes, in push mode."""


class VirtualMachineBackupSpec(Wire):
    source: TypedLocalObjectReference
    """A VirtualMachine or a VirtualMachineBackupTracker."""
    force_full_backup: bool | None = None
    """Whether all is copied although a checkpoint is known."""
    mode: str | None = None
    """Push (default) to a claim, or Pull by a client."""
    pvc_name: str | None = None
    """Claim that takes the copy, in push mode."""
    skip_quiesce: bool | None = None
    """Whether the guest's file systems are not frozen."""
    token_secret_ref: str | None = None
    """Secret with the token that clients need, in pull mode."""
    ttl_duration: Duration | None = None
    """Time that clients have, in pull mode."""


class VirtualMachineBackupStatus(Wire):
    checkpoint_name: str | None = None
    """Checkpoint that it has set."""
    conditions: Annotated[list[StandardCondition], list_map("type")] | None = None
    """Progressing, Complete, Failed and Quiesced."""
    endpoint_cert: str | None = None
    """Authority, PEM, of the endpoints, in pull mode."""
    export_uid: str | None = field(default=None, name="exportUID")
    """UID of the export that serves it."""
    included_volumes: AtomicList[BackupVolumeInfo] | None = None
    """Disks that are in it."""
    type: str | None = None
    """Full or Incremental."""


class VirtualMachineBackup(Wire):
    spec: VirtualMachineBackupSpec
    """What is to be copied, and to where."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    """Name, namespace, labels and what else every object has."""
    status: Nullable[VirtualMachineBackupStatus] | None = None
    """How far it is."""


class VirtualMachineBackupTrackerSpec(Wire):
    source: TypedLocalObjectReference
    """The VirtualMachine."""


class VirtualMachineBackupTrackerStatus(Wire):
    checkpoint_redefinition_required: bool | None = None
    """Whether the guest must be told of the checkpoint again."""
    latest_checkpoint: BackupCheckpoint | None = None
    """What the next incremental backup starts from."""


class VirtualMachineBackupTracker(Wire):
    spec: VirtualMachineBackupTrackerSpec
    """Whose backups are followed."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    """Name, namespace, labels and what else every object has."""
    status: Nullable[VirtualMachineBackupTrackerStatus] | None = None
    """The newest checkpoint."""
