"""VirtualMachineRestore: a VirtualMachine put back to what a snapshot holds."""

from __future__ import annotations

from msgspec import field

from virtpod.api.base import AtomicList, Nullable, SetList, Time, Wire
from virtpod.api.core import TypedLocalObjectReference
from virtpod.api.meta import ObjectMeta
from virtpod.api.snapshot import SnapshotCondition


class VolumeRestoreOverride(Wire):
    annotations: dict[str, str] | None = None
    """Annotations that the restored claim gets."""
    labels: dict[str, str] | None = None
    """Labels that the restored claim gets."""
    restore_name: str | None = None
    """Name that the restored claim gets."""
    volume_name: str | None = None
    """Volume of the VM."""


class VirtualMachineRestoreSpec(Wire):
    virtual_machine_snapshot_name: str
    """The snapshot."""
    target: TypedLocalObjectReference
    """The VirtualMachine that is put back, or a new one."""
    patches: AtomicList[str] | None = None
    """JSON patches of the target, each as a text."""
    target_readiness_policy: str | None = None
    """StopTarget, WaitGracePeriod (default), FailImmediate or WaitEventually: while the target
    runs."""
    volume_ownership_policy: str | None = None
    """Vm or None: whether restored claims go with the VM."""
    volume_restore_overrides: AtomicList[VolumeRestoreOverride] | None = None
    """Names, labels and annotations of restored claims."""
    volume_restore_policy: str | None = None
    """RandomizeNames (default), InPlace or PrefixTargetName."""


class VolumeRestore(Wire):
    volume_snapshot_name: str
    """VolumeSnapshot that is restored."""
    volume_name: str
    """Volume of the VM."""
    persistent_volume_claim: str
    """The claim that is made."""
    data_volume_name: str | None = None
    """The DataVolume that is made."""


class VirtualMachineRestoreStatus(Wire):
    complete: bool | None = None
    """Whether it is done."""
    conditions: AtomicList[SnapshotCondition] | None = None
    """Ready, Progressing and Failure."""
    deleted_data_volumes: SetList[str] | None = None
    """DataVolumes that the restore has replaced."""
    restore_time: Time | None = None
    """When it was done."""
    restores: AtomicList[VolumeRestore] | None = None
    """The volumes, and what they become."""


class VirtualMachineRestore(Wire):
    spec: VirtualMachineRestoreSpec
    """What is to be put back, and where."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    """Name, namespace, labels and what else every object has."""
    status: Nullable[VirtualMachineRestoreStatus] | None = None
    """How far it is."""
