"""VirtualMachineClone: a new VirtualMachine with a copy of another's disks and spec."""

from __future__ import annotations

from msgspec import field

from virtpod.api.base import AtomicList, Nullable, Time, Wire
from virtpod.api.core import TypedLocalObjectReference
from virtpod.api.meta import ObjectMeta
from virtpod.api.snapshot import SnapshotCondition


class VirtualMachineCloneTemplateFilters(Wire):
    annotation_filters: AtomicList[str] | None = None
    """Annotations of the template that are kept, as patterns; `!` excludes."""
    label_filters: AtomicList[str] | None = None
    """Labels of the template that are kept, as patterns; `!` excludes."""


class VirtualMachineCloneSpec(Wire):
    source: TypedLocalObjectReference
    """A VirtualMachine or a VirtualMachineSnapshot."""
    annotation_filters: AtomicList[str] | None = None
    """Annotations that are kept, as patterns; `!` excludes."""
    label_filters: AtomicList[str] | None = None
    """Labels that are kept, as patterns; `!` excludes."""
    new_mac_addresses: dict[str, str] | None = None
    """MAC addresses by interface name; others are made anew."""
    new_smbios_serial: str | None = field(default=None, name="newSMBiosSerial")
    """Serial number of the new machine; by default made anew."""
    patches: AtomicList[str] | None = None
    """JSON patches of the target, each as a text."""
    target: TypedLocalObjectReference | None = None
    """The VirtualMachine that is made; by default with a name made from the source's."""
    template: VirtualMachineCloneTemplateFilters | None = None
    """What is kept of the template's labels and annotations."""
    volume_name_policy: str | None = None
    """RandomizeNames (default) or PrefixTargetName."""


class VirtualMachineCloneStatus(Wire):
    conditions: AtomicList[SnapshotCondition] | None = None
    """Ready and Progressing."""
    creation_time: Time | None = None
    """When the target was made."""
    phase: str | None = None
    """SnapshotInProgress, CreatingTargetVM, RestoreInProgress, Succeeded, Failed or Unknown."""
    restore_name: str | None = None
    """The restore that is used for it."""
    snapshot_name: str | None = None
    """The snapshot that is used for it."""
    target_name: str | None = None
    """The VM that is made."""


class VirtualMachineClone(Wire):
    spec: VirtualMachineCloneSpec
    """What is to be copied, and to where."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    """Name, namespace, labels and what else every object has."""
    status: Nullable[VirtualMachineCloneStatus] | None = None
    """How far it is."""
