"""What the API server answers for a collection: one list type for each kind."""

from __future__ import annotations

from virtpod.api.backup import VirtualMachineBackup, VirtualMachineBackupTracker
from virtpod.api.base import AtomicList, SetList, Wire
from virtpod.api.clone import VirtualMachineClone
from virtpod.api.export import VirtualMachineExport
from virtpod.api.instancetype import VirtualMachineClusterInstancetype, VirtualMachineInstancetype
from virtpod.api.kubevirt import KubeVirt
from virtpod.api.meta import ListMeta
from virtpod.api.migration import VirtualMachineInstanceMigration
from virtpod.api.plugin import Plugin
from virtpod.api.policy import MigrationPolicy
from virtpod.api.pool import VirtualMachinePool
from virtpod.api.preference import VirtualMachineClusterPreference, VirtualMachinePreference
from virtpod.api.preset import VirtualMachineInstancePreset
from virtpod.api.qat import QATNodePolicy, QATNodeState
from virtpod.api.replicaset import VirtualMachineInstanceReplicaSet
from virtpod.api.restore import VirtualMachineRestore
from virtpod.api.snapshot import VirtualMachineSnapshot, VirtualMachineSnapshotContent
from virtpod.api.vm import VirtualMachine
from virtpod.api.vmi import VirtualMachineInstance


class KubeVirtList(Wire):
    items: list[KubeVirt]
    """The objects."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ListMeta | None = None
    """Name, namespace, labels and what else every object has."""


class MigrationPolicyList(Wire):
    items: AtomicList[MigrationPolicy]
    """The objects."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ListMeta | None = None
    """Name, namespace, labels and what else every object has."""


class PluginList(Wire):
    items: AtomicList[Plugin]
    """The objects."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ListMeta | None = None
    """Name, namespace, labels and what else every object has."""


class QATNodePolicyList(Wire):
    items: AtomicList[QATNodePolicy]
    """The objects."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ListMeta | None = None
    """Name, namespace, labels and what else every object has."""


class QATNodeStateList(Wire):
    items: AtomicList[QATNodeState]
    """The objects."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ListMeta | None = None
    """Name, namespace, labels and what else every object has."""


class VirtualMachineBackupList(Wire):
    metadata: ListMeta
    """Name, namespace, labels and what else every object has."""
    items: AtomicList[VirtualMachineBackup]
    """The objects."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""


class VirtualMachineBackupTrackerList(Wire):
    metadata: ListMeta
    """Name, namespace, labels and what else every object has."""
    items: AtomicList[VirtualMachineBackupTracker]
    """The objects."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""


class VirtualMachineCloneList(Wire):
    items: AtomicList[VirtualMachineClone]
    """The objects."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ListMeta | None = None
    """Name, namespace, labels and what else every object has."""


class VirtualMachineClusterInstancetypeList(Wire):
    items: list[VirtualMachineClusterInstancetype]
    """The objects."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ListMeta | None = None
    """Name, namespace, labels and what else every object has."""


class VirtualMachineClusterPreferenceList(Wire):
    items: SetList[VirtualMachineClusterPreference]
    """The objects."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ListMeta | None = None
    """Name, namespace, labels and what else every object has."""


class VirtualMachineExportList(Wire):
    metadata: ListMeta
    """Name, namespace, labels and what else every object has."""
    items: AtomicList[VirtualMachineExport]
    """The objects."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""


class VirtualMachineInstanceList(Wire):
    items: list[VirtualMachineInstance]
    """The objects."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ListMeta | None = None
    """Name, namespace, labels and what else every object has."""


class VirtualMachineInstanceMigrationList(Wire):
    items: list[VirtualMachineInstanceMigration]
    """The objects."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ListMeta | None = None
    """Name, namespace, labels and what else every object has."""


class VirtualMachineInstancePresetList(Wire):
    items: list[VirtualMachineInstancePreset]
    """The objects."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ListMeta | None = None
    """Name, namespace, labels and what else every object has."""


class VirtualMachineInstanceReplicaSetList(Wire):
    items: list[VirtualMachineInstanceReplicaSet]
    """The objects."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ListMeta | None = None
    """Name, namespace, labels and what else every object has."""


class VirtualMachineInstancetypeList(Wire):
    items: list[VirtualMachineInstancetype]
    """The objects."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ListMeta | None = None
    """Name, namespace, labels and what else every object has."""


class VirtualMachineList(Wire):
    items: list[VirtualMachine]
    """The objects."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ListMeta | None = None
    """Name, namespace, labels and what else every object has."""


class VirtualMachinePoolList(Wire):
    items: list[VirtualMachinePool]
    """The objects."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ListMeta | None = None
    """Name, namespace, labels and what else every object has."""


class VirtualMachinePreferenceList(Wire):
    items: SetList[VirtualMachinePreference]
    """The objects."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ListMeta | None = None
    """Name, namespace, labels and what else every object has."""


class VirtualMachineRestoreList(Wire):
    metadata: ListMeta
    """Name, namespace, labels and what else every object has."""
    items: list[VirtualMachineRestore]
    """The objects."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""


class VirtualMachineSnapshotContentList(Wire):
    metadata: ListMeta
    """Name, namespace, labels and what else every object has."""
    items: list[VirtualMachineSnapshotContent]
    """The objects."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""


class VirtualMachineSnapshotList(Wire):
    metadata: ListMeta
    """Name, namespace, labels and what else every object has."""
    items: list[VirtualMachineSnapshot]
    """The objects."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
