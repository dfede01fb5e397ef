"""Kubernetes object metadata, as every API object carries it.

Shape: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/
"""

from __future__ import annotations

from typing import Annotated

from virtpod.api.base import (
    AnyObject,
    AtomicList,
    Int64,
    NullableTime,
    SetList,
    Time,
    Wire,
    list_map,
)


class LabelSelectorRequirement(Wire):
    operator: str
    key: str
    values: AtomicList[str] | None = None


class LabelSelector(Wire):
    match_expressions: AtomicList[LabelSelectorRequirement] | None = None
    match_labels: dict[str, str] | None = None


class ListMeta(Wire):
    continue_: str | None = None
    remaining_item_count: Int64 | None = None
    resource_version: str | None = None
    self_link: str | None = None


class ManagedFieldsEntry(Wire):
    api_version: str | None = None
    fields_type: str | None = None
    fields_v1: AnyObject | None = None
    manager: str | None = None
    operation: str | None = None
    subresource: str | None = None
    time: Time | None = None


class OwnerReference(Wire):
    uid: str
    name: str
    kind: str
    api_version: str
    block_owner_deletion: bool | None = None
    controller: bool | None = None


class ObjectMeta(Wire):
    annotations: dict[str, str] | None = None
    creation_timestamp: NullableTime | None = None
    deletion_grace_period_seconds: Int64 | None = None
    deletion_timestamp: Time | None = None
    finalizers: SetList[str] | None = None
    generate_name: str | None = None
    generation: Int64 | None = None
    labels: dict[str, str] | None = None
    managed_fields: AtomicList[ManagedFieldsEntry] | None = None
    name: str | None = None
    namespace: str | None = None
    owner_references: Annotated[list[OwnerReference], list_map("uid")] | None = None
    resource_version: str | None = None
    self_link: str | None = None
    uid: str | None = None
