"""What Kubernetes' machinery says of any API: groups, resources, answers, events.

Shape: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/
"""

from __future__ import annotations

from msgspec import field

from virtpod.api.base import AnyObject, AtomicList, Int32, Int64, NullableTime, Wire
from virtpod.api.meta import ListMeta


class GroupVersionForDiscovery(Wire):
    version: str
    group_version: str


class ServerAddressByClientCIDR(Wire):
    server_address: str
    client_cidr: str = field(name="clientCIDR")


class APIGroup(Wire):
    versions: AtomicList[GroupVersionForDiscovery]
    name: str
    api_version: str | None = None
    kind: str | None = None
    preferred_version: GroupVersionForDiscovery | None = None
    server_address_by_client_cid_rs: AtomicList[ServerAddressByClientCIDR] | None = field(
        default=None, name="serverAddressByClientCIDRs"
    )


class APIGroupList(Wire):
    groups: AtomicList[APIGroup]
    api_version: str | None = None
    kind: str | None = None


class APIResource(Wire):
    verbs: list[str]
    singular_name: str
    namespaced: bool
    name: str
    kind: str
    categories: AtomicList[str] | None = None
    group: str | None = None
    short_names: AtomicList[str] | None = None
    storage_version_hash: str | None = None
    version: str | None = None


class APIResourceList(Wire):
    resources: AtomicList[APIResource]
    group_version: str
    api_version: str | None = None
    kind: str | None = None


class Preconditions(Wire):
    resource_version: str | None = None
    uid: str | None = None


class DeleteOptions(Wire):
    api_version: str | None = None
    dry_run: AtomicList[str] | None = None
    grace_period_seconds: Int64 | None = None
    ignore_store_read_error_with_cluster_breaking_potential: bool | None = None
    kind: str | None = None
    orphan_dependents: bool | None = None
    preconditions: Preconditions | None = None
    propagation_policy: str | None = None


class Patch(Wire):
    pass


class RootPaths(Wire):
    paths: AtomicList[str]


class StandardCondition(Wire):
    type: str
    status: str
    reason: str
    message: str
    last_transition_time: NullableTime
    last_probe_time: NullableTime | None = None
    observed_generation: Int64 | None = None


class StatusCause(Wire):
    field: str | None = None
    message: str | None = None
    reason: str | None = None


class StatusDetails(Wire):
    causes: AtomicList[StatusCause] | None = None
    group: str | None = None
    kind: str | None = None
    name: str | None = None
    retry_after_seconds: Int32 | None = None
    uid: str | None = None


class Status(Wire):
    api_version: str | None = None
    code: Int32 | None = None
    details: StatusDetails | None = None
    kind: str | None = None
    message: str | None = None
    metadata: ListMeta | None = None
    reason: str | None = None
    status: str | None = None


class WatchEvent(Wire):
    type: str
    object: AnyObject
