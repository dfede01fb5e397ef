"""The graph of all objects that a VirtualMachine stands on."""

from __future__ import annotations

from virtpod.api.base import AtomicList, Wire
from virtpod.api.core import TypedObjectReference
from virtpod.api.meta import LabelSelector


class ObjectGraphNode(Wire):
    object_reference: TypedObjectReference
    """The object."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    children: AtomicList[ObjectGraphNode] | None = None
    """Objects that it stands on."""
    kind: str | None = None
    """The kind of object this is."""
    labels: dict[str, str] | None = None
    """What the object is for: such as its place in a disaster recovery."""
    optional: bool | None = None
    """Whether the guest could do without it."""


class ObjectGraphOptions(Wire):
    include_optional_nodes: bool | None = None
    """Whether objects are shown that the guest could do without."""
    label_selector: LabelSelector | None = None
    """Objects that are shown."""
