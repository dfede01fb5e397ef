"""The graph of all objects that a VirtualMachine stands on."""

from __future__ import annotations

from virtpod.api.base import AtomicList, Wire
from virtpod.api.core import TypedObjectReference
from virtpod.api.meta import LabelSelector


class ObjectGraphNode(Wire):
    object_reference: TypedObjectReference
    api_version: str | None = None
    children: AtomicList[ObjectGraphNode] | None = None
    kind: str | None = None
    labels: dict[str, str] | None = None
    optional: bool | None = None


class ObjectGraphOptions(Wire):
    include_optional_nodes: bool | None = None
    label_selector: LabelSelector | None = None
