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
from virtpod.api.replicaset import VirtualMachineInstanceReplicaSet
from virtpod.api.restore import VirtualMachineRestore
from virtpod.api.snapshot import VirtualMachineSnapshot, VirtualMachineSnapshotContent
from virtpod.api.vm import VirtualMachine
from virtpod.api.vmi import VirtualMachineInstance


class KubeVirtList(Wire):
    items: list[KubeVirt]
    api_version: str | None = None
    kind: str | None = None
    metadata: ListMeta | None = None


class MigrationPolicyList(Wire):
    items: AtomicList[MigrationPolicy]
    api_version: str | None = None
    kind: str | None = None
    metadata: ListMeta | None = None


class PluginList(Wire):
    items: AtomicList[Plugin]
    api_version: str | None = None
    kind: str | None = None
    metadata: ListMeta | None = None


class VirtualMachineBackupList(Wire):
    metadata: ListMeta
    items: AtomicList[VirtualMachineBackup]
    api_version: str | None = None
    kind: str | None = None


class VirtualMachineBackupTrackerList(Wire):
    metadata: ListMeta
    items: AtomicList[VirtualMachineBackupTracker]
    api_version: str | None = None
    kind: str | None = None


class VirtualMachineCloneList(Wire):
    items: AtomicList[VirtualMachineClone]
    api_version: str | None = None
    kind: str | None = None
    metadata: ListMeta | None = None


class VirtualMachineClusterInstancetypeList(Wire):
    items: list[VirtualMachineClusterInstancetype]
    api_version: str | None = None
    kind: str | None = None
    metadata: ListMeta | None = None


class VirtualMachineClusterPreferenceList(Wire):
    items: SetList[VirtualMachineClusterPreference]
    api_version: str | None = None
    kind: str | None = None
    metadata: ListMeta | None = None


class VirtualMachineExportList(Wire):
    metadata: ListMeta
    items: AtomicList[VirtualMachineExport]
    api_version: str | None = None
    kind: str | None = None


class VirtualMachineInstanceList(Wire):
    items: list[VirtualMachineInstance]
    api_version: str | None = None
    kind: str | None = None
    metadata: ListMeta | None = None


class VirtualMachineInstanceMigrationList(Wire):
    items: list[VirtualMachineInstanceMigration]
    api_version: str | None = None
    kind: str | None = None
    metadata: ListMeta | None = None


class VirtualMachineInstancePresetList(Wire):
    items: list[VirtualMachineInstancePreset]
    api_version: str | None = None
    kind: str | None = None
    metadata: ListMeta | None = None


class VirtualMachineInstanceReplicaSetList(Wire):
    items: list[VirtualMachineInstanceReplicaSet]
    api_version: str | None = None
    kind: str | None = None
    metadata: ListMeta | None = None


class VirtualMachineInstancetypeList(Wire):
    items: list[VirtualMachineInstancetype]
    api_version: str | None = None
    kind: str | None = None
    metadata: ListMeta | None = None


class VirtualMachineList(Wire):
    items: list[VirtualMachine]
    api_version: str | None = None
    kind: str | None = None
    metadata: ListMeta | None = None


class VirtualMachinePoolList(Wire):
    items: list[VirtualMachinePool]
    api_version: str | None = None
    kind: str | None = None
    metadata: ListMeta | None = None


class VirtualMachinePreferenceList(Wire):
    items: SetList[VirtualMachinePreference]
    api_version: str | None = None
    kind: str | None = None
    metadata: ListMeta | None = None


class VirtualMachineRestoreList(Wire):
    metadata: ListMeta
    items: list[VirtualMachineRestore]
    api_version: str | None = None
    kind: str | None = None


class VirtualMachineSnapshotContentList(Wire):
    metadata: ListMeta
    items: list[VirtualMachineSnapshotContent]
    api_version: str | None = None
    kind: str | None = None


class VirtualMachineSnapshotList(Wire):
    metadata: ListMeta
    items: list[VirtualMachineSnapshot]
    api_version: str | None = None
    kind: str | None = None
