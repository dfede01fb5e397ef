"""CustomResourceDefinitions, their schemas made from the wire types.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from msgspec import inspect as types

from virtpod.api import schema as schemas
from virtpod.api.backup import VirtualMachineBackup, VirtualMachineBackupTracker
from virtpod.api.clone import VirtualMachineClone
from virtpod.api.export import VirtualMachineExport
from virtpod.api.instancetype import VirtualMachineClusterInstancetype, VirtualMachineInstancetype
from virtpod.api.kubevirt import KubeVirt
from virtpod.api.meta import ObjectMeta
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

Json = dict[str, Any]

GROUP = "kubevirt.io"

Column = tuple[str, str, str]
"""Title, JSON path and type."""

AGE = ("Age", ".metadata.creationTimestamp", "date")
READY = ("Ready", ".status.conditions[?(@.type=='Ready')].status", "string")
PHASE = ("Phase", ".status.phase", "string")
SOURCE = (
    ("SourceKind", ".spec.source.kind", "string"),
    ("SourceName", ".spec.source.name", "string"),
)
CREATION_TIME = ("CreationTime", ".status.creationTime", "date")
READY_TO_USE = ("ReadyToUse", ".status.readyToUse", "boolean")
ERROR = ("Error", ".status.error.message", "string")
REPLICAS = (
    ("Desired", ".spec.replicas", "integer"),
    ("Current", ".status.replicas", "integer"),
    ("Ready", ".status.readyReplicas", "integer"),
    AGE,
)

V1 = ("v1", "v1alpha3")
V1BETA1 = ("v1beta1", "v1alpha1")
INSTANCETYPE = ("v1beta1", "v1alpha2", "v1alpha1")


@dataclass(frozen=True)
class Kind:
    """What a CRD says beyond its schema."""

    type: type
    group: str
    plural: str
    versions: tuple[str, ...]
    """All served, all of one shape; the first is stored."""
    short_names: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    wide: tuple[Column, ...] = ()
    """Columns of `kubectl get -o wide` only."""
    status: bool = True
    scale: bool = False
    namespaced: bool = True
    deprecated: tuple[tuple[str, str], ...] = ()
    """Versions, and what a client is told to use instead of them."""

    @property
    def kind(self) -> str:
        return self.type.__name__


def _old(*versions: str, use: str) -> tuple[tuple[str, str], ...]:
    return tuple((version, use) for version in versions)


def _instancetype(cls: type, plural: str, *short: str, namespaced: bool = True) -> Kind:
    """Older versions differ from the newest in nothing that was ever taken away."""
    group = "instancetype.kubevirt.io"
    old = _old("v1alpha1", "v1alpha2", use=f"{group}/v1beta1")
    return Kind(
        cls,
        group,
        plural,
        INSTANCETYPE,
        short,
        status=False,
        namespaced=namespaced,
        deprecated=old,
    )


OLD = _old("v1alpha3", use=f"{GROUP}/v1")
PRESETS = "VirtualMachineInstancetype and VirtualMachinePreference"
BACKUP = "backup.kubevirt.io"
SNAPSHOT = "snapshot.kubevirt.io"
DEVICES = "devices.virtpod.io"

KINDS = (
    Kind(
        VirtualMachineInstance,
        GROUP,
        "virtualmachineinstances",
        V1,
        ("vmi", "vmis"),
        (
            AGE,
            PHASE,
            ("IP", ".status.interfaces[0].ipAddress", "string"),
            ("NodeName", ".status.nodeName", "string"),
            READY,
        ),
        wide=(
            ("Live-Migratable", ".status.conditions[?(@.type=='LiveMigratable')].status", "string"),
            ("Paused", ".status.conditions[?(@.type=='Paused')].status", "string"),
        ),
        status=False,  # its owners write it through the object itself
        deprecated=OLD,
    ),
    Kind(
        VirtualMachine,
        GROUP,
        "virtualmachines",
        V1,
        ("vm", "vms"),
        (AGE, ("Status", ".status.printableStatus", "string"), READY),
        deprecated=OLD,
    ),
    Kind(
        VirtualMachineInstancePreset,
        GROUP,
        "virtualmachineinstancepresets",
        ("v1alpha3", "v1"),
        ("vmipreset", "vmipresets"),
        status=False,
        deprecated=_old("v1", "v1alpha3", use=PRESETS),
    ),
    Kind(
        VirtualMachineInstanceReplicaSet,
        GROUP,
        "virtualmachineinstancereplicasets",
        V1,
        ("vmirs", "vmirss"),
        REPLICAS,
        scale=True,
        deprecated=OLD,
    ),
    Kind(
        VirtualMachineInstanceMigration,
        GROUP,
        "virtualmachineinstancemigrations",
        V1,
        ("vmim", "vmims"),
        (PHASE, ("VMI", ".spec.vmiName", "string")),
        deprecated=OLD,
    ),
    Kind(KubeVirt, GROUP, "kubevirts", V1, ("kv", "kvs"), (AGE, PHASE), deprecated=OLD),
    Kind(
        VirtualMachinePool,
        "pool.kubevirt.io",
        "virtualmachinepools",
        V1BETA1,
        ("vmpool", "vmpools"),
        REPLICAS,
        scale=True,
    ),
    Kind(
        VirtualMachineSnapshot,
        SNAPSHOT,
        "virtualmachinesnapshots",
        V1BETA1,
        ("vmsnapshot", "vmsnapshots"),
        (*SOURCE, PHASE, READY_TO_USE, CREATION_TIME, ERROR),
    ),
    Kind(
        VirtualMachineSnapshotContent,
        SNAPSHOT,
        "virtualmachinesnapshotcontents",
        V1BETA1,
        ("vmsnapshotcontent", "vmsnapshotcontents"),
        (READY_TO_USE, CREATION_TIME, ERROR),
    ),
    Kind(
        VirtualMachineRestore,
        SNAPSHOT,
        "virtualmachinerestores",
        V1BETA1,
        ("vmrestore", "vmrestores"),
        (
            ("TargetKind", ".spec.target.kind", "string"),
            ("TargetName", ".spec.target.name", "string"),
            ("Complete", ".status.complete", "boolean"),
            ("RestoreTime", ".status.restoreTime", "date"),
        ),
    ),
    Kind(
        VirtualMachineExport,
        "export.kubevirt.io",
        "virtualmachineexports",
        ("v1", "v1beta1"),
        ("vmexport", "vmexports"),
        (*SOURCE, PHASE),
        deprecated=_old("v1beta1", use="export.kubevirt.io/v1"),
    ),
    Kind(
        VirtualMachineClone,
        "clone.kubevirt.io",
        "virtualmachineclones",
        V1BETA1,
        ("vmclone", "vmclones"),
        (
            PHASE,
            ("SourceVirtualMachine", ".spec.source.name", "string"),
            ("TargetVirtualMachine", ".spec.target.name", "string"),
        ),
    ),
    Kind(
        VirtualMachineBackup,
        BACKUP,
        "virtualmachinebackups",
        ("v1alpha1",),
        ("vmbackup", "vmbackups"),
        (
            *SOURCE,
            ("Type", ".status.type", "string"),
            ("CheckpointName", ".status.checkpointName", "string"),
        ),
    ),
    Kind(
        VirtualMachineBackupTracker,
        BACKUP,
        "virtualmachinebackuptrackers",
        ("v1alpha1",),
        ("vmbackuptracker", "vmbackuptrackers"),
        (
            *SOURCE,
            ("LatestCheckpoint", ".status.latestCheckpoint.name", "string"),
            ("CheckpointTime", ".status.latestCheckpoint.creationTime", "date"),
        ),
    ),
    _instancetype(
        VirtualMachineInstancetype,
        "virtualmachineinstancetypes",
        *("vminstancetype", "vminstancetypes", "vmf", "vmfs"),
    ),
    _instancetype(
        VirtualMachineClusterInstancetype,
        "virtualmachineclusterinstancetypes",
        *("vmclusterinstancetype", "vmclusterinstancetypes", "vmcf", "vmcfs"),
        namespaced=False,
    ),
    _instancetype(
        VirtualMachinePreference,
        "virtualmachinepreferences",
        *("vmpref", "vmprefs", "vmp", "vmps"),
    ),
    _instancetype(
        VirtualMachineClusterPreference,
        "virtualmachineclusterpreferences",
        *("vmcp", "vmcps"),
        namespaced=False,
    ),
    Kind(
        MigrationPolicy,
        "migrations.kubevirt.io",
        "migrationpolicies",
        ("v1alpha1",),
        namespaced=False,
    ),
    Kind(
        Plugin,
        "plugin.kubevirt.io",
        "plugins",
        ("v1alpha1",),
        status=False,
        namespaced=False,
    ),
    Kind(
        QATNodePolicy,
        DEVICES,
        "qatnodepolicies",
        ("v1alpha1",),
        ("qatpolicy", "qatpolicies"),
        (
            ("Services", ".spec.services", "string"),
            ("VFs", ".spec.numVFs", "integer"),
            ("Driver", ".spec.driver", "string"),
            AGE,
        ),
        status=False,  # what came of it differs from node to node: see QATNodeState
        namespaced=False,
    ),
    Kind(
        QATNodeState,
        DEVICES,
        "qatnodestates",
        ("v1alpha1",),
        ("qatstate", "qatstates"),
        (("Summary", ".status.summary", "string"), AGE),
        status=False,  # it is nothing but status, and written by one
        namespaced=False,
    ),
)


def crds() -> list[Json]:
    """All CustomResourceDefinitions. Their schemas share parts: they are to be read only."""
    return [crd(kind) for kind in KINDS]


def crd(kind: Kind) -> Json:
    """One CustomResourceDefinition; all its versions have the same shape."""
    label = "operator.kubevirt.io" if kind.kind == "KubeVirt" else GROUP
    names: Json = {
        "kind": kind.kind,
        "listKind": f"{kind.kind}List",
        "plural": kind.plural,
        "singular": kind.kind.lower(),
    }
    if kind.short_names:
        names["shortNames"] = list(kind.short_names)
    if kind.namespaced:
        names["categories"] = ["all"]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{kind.group}", "labels": {label: ""}},
        "spec": {
            "group": kind.group,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "names": names,
            "conversion": {"strategy": "None"},
            "versions": [_version(kind, version) for version in kind.versions],
        },
    }


def _version(kind: Kind, name: str) -> Json:
    subresources: Json = {"status": {}} if kind.status else {}
    if kind.scale:
        subresources["scale"] = {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.labelSelector",
        }
    columns = [
        {"name": title, "jsonPath": path, "type": type_} for title, path, type_ in kind.columns
    ] + [
        {"name": title, "jsonPath": path, "type": type_, "priority": 1}
        for title, path, type_ in kind.wide
    ]
    version: Json = {
        "name": name,
        "served": True,
        "storage": name == kind.versions[0],
        "schema": {"openAPIV3Schema": schema(kind.type)},
    }
    if columns:
        version["additionalPrinterColumns"] = columns
    if subresources:
        version["subresources"] = subresources
    if instead := dict(kind.deprecated).get(name):
        version["deprecated"] = True
        version["deprecationWarning"] = (
            f"{kind.group}/{name} {kind.kind} is deprecated; use {instead}"
        )
    return version


@cache
def schema(root: type) -> Json:
    """The structural OpenAPI v3 schema of a kind.

    The object's own metadata stays a bare object, as the API server demands.
    """
    whole = schemas.body(_struct(types.type_info(root)), _inner)
    whole["properties"]["metadata"] = {"type": "object"}
    return whole


def _struct(shape: types.Type) -> types.StructType:
    assert isinstance(shape, types.StructType)
    return shape


def _inner(shape: types.StructType) -> Json:
    return _whole(shape.cls)


@cache
def _whole(cls: type) -> Json:
    """A type in full, once for all places where it is."""
    if cls is ObjectMeta:
        # Inside a template it is stored as it is given; unknown names are dropped there.
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return schemas.body(_struct(types.type_info(cls)), _inner)
