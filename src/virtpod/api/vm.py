"""VirtualMachine: the lasting object that creates VirtualMachineInstances by its run strategy."""

from __future__ import annotations

from msgspec import field

from virtpod.api.base import AtomicList, Int32, Int64, Nullable, NullableTime, Time, Wire
from virtpod.api.cdi import DataVolumeSpec
from virtpod.api.meta import ObjectMeta
from virtpod.api.options import AddVolumeOptions, RemoveVolumeOptions
from virtpod.api.vmi import (
    ChangedBlockTrackingStatus,
    StorageMigratedVolumeInfo,
    VirtualMachineInstanceTemplateSpec,
)


class ControllerRevisionRef(Wire):
    name: str | None = None
    """Name of the ControllerRevision."""


class DataVolumeTemplateDummyStatus(Wire):
    pass


class DataVolumeTemplateSpec(Wire):
    spec: DataVolumeSpec
    """What to import, and how large the disk is to be."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ObjectMeta | None = None
    """Name and labels of the DataVolume; the name is the one that a volume refers to."""
    status: Nullable[DataVolumeTemplateDummyStatus] | None = None
    """Always empty; older clients send it."""


class InstancetypeMatcher(Wire):
    infer_from_volume: str | None = None
    """Name of the volume whose labels say which instance type to take."""
    infer_from_volume_failure_policy: str | None = None
    """Reject (default) or Ignore: what to do when the volume has no such labels."""
    kind: str | None = None
    """Cluster-wide instance type (default) or one of the VM's namespace."""
    name: str | None = None
    """Name of the instance type."""
    revision_name: str | None = None
    """ControllerRevision that holds the instance type as it was when the VM first took it."""


class InstancetypeStatusRef(Wire):
    controller_revision_ref: ControllerRevisionRef | None = None
    """The copy that is in use."""
    infer_from_volume: str | None = None
    """The volume that it was inferred from."""
    infer_from_volume_failure_policy: str | None = None
    """What was to be done when the volume said nothing."""
    kind: str | None = None
    """Kind of the instance type or preference in use."""
    name: str | None = None
    """Name of the instance type or preference in use."""


class PreferenceMatcher(Wire):
    infer_from_volume: str | None = None
    """Name of the volume whose labels say which preference to take."""
    infer_from_volume_failure_policy: str | None = None
    """Reject (default) or Ignore: what to do when the volume has no such labels."""
    kind: str | None = None
    """Cluster-wide preference (default) or one of the VM's namespace."""
    name: str | None = None
    """Name of the preference."""
    revision_name: str | None = None
    """ControllerRevision that holds the preference as it was when the VM first took it."""


class VirtualMachineSpec(Wire):
    template: VirtualMachineInstanceTemplateSpec
    """The VirtualMachineInstance that is made at each start."""
    data_volume_templates: list[DataVolumeTemplateSpec] | None = None
    """DataVolumes that are made with the VM and go with it."""
    instancetype: InstancetypeMatcher | None = None
    """Where CPU and memory come from, if not from the template."""
    preference: PreferenceMatcher | None = None
    """Where values come from that the template leaves open."""
    run_strategy: str | None = None
    """When a guest is to run: Always, Halted, Manual, RerunOnFailure, Once or WaitAsReceiver."""
    running: bool | None = None
    """Deprecated: true is runStrategy Always, false is Halted."""
    update_volumes_strategy: str | None = None
    """Replacement (default) or Migration: how changed volumes reach a running guest."""


class VirtualMachineCondition(Wire):
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


class VirtualMachineMemoryDumpRequest(Wire):
    phase: str
    """Associating, InProgress, Unmounting, Completed, Dissociating or Failed."""
    claim_name: str
    """PersistentVolumeClaim that takes the dump."""
    end_timestamp: Time | None = None
    """When the dump was complete."""
    file_name: str | None = None
    """Name of the dump in the volume."""
    message: str | None = None
    """Why it failed."""
    remove: bool | None = None
    """Whether the volume is to be taken off the VM again."""
    start_timestamp: Time | None = None
    """When the dump began."""


class VirtualMachineStartFailure(Wire):
    consecutive_fail_count: Int32 | None = None
    """Starts in a row that failed."""
    last_failed_vmiuid: str | None = field(default=None, name="lastFailedVMIUID")
    """UID of the instance that failed last."""
    retry_after_timestamp: Time | None = None
    """No new start is tried before this time."""


class VirtualMachineStateChangeRequest(Wire):
    action: str
    """Start or Stop."""
    data: dict[str, str] | None = None
    """Details of the start, such as `paused`."""
    uid: str | None = None
    """UID of the instance that is to be stopped."""


class VirtualMachineVolumeRequest(Wire):
    add_volume_options: AddVolumeOptions | None = None
    """A volume that is to be attached."""
    remove_volume_options: RemoveVolumeOptions | None = None
    """A volume that is to be detached."""


class VolumeSnapshotStatus(Wire):
    name: str
    """The volume."""
    enabled: bool
    """Whether a snapshot can be taken of it."""
    reason: str | None = None
    """Why not."""


class VolumeMigrationState(Wire):
    migrated_volumes: AtomicList[StorageMigratedVolumeInfo] | None = None
    """The volumes that move, each with its source and target."""


class VolumeUpdateState(Wire):
    volume_migration_state: VolumeMigrationState | None = None
    """What is known of volumes that move to other storage."""


class VirtualMachineStatus(Wire):
    changed_block_tracking: ChangedBlockTrackingStatus | None = None
    """Whether the disks' changes are recorded for incremental backups."""
    conditions: list[VirtualMachineCondition] | None = None
    """What holds of the VM now: Ready, Paused, RestartRequired, Failure and others."""
    created: bool | None = None
    """Whether an instance exists."""
    desired_generation: Int64 | None = None
    """The generation that the VM has now."""
    instancetype_ref: InstancetypeStatusRef | None = None
    """The instance type in use."""
    memory_dump_request: VirtualMachineMemoryDumpRequest | None = None
    """The memory dump that is under way or was last made."""
    observed_generation: Int64 | None = None
    """The generation that the running instance was made from."""
    preference_ref: InstancetypeStatusRef | None = None
    """The preference in use."""
    printable_status: str | None = None
    """One word for people: Running, Stopped, ErrorUnschedulable and others."""
    ready: bool | None = None
    """Whether the guest runs and answers its readiness probe."""
    restore_in_progress: str | None = None
    """Name of the VirtualMachineRestore that holds the VM."""
    run_strategy: str | None = None
    """The run strategy that was last acted on."""
    snapshot_in_progress: str | None = None
    """Name of the VirtualMachineSnapshot that holds the VM."""
    start_failure: VirtualMachineStartFailure | None = None
    """Starts that failed, and when the next is tried."""
    state_change_requests: list[VirtualMachineStateChangeRequest] | None = None
    """Starts and stops that were asked for and are not done yet."""
    volume_requests: AtomicList[VirtualMachineVolumeRequest] | None = None
    """Volumes that are to be attached or detached."""
    volume_snapshot_statuses: list[VolumeSnapshotStatus] | None = None
    """Of each volume, whether a snapshot can be taken."""
    volume_update_state: VolumeUpdateState | None = None
    """Volumes that are being replaced."""


class VirtualMachine(Wire):
    spec: VirtualMachineSpec
    """The machine that is wanted, and when it shall run."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    """Name, namespace, labels and what else every object has."""
    status: Nullable[VirtualMachineStatus] = field(default_factory=VirtualMachineStatus)
    """What is known of it."""
