"""Every wire type and the name that Kubernetes' API documents know it by.

`name` loads nothing; `every` loads all of the API, for what writes documents and pages.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module

from msgspec import Struct
from msgspec import inspect as types

from virtpod.api.base import Wire

CORE = "k8s.io.api.core.v1"
META = "k8s.io.apimachinery.pkg.apis.meta.v1"

TOPICS = {
    "vm": "v1",
    "vmi": "v1",
    "replicaset": "v1",
    "preset": "v1",
    "migration": "v1",
    "domain": "v1",
    "machine": "v1",
    "devices": "v1",
    "hostdevices": "v1",
    "disks": "v1",
    "volumes": "v1",
    "network": "v1",
    "access": "v1",
    "kubevirt": "v1",
    "pool": "v1beta1",
    "instancetype": "v1beta1",
    "preference": "v1beta1",
    "snapshot": "v1beta1",
    "restore": "v1beta1",
    "clone": "v1beta1",
    "export": "v1",
    "backup": "v1alpha1",
    "policy": "v1alpha1",
    "plugin": "v1alpha1",
    "qat": "v1alpha1",
    "options": "v1",
    "sev": "v1",
    "graph": "v1",
    "cdi": "v1beta1",
    "core": CORE,
    "meta": META,
    "machinery": META,
    "lists": "",
}
"""The modules, in the order of the reference page, and their version in documents. A list has
that of its items."""

OTHERWISE: dict[str, str] = {
    "DataVolumeImportSource": "v1beta1.DataVolumeSource",
    "CorePersistentVolumeClaimVolumeSource": f"{CORE}.PersistentVolumeClaimVolumeSource",
    "ExportCondition": "v1.Condition",
    "StandardCondition": f"{META}.Condition",
    "ClockOffset": "v1.ClockOffset",
    "PersistentVolumeClaimCopy": "v1beta1.PersistentVolumeClaim",
    "SnapshotCondition": "v1beta1.Condition",
    "SnapshotError": "v1beta1.Error",
    "VirtualMachineCopy": "v1beta1.VirtualMachine",
    "VolumeSnapshotInfo": "v1beta1.VolumeSnapshotStatus",
}
"""Types whose Python name says more than the name in the documents does."""


def topic(cls: type) -> str:
    """The module that a type is in."""
    return cls.__module__.rpartition(".")[2]


def name(cls: type) -> str:
    """The type's name in documents."""
    if known := OTHERWISE.get(cls.__name__):
        return known
    if version := TOPICS[topic(cls)]:
        return f"{version}.{cls.__name__}"
    return f"{name(_item(cls))}List"


def _item(cls: type) -> type:
    shape = types.type_info(cls)
    assert isinstance(shape, types.StructType)
    (items,) = (field.type for field in shape.fields if field.name == "items")
    listed = items.type if isinstance(items, types.Metadata) else items
    assert isinstance(listed, types.ListType)
    assert isinstance(listed.item_type, types.StructType)
    return listed.item_type.cls


@cache
def every() -> tuple[type[Struct], ...]:
    """All wire types, by topic in the order of their source."""
    return tuple(
        cls
        for module in TOPICS
        for cls in vars(import_module(f"virtpod.api.{module}")).values()
        if isinstance(cls, type) and issubclass(cls, Wire) and topic(cls) == module
    )
