"""CustomResourceDefinitions, their schemas made from the wire types.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from msgspec import inspect as types

from virtpod.api.kubevirt import KubeVirt
from virtpod.api.meta import ObjectMeta
from virtpod.api.migration import VirtualMachineInstanceMigration
from virtpod.api.replicaset import VirtualMachineInstanceReplicaSet
from virtpod.api.vm import VirtualMachine
from virtpod.api.vmi import VirtualMachineInstance

Json = dict[str, Any]

GROUP = "kubevirt.io"


@dataclass(frozen=True)
class Kind:
    """What a CRD says beyond its schema. `columns`: name, JSON path, type, priority."""

    type: type
    kind: str
    plural: str
    short_names: tuple[str, ...]
    columns: tuple[tuple[str, str, str, int], ...]
    status: bool = True
    scale: bool = False


AGE = ("Age", ".metadata.creationTimestamp", "date", 0)
READY = ("Ready", ".status.conditions[?(@.type=='Ready')].status", "string", 0)

KINDS = (
    Kind(
        VirtualMachineInstance,
        "VirtualMachineInstance",
        "virtualmachineinstances",
        ("vmi", "vmis"),
        (
            AGE,
            ("Phase", ".status.phase", "string", 0),
            ("IP", ".status.interfaces[0].ipAddress", "string", 0),
            ("NodeName", ".status.nodeName", "string", 0),
            READY,
            (
                "Live-Migratable",
                ".status.conditions[?(@.type=='LiveMigratable')].status",
                "string",
                1,
            ),
            ("Paused", ".status.conditions[?(@.type=='Paused')].status", "string", 1),
        ),
        status=False,  # its owners write it through the object itself
    ),
    Kind(
        VirtualMachine,
        "VirtualMachine",
        "virtualmachines",
        ("vm", "vms"),
        (AGE, ("Status", ".status.printableStatus", "string", 0), READY),
    ),
    Kind(
        VirtualMachineInstanceReplicaSet,
        "VirtualMachineInstanceReplicaSet",
        "virtualmachineinstancereplicasets",
        ("vmirs", "vmirss"),
        (
            ("Desired", ".spec.replicas", "integer", 0),
            ("Current", ".status.replicas", "integer", 0),
            ("Ready", ".status.readyReplicas", "integer", 0),
            AGE,
        ),
        scale=True,
    ),
    Kind(
        VirtualMachineInstanceMigration,
        "VirtualMachineInstanceMigration",
        "virtualmachineinstancemigrations",
        ("vmim", "vmims"),
        (("Phase", ".status.phase", "string", 0), ("VMI", ".spec.vmiName", "string", 0)),
    ),
    Kind(
        KubeVirt,
        "KubeVirt",
        "kubevirts",
        ("kv", "kvs"),
        (AGE, ("Phase", ".status.phase", "string", 0)),
    ),
)


def crds() -> list[Json]:
    """All CustomResourceDefinitions."""
    return [crd(kind) for kind in KINDS]


def crd(kind: Kind) -> Json:
    """One CustomResourceDefinition; v1 is stored, v1alpha3 has the same shape."""
    label = "operator.kubevirt.io" if kind.kind == "KubeVirt" else GROUP
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}", "labels": {label: ""}},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.kind,
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": list(kind.short_names),
                "categories": ["all"],
            },
            "conversion": {"strategy": "None"},
            "versions": [
                _version(kind, "v1", storage=True),
                _version(kind, "v1alpha3", storage=False),
            ],
        },
    }


def _version(kind: Kind, name: str, *, storage: bool) -> Json:
    subresources: Json = {"status": {}} if kind.status else {}
    if kind.scale:
        subresources["scale"] = {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.labelSelector",
        }
    version: Json = {
        "name": name,
        "served": True,
        "storage": storage,
        "schema": {"openAPIV3Schema": schema(kind.type)},
        "additionalPrinterColumns": [
            {"name": title, "jsonPath": path, "type": type_, "priority": priority}
            if priority
            else {"name": title, "jsonPath": path, "type": type_}
            for title, path, type_, priority in kind.columns
        ],
    }
    if subresources:
        version["subresources"] = subresources
    if not storage:
        version["deprecated"] = True
        version["deprecationWarning"] = f"{GROUP}/{name} is deprecated; use {GROUP}/v1"
    return version


def schema(root: type) -> Json:
    """The structural OpenAPI v3 schema of a kind.

    The object's own metadata stays a bare object, as the API server demands.
    """
    whole = _schema(types.type_info(root))
    whole["properties"]["metadata"] = {"type": "object"}
    return whole


def _schema(shape: types.Type) -> Json:
    match shape:
        case types.Metadata(type=inner, extra_json_schema=extra):
            return _schema(inner) | (extra or {})
        case types.UnionType(types=options):
            given = [option for option in options if not isinstance(option, types.NoneType)]
            return _schema(given[0]) if len(given) == 1 else _scalar_union(given)
        case types.StructType(cls=cls):
            if cls is ObjectMeta:
                # Inside a template it is stored as it is given; unknown names are dropped there.
                return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
            return _object(shape)
        case types.ListType(item_type=item):
            return {"type": "array", "items": _schema(item)}
        case types.DictType(value_type=types.AnyType()):
            return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        case types.DictType(value_type=value):
            return {"type": "object", "additionalProperties": _schema(value)}
        case types.StrType():
            return {"type": "string"}
        case types.BoolType():
            return {"type": "boolean"}
        case types.IntType():
            return {"type": "integer"}
        case types.FloatType():
            return {"type": "number"}
    raise TypeError(f"{shape} has no place in a CustomResourceDefinition")


def _object(shape: types.StructType) -> Json:
    whole: Json = {
        "type": "object",
        "properties": {field.encode_name: _schema(field.type) for field in shape.fields},
    }
    if required := [field.encode_name for field in shape.fields if field.required]:
        whole["required"] = required
    if not shape.fields:
        del whole["properties"]
    return whole


def _scalar_union(options: list[types.Type]) -> Json:
    """Quantities and ports: a number or a string.

    An API server lets `anyOf` stand in a structural schema only together with this marker; a
    quantity with a fraction needs a pattern-free string or number, which is what is left.
    """
    if any(isinstance(option, types.FloatType) for option in options):
        return {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
        }
    return {"x-kubernetes-int-or-string": True}
