"""What the caches keep: an object's bytes, and the few fields that it is found by.

Thousands of VMIs as object trees would be hundreds of MiB; as bytes they are tens, and a tree is
made only of the one that is being decided on.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from virtpod.kube.resources import Obj


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


class HeldNode(msgspec.Struct):
    """Of a node: its labels and annotations are all that is asked for."""

    metadata: _NodeMetadata


project_node = msgspec.json.Decoder(HeldNode).decode
