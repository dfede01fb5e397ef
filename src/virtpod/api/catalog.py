"""Every wire type and the name that Kubernetes' API documents know it by.

Nothing imports this but what writes schemas, documents and pages: it loads all of the API.
"""

from __future__ import annotations

from msgspec import Struct

from virtpod.api import (
    access,
    backup,
    cdi,
    clone,
    core,
    devices,
    disks,
    domain,
    export,
    graph,
    hostdevices,
    instancetype,
    kubevirt,
    lists,
    machine,
    machinery,
    meta,
    migration,
    network,
    options,
    plugin,
    policy,
    pool,
    preference,
    preset,
    replicaset,
    restore,
    sev,
    snapshot,
    vm,
    vmi,
    volumes,
)
from virtpod.api.base import Wire

CORE = "k8s.io.api.core.v1"
META = "k8s.io.apimachinery.pkg.apis.meta.v1"

TOPICS = {
    vm: "v1",
    vmi: "v1",
    replicaset: "v1",
    preset: "v1",
    migration: "v1",
    domain: "v1",
    machine: "v1",
    devices: "v1",
    hostdevices: "v1",
    disks: "v1",
    volumes: "v1",
    network: "v1",
    access: "v1",
    kubevirt: "v1",
    pool: "v1beta1",
    instancetype: "v1beta1",
    preference: "v1beta1",
    snapshot: "v1beta1",
    restore: "v1beta1",
    clone: "v1beta1",
    export: "v1",
    backup: "v1alpha1",
    policy: "v1alpha1",
    plugin: "v1alpha1",
    options: "v1",
    sev: "v1",
    graph: "v1",
    cdi: "v1beta1",
    core: CORE,
    meta: META,
    machinery: META,
    lists: "",
}
"""The modules, in the order of the reference page, and their version in OpenAPI names."""

OTHERWISE: dict[type, str] = {
    cdi.DataVolumeImportSource: "v1beta1.DataVolumeSource",
    core.CorePersistentVolumeClaimVolumeSource: f"{CORE}.PersistentVolumeClaimVolumeSource",
    export.ExportCondition: "v1.Condition",
    machinery.StandardCondition: f"{META}.Condition",
    preference.ClockOffset: "v1.ClockOffset",
    snapshot.PersistentVolumeClaimCopy: "v1beta1.PersistentVolumeClaim",
    snapshot.SnapshotCondition: "v1beta1.Condition",
    snapshot.SnapshotError: "v1beta1.Error",
    snapshot.VirtualMachineCopy: "v1beta1.VirtualMachine",
    snapshot.VolumeSnapshotInfo: "v1beta1.VolumeSnapshotStatus",
}
"""Types whose Python name says more than the name in the documents does."""


def _types() -> dict[type[Struct], str]:
    named: dict[type[Struct], str] = {}
    for module, version in TOPICS.items():
        for cls in vars(module).values():
            ours = isinstance(cls, type) and cls.__module__ == module.__name__
            if ours and issubclass(cls, Wire):
                named[cls] = OTHERWISE.get(cls) or f"{version}.{cls.__name__}"
    kinds = {cls.__name__: named[cls] for cls in named if cls.__module__ != lists.__name__}
    for cls in named:
        if cls.__module__ == lists.__name__:
            named[cls] = f"{kinds[cls.__name__.removesuffix('List')]}List"
    return named


TYPES = _types()
"""All wire types, by topic in the order of their source, with their names."""
