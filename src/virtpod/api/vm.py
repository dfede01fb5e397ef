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


class DataVolumeTemplateDummyStatus(Wire):
    pass


class DataVolumeTemplateSpec(Wire):
    spec: DataVolumeSpec
    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta | None = None
    status: Nullable[DataVolumeTemplateDummyStatus] | None = None


class InstancetypeMatcher(Wire):
    infer_from_volume: str | None = None
    infer_from_volume_failure_policy: str | None = None
    kind: str | None = None
    name: str | None = None
    revision_name: str | None = None


class InstancetypeStatusRef(Wire):
    controller_revision_ref: ControllerRevisionRef | None = None
    infer_from_volume: str | None = None
    infer_from_volume_failure_policy: str | None = None
    kind: str | None = None
    name: str | None = None


class PreferenceMatcher(Wire):
    infer_from_volume: str | None = None
    infer_from_volume_failure_policy: str | None = None
    kind: str | None = None
    name: str | None = None
    revision_name: str | None = None


class VirtualMachineSpec(Wire):
    template: VirtualMachineInstanceTemplateSpec
    data_volume_templates: list[DataVolumeTemplateSpec] | None = None
    instancetype: InstancetypeMatcher | None = None
    preference: PreferenceMatcher | None = None
    run_strategy: str | None = None
    running: bool | None = None
    update_volumes_strategy: str | None = None


class VirtualMachineCondition(Wire):
    type: str
    status: str
    last_probe_time: NullableTime | None = None
    last_transition_time: NullableTime | None = None
    message: str | None = None
    reason: str | None = None


class VirtualMachineMemoryDumpRequest(Wire):
    phase: str
    claim_name: str
    end_timestamp: Time | None = None
    file_name: str | None = None
    message: str | None = None
    remove: bool | None = None
    start_timestamp: Time | None = None


class VirtualMachineStartFailure(Wire):
    consecutive_fail_count: Int32 | None = None
    last_failed_vmiuid: str | None = field(default=None, name="lastFailedVMIUID")
    retry_after_timestamp: Time | None = None


class VirtualMachineStateChangeRequest(Wire):
    action: str
    data: dict[str, str] | None = None
    uid: str | None = None


class VirtualMachineVolumeRequest(Wire):
    add_volume_options: AddVolumeOptions | None = None
    remove_volume_options: RemoveVolumeOptions | None = None


class VolumeSnapshotStatus(Wire):
    name: str
    enabled: bool
    reason: str | None = None


class VolumeMigrationState(Wire):
    migrated_volumes: AtomicList[StorageMigratedVolumeInfo] | None = None


class VolumeUpdateState(Wire):
    volume_migration_state: VolumeMigrationState | None = None


class VirtualMachineStatus(Wire):
    changed_block_tracking: ChangedBlockTrackingStatus | None = None
    conditions: list[VirtualMachineCondition] | None = None
    created: bool | None = None
    desired_generation: Int64 | None = None
    instancetype_ref: InstancetypeStatusRef | None = None
    memory_dump_request: VirtualMachineMemoryDumpRequest | None = None
    observed_generation: Int64 | None = None
    preference_ref: InstancetypeStatusRef | None = None
    printable_status: str | None = None
    ready: bool | None = None
    restore_in_progress: str | None = None
    run_strategy: str | None = None
    snapshot_in_progress: str | None = None
    start_failure: VirtualMachineStartFailure | None = None
    state_change_requests: list[VirtualMachineStateChangeRequest] | None = None
    volume_requests: AtomicList[VirtualMachineVolumeRequest] | None = None
    volume_snapshot_statuses: list[VolumeSnapshotStatus] | None = None
    volume_update_state: VolumeUpdateState | None = None


class VirtualMachine(Wire):
    spec: VirtualMachineSpec
    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    status: Nullable[VirtualMachineStatus] = field(default_factory=VirtualMachineStatus)
