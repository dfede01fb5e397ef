"""What the caches keep: an object's bytes, and the few fields that it is found by.

Thousands of VMIs as object trees would be hundreds of MiB; as bytes they are tens, and a tree is
made only of the one that is being decided on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from virtpod.kube.resources import Obj
from virtpod.render import why


class _Owner(msgspec.Struct):
    uid: str
    name: str
    kind: str
    controller: bool | None = None


class _Metadata(msgspec.Struct, rename="camel"):
    uid: str = ""
    owner_references: list[_Owner] | None = None


class _Head(msgspec.Struct):
    metadata: _Metadata


_head = msgspec.json.Decoder(_Head)


@dataclass(frozen=True, slots=True)
class Held:
    raw: bytes
    uid: str
    owner_uid: str = ""
    owner_name: str = ""
    owner_kind: str = ""

    @staticmethod
    def project(raw: bytes) -> Held:
        metadata = _head.decode(raw).metadata
        for owner in metadata.owner_references or ():
            if owner.controller:
                return Held(raw, metadata.uid, owner.uid, owner.name, owner.kind)
        return Held(raw, metadata.uid)

    @property
    def object(self) -> Obj:
        decoded: Obj = msgspec.json.decode(self.raw)
        return decoded


class _NodeMetadata(msgspec.Struct, rename="camel"):
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)


class _NodeSpec(msgspec.Struct):
    unschedulable: bool = False
    taints: list[dict[str, str]] = msgspec.field(default_factory=list)


class _NodeCondition(msgspec.Struct):
    type: str = ""
    status: str = ""


class _NodeStatus(msgspec.Struct):
    allocatable: dict[str, Any] = msgspec.field(default_factory=dict)
    conditions: list[_NodeCondition] = msgspec.field(default_factory=list)


class HeldNode(msgspec.Struct):
    """Of a node: what the heartbeat is read from, and what the scheduler looks at."""

    metadata: _NodeMetadata
    spec: _NodeSpec = msgspec.field(default_factory=_NodeSpec)
    status: _NodeStatus = msgspec.field(default_factory=_NodeStatus)

    def fact(self, name: str) -> why.Node:
        """As a diagnosis wants it."""
        ready = [each.status == "True" for each in self.status.conditions if each.type == "Ready"]
        return why.Node(
            name,
            self.metadata.labels,
            self.metadata.annotations,
            self.status.allocatable,
            self.spec.taints,
            self.spec.unschedulable,
            ready[0] if ready else None,
        )


project_node = msgspec.json.Decoder(HeldNode).decode
