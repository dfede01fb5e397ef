"""What the caches keep: an object's bytes, and the few fields that it is found by.

Thousands of VMIs as object trees would be hundreds of MiB; as bytes they are tens, and a tree is
made only of the one that is being decided on.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from virtpod.controllers import targets, updating, why
from virtpod.controllers.node import SCHEDULABLE
from virtpod.domain.moving import LABEL
from virtpod.kube.resources import Obj


class _Owner(msgspec.Struct):
    uid: str
    name: str
    kind: str
    controller: bool | None = None


class _Metadata(msgspec.Struct, rename="camel"):
    uid: str = ""
    owner_references: list[_Owner] | None = None
    labels: dict[str, str] | None = None


class _Container(msgspec.Struct):
    name: str = ""
    image: str = ""


class _Placed(msgspec.Struct, rename="camel"):
    """A pod's spec, a VMI's status: both name their node so."""

    node_name: str | None = None
    containers: list[_Container] | None = None


class _Head(msgspec.Struct):
    metadata: _Metadata
    spec: _Placed | None = None
    status: _Placed | None = None

    @property
    def node(self) -> str:
        placed = (self.spec and self.spec.node_name) or (self.status and self.status.node_name)
        return placed or ""

    @property
    def image(self) -> str:
        containers = (self.spec and self.spec.containers) or ()
        return next((each.image for each in containers if each.name == "compute"), "")


class _Claim(msgspec.Struct, rename="camel"):
    claim_name: str = ""


class _Ephemeral(msgspec.Struct, rename="camel"):
    persistent_volume_claim: _Claim | None = None


class _DataVolume(msgspec.Struct):
    name: str = ""


class _Volume(msgspec.Struct, rename="camel"):
    persistent_volume_claim: _Claim | None = None
    data_volume: _DataVolume | None = None
    ephemeral: _Ephemeral | None = None
    memory_dump: _Claim | None = None


class _VMISpec(msgspec.Struct, rename="camel"):
    volumes: list[_Volume] | None = None
    utility_volumes: list[_Claim] | None = None


class _Noted(msgspec.Struct):
    annotations: dict[str, str] | None = None


class _VMI(msgspec.Struct):
    spec: _VMISpec
    metadata: _Noted


_head = msgspec.json.Decoder(_Head)
_vmi = msgspec.json.Decoder(_VMI)


@dataclass(frozen=True, slots=True)
class Held:
    raw: bytes
    uid: str
    owner_uid: str = ""
    owner_name: str = ""
    owner_kind: str = ""
    claims: tuple[str, ...] = ()
    """Of a VMI: the persistent volume claims that its volumes name."""
    node: str = ""
    image: str = ""
    """Of a launcher's pod: its launcher's."""
    outdated: bool = False
    """Of a VMI: it is labelled so."""
    moves: bool = False
    """Of a VMI: devices that could move with its guest are noted."""

    @staticmethod
    def project(raw: bytes) -> Held:
        head = _head.decode(raw)
        metadata = head.metadata
        held = Held(
            raw,
            metadata.uid,
            node=head.node,
            image=sys.intern(head.image),
            outdated=updating.OUTDATED in (metadata.labels or {}),
        )
        for owner in metadata.owner_references or ():
            if owner.controller:
                return replace(
                    held, owner_uid=owner.uid, owner_name=owner.name, owner_kind=owner.kind
                )
        return held

    @staticmethod
    def project_vmi(raw: bytes) -> Held:
        names = []
        vmi = _vmi.decode(raw)
        spec = vmi.spec
        for volume in spec.volumes or ():
            given = volume.ephemeral or volume
            if given.persistent_volume_claim:
                names.append(given.persistent_volume_claim.claim_name)
            elif volume.data_volume:
                names.append(volume.data_volume.name)
            elif volume.memory_dump:
                names.append(volume.memory_dump.claim_name)
        names += [each.claim_name for each in spec.utility_volumes or ()]
        moves = targets.NEEDS in (vmi.metadata.annotations or {})
        return replace(Held.project(raw), claims=tuple(names), moves=moves)

    @property
    def object(self) -> Obj:
        decoded: Obj = msgspec.json.decode(self.raw)
        return decoded


class _Source(msgspec.Struct, rename="camel"):
    persistent_volume_name: str = ""


class _AttachmentSpec(msgspec.Struct, rename="camel"):
    node_name: str = ""
    source: _Source = msgspec.field(default_factory=_Source)


class Attachment(msgspec.Struct):
    """A volume and the node that it is attached to."""

    spec: _AttachmentSpec


project_attachment = msgspec.json.Decoder(Attachment).decode


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

    @property
    def ready(self) -> bool:
        """Whether the control plane hears its kubelet."""
        return any(
            each.type == "Ready" and each.status == "True" for each in self.status.conditions
        )

    @property
    def target(self) -> tuple[bool, bool, dict[str, str]]:
        """What there is to know of it for who would move there."""
        labels = {
            name: value
            for name, value in self.metadata.labels.items()
            if name == SCHEDULABLE or name.startswith(LABEL)
        }
        return self.ready, self.spec.unschedulable, labels

    def tainted(self, key: str, effect: str = "") -> bool:
        return any(
            taint.get("key") == key and effect in ("", taint.get("effect"))
            for taint in self.spec.taints
        )

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
