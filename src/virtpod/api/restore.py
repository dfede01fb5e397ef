"""VirtualMachineRestore: a VirtualMachine put back to what a snapshot holds."""

from __future__ import annotations

from msgspec import field

from virtpod.api.base import AtomicList, Nullable, SetList, Time, Wire
from virtpod.api.core import TypedLocalObjectReference
from virtpod.api.meta import ObjectMeta
from virtpod.api.snapshot import SnapshotCondition


class VolumeRestoreOverride(Wire):
    annotations: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    restore_name: str | None = None
    volume_name: str | None = None


class VirtualMachineRestoreSpec(Wire):
    virtual_machine_snapshot_name: str
    target: TypedLocalObjectReference
    patches: AtomicList[str] | None = None
    target_readiness_policy: str | None = None
    volume_ownership_policy: str | None = None
    volume_restore_overrides: AtomicList[VolumeRestoreOverride] | None = None
    volume_restore_policy: str | None = None


class VolumeRestore(Wire):
    volume_snapshot_name: str
    volume_name: str
    persistent_volume_claim: str
    data_volume_name: str | None = None


class VirtualMachineRestoreStatus(Wire):
    complete: bool | None = None
    conditions: AtomicList[SnapshotCondition] | None = None
    deleted_data_volumes: SetList[str] | None = None
    restore_time: Time | None = None
    restores: AtomicList[VolumeRestore] | None = None


class VirtualMachineRestore(Wire):
    spec: VirtualMachineRestoreSpec
    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    status: Nullable[VirtualMachineRestoreStatus] | None = None
