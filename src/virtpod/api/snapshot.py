"""VirtualMachineSnapshot and its content: a VirtualMachine's spec and disks at one moment."""

from __future__ import annotations

from msgspec import field

from virtpod.api.base import AtomicList, Duration, Nullable, NullableTime, SetList, Time, Wire
from virtpod.api.core import PersistentVolumeClaimSpec, TypedLocalObjectReference
from virtpod.api.meta import ObjectMeta
from virtpod.api.vm import VirtualMachineSpec, VirtualMachineStatus


class PersistentVolumeClaimCopy(Wire):
    metadata: ObjectMeta | None = None
    spec: PersistentVolumeClaimSpec | None = None


class SnapshotCondition(Wire):
    type: str
    status: str
    last_probe_time: NullableTime | None = None
    last_transition_time: NullableTime | None = None
    message: str | None = None
    reason: str | None = None


class SnapshotError(Wire):
    message: str | None = None
    time: Time | None = None


class SnapshotVolumesLists(Wire):
    excluded_volumes: SetList[str] | None = None
    included_volumes: SetList[str] | None = None


class SourceIndication(Wire):
    message: str
    indication: str


class VirtualMachineCopy(Wire):
    metadata: ObjectMeta | None = None
    spec: VirtualMachineSpec | None = None
    status: Nullable[VirtualMachineStatus] | None = None


class SourceSpec(Wire):
    virtual_machine: VirtualMachineCopy | None = None


class VirtualMachineSnapshotSpec(Wire):
    source: TypedLocalObjectReference
    deletion_policy: str | None = None
    failure_deadline: Duration | None = None


class VirtualMachineSnapshotStatus(Wire):
    conditions: AtomicList[SnapshotCondition] | None = None
    creation_time: Time | None = None
    error: SnapshotError | None = None
    indications: SetList[str] | None = None
    phase: str | None = None
    ready_to_use: bool | None = None
    snapshot_volumes: SnapshotVolumesLists | None = None
    source_indications: AtomicList[SourceIndication] | None = None
    source_uid: str | None = field(default=None, name="sourceUID")
    virtual_machine_snapshot_content_name: str | None = None


class VirtualMachineSnapshot(Wire):
    spec: VirtualMachineSnapshotSpec
    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    status: Nullable[VirtualMachineSnapshotStatus] | None = None


class VolumeBackup(Wire):
    volume_name: str
    persistent_volume_claim: PersistentVolumeClaimCopy
    volume_snapshot_name: str | None = None


class VirtualMachineSnapshotContentSpec(Wire):
    source: SourceSpec
    virtual_machine_snapshot_name: str | None = None
    volume_backups: AtomicList[VolumeBackup] | None = None


class VolumeSnapshotInfo(Wire):
    volume_snapshot_name: str
    creation_time: Time | None = None
    error: SnapshotError | None = None
    ready_to_use: bool | None = None


class VirtualMachineSnapshotContentStatus(Wire):
    creation_time: Time | None = None
    error: SnapshotError | None = None
    ready_to_use: bool | None = None
    volume_snapshot_status: AtomicList[VolumeSnapshotInfo] | None = None


class VirtualMachineSnapshotContent(Wire):
    spec: VirtualMachineSnapshotContentSpec
    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    status: Nullable[VirtualMachineSnapshotContentStatus] | None = None
