"""VirtualMachineSnapshot and its content: a VirtualMachine's spec and disks at one moment."""

from __future__ import annotations

from msgspec import field

from virtpod.api.base import AtomicList, Duration, Nullable, NullableTime, SetList, Time, Wire
from virtpod.api.core import PersistentVolumeClaimSpec, TypedLocalObjectReference
from virtpod.api.meta import ObjectMeta
from virtpod.api.vm import VirtualMachineSpec, VirtualMachineStatus


class PersistentVolumeClaimCopy(Wire):
    metadata: ObjectMeta | None = None
    """Name, labels and annotations that the claim had."""
    spec: PersistentVolumeClaimSpec | None = None
    """What the claim asked for."""


class SnapshotCondition(Wire):
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


class SnapshotError(Wire):
    message: str | None = None
    """What went wrong."""
    time: Time | None = None
    """When."""


class SnapshotVolumesLists(Wire):
    excluded_volumes: SetList[str] | None = None
    """Volumes that could not be part of it."""
    included_volumes: SetList[str] | None = None
    """Volumes that are part of it."""


class SourceIndication(Wire):
    message: str
    """What it means."""
    indication: str
    """Online, GuestAgent, NoGuestAgent, QuiesceTimeout, Paused or PartialSnapshot."""


class VirtualMachineCopy(Wire):
    metadata: ObjectMeta | None = None
    """Name, labels and annotations that the VM had."""
    spec: VirtualMachineSpec | None = None
    """What the VM was to be."""
    status: Nullable[VirtualMachineStatus] | None = None
    """What was known of it."""


class SourceSpec(Wire):
    virtual_machine: VirtualMachineCopy | None = None
    """The VM as it was."""


class VirtualMachineSnapshotSpec(Wire):
    source: TypedLocalObjectReference
    """The VirtualMachine."""
    deletion_policy: str | None = None
    """Delete (default) or Retain: what becomes of the content with the snapshot."""
    failure_deadline: Duration | None = None
    """Time after which an unfinished snapshot has failed; 5 minutes by default, 0 is never."""


class VirtualMachineSnapshotStatus(Wire):
    conditions: AtomicList[SnapshotCondition] | None = None
    """Ready, Progressing and Failure."""
    creation_time: Time | None = None
    """The moment that the snapshot shows."""
    error: SnapshotError | None = None
    """What went wrong last."""
    indications: SetList[str] | None = None
    """Deprecated: use sourceIndications."""
    phase: str | None = None
    """InProgress, Succeeded, Failed, Deleting or Unknown."""
    ready_to_use: bool | None = None
    """Whether it can be restored."""
    snapshot_volumes: SnapshotVolumesLists | None = None
    """Volumes that are in it, and those that are not."""
    source_indications: AtomicList[SourceIndication] | None = None
    """How the source was when the snapshot was taken."""
    source_uid: str | None = field(default=None, name="sourceUID")
    """UID of the source."""
    virtual_machine_snapshot_content_name: str | None = None
    """The object that holds what was saved."""


class VirtualMachineSnapshot(Wire):
    spec: VirtualMachineSnapshotSpec
    """What is to be saved."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    """Name, namespace, labels and what else every object has."""
    status: Nullable[VirtualMachineSnapshotStatus] | None = None
    """How far it is."""


class VolumeBackup(Wire):
    volume_name: str
    """Name of the volume in the VM."""
    persistent_volume_claim: PersistentVolumeClaimCopy
    """The claim as it was."""
    volume_snapshot_name: str | None = None
    """VolumeSnapshot of it."""


class VirtualMachineSnapshotContentSpec(Wire):
    source: SourceSpec
    """The saved spec."""
    virtual_machine_snapshot_name: str | None = None
    """The snapshot that it belongs to."""
    volume_backups: AtomicList[VolumeBackup] | None = None
    """The saved volumes."""


class VolumeSnapshotInfo(Wire):
    volume_snapshot_name: str
    """Name of the VolumeSnapshot."""
    creation_time: Time | None = None
    """The moment that it shows."""
    error: SnapshotError | None = None
    """What went wrong last."""
    ready_to_use: bool | None = None
    """Whether it can be restored."""


class VirtualMachineSnapshotContentStatus(Wire):
    creation_time: Time | None = None
    """The moment that the snapshot shows."""
    error: SnapshotError | None = None
    """What went wrong last."""
    ready_to_use: bool | None = None
    """Whether it can be restored."""
    volume_snapshot_status: AtomicList[VolumeSnapshotInfo] | None = None
    """How far each VolumeSnapshot is."""


class VirtualMachineSnapshotContent(Wire):
    spec: VirtualMachineSnapshotContentSpec
    """What was saved."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    """Name, namespace, labels and what else every object has."""
    status: Nullable[VirtualMachineSnapshotContentStatus] | None = None
    """How far it is."""
