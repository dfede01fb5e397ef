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
    """In, NotIn, Exists or DoesNotExist."""
    key: str
    """The label."""
    values: AtomicList[str] | None = None
    """Values of the label."""


class LabelSelector(Wire):
    match_expressions: AtomicList[LabelSelectorRequirement] | None = None
    """Demands on labels; all must hold."""
    match_labels: dict[str, str] | None = None
    """Labels and their values; all must be there."""


class ListMeta(Wire):
    continue_: str | None = None
    """Where the next page starts."""
    remaining_item_count: Int64 | None = None
    """Objects after this page."""
    resource_version: str | None = None
    """State of the collection that this is."""
    self_link: str | None = None
    """Deprecated: always empty."""


class ManagedFieldsEntry(Wire):
    api_version: str | None = None
    """Version that the fields are written in."""
    fields_type: str | None = None
    """FieldsV1."""
    fields_v1: AnyObject | None = None
    """The fields."""
    manager: str | None = None
    """Who manages them."""
    operation: str | None = None
    """Apply or Update."""
    subresource: str | None = None
    """Subresource by which they were written."""
    time: Time | None = None
    """When they were last written."""


class OwnerReference(Wire):
    uid: str
    """UID of the owner."""
    name: str
    """Name of the owner."""
    kind: str
    """Kind of the owner."""
    api_version: str
    """Version of the owner."""
    block_owner_deletion: bool | None = None
    """Whether the owner waits, when deleted in the foreground, for this object."""
    controller: bool | None = None
    """Whether this owner manages the object."""


class ObjectMeta(Wire):
    annotations: dict[str, str] | None = None
    """Notes for programs."""
    creation_timestamp: NullableTime | None = None
    """When it was made."""
    deletion_grace_period_seconds: Int64 | None = None
    """Seconds from the wish to delete it until it goes."""
    deletion_timestamp: Time | None = None
    """When it is to be gone."""
    finalizers: SetList[str] | None = None
    """Who must act before it goes."""
    generate_name: str | None = None
    """Beginning of a name that the API server completes."""
    generation: Int64 | None = None
    """Number of changes of the spec."""
    labels: dict[str, str] | None = None
    """Names and values that selectors look for."""
    managed_fields: AtomicList[ManagedFieldsEntry] | None = None
    """Who wrote which field."""
    name: str | None = None
    """Name, unique in the namespace."""
    namespace: str | None = None
    """The namespace."""
    owner_references: Annotated[list[OwnerReference], list_map("uid")] | None = None
    """Objects that it goes with."""
    resource_version: str | None = None
    """State of the object; changes with each write."""
    self_link: str | None = None
    """Deprecated: always empty."""
    uid: str | None = None
    """Unique for all times."""
