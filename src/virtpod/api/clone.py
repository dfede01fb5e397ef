"""VirtualMachineClone: a new VirtualMachine with a copy of another's disks and spec."""

from __future__ import annotations

from msgspec import field

from virtpod.api.base import AtomicList, Nullable, Time, Wire
from virtpod.api.core import TypedLocalObjectReference
from virtpod.api.meta import ObjectMeta
from virtpod.api.snapshot import SnapshotCondition


class VirtualMachineCloneTemplateFilters(Wire):
    annotation_filters: AtomicList[str] | None = None
    label_filters: AtomicList[str] | None = None


class VirtualMachineCloneSpec(Wire):
    source: TypedLocalObjectReference
    annotation_filters: AtomicList[str] | None = None
    label_filters: AtomicList[str] | None = None
    new_mac_addresses: dict[str, str] | None = None
    new_smbios_serial: str | None = field(default=None, name="newSMBiosSerial")
    patches: AtomicList[str] | None = None
    target: TypedLocalObjectReference | None = None
    template: VirtualMachineCloneTemplateFilters | None = None
    volume_name_policy: str | None = None


class VirtualMachineCloneStatus(Wire):
    conditions: AtomicList[SnapshotCondition] | None = None
    creation_time: Time | None = None
    phase: str | None = None
    restore_name: str | None = None
    snapshot_name: str | None = None
    target_name: str | None = None


class VirtualMachineClone(Wire):
    spec: VirtualMachineCloneSpec
    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    status: Nullable[VirtualMachineCloneStatus] | None = None
