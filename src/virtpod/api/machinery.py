"""What Kubernetes' machinery says of any API: groups, resources, answers, events.

Shape: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/
"""

from __future__ import annotations

from msgspec import field

from virtpod.api.base import AnyObject, AtomicList, Int32, Int64, NullableTime, Wire
from virtpod.api.meta import ListMeta


class GroupVersionForDiscovery(Wire):
    version: str
    """Such as `v1`."""
    group_version: str
    """Such as `kubevirt.io/v1`."""


class ServerAddressByClientCIDR(Wire):
    server_address: str
    """Address of the server."""
    client_cidr: str = field(name="clientCIDR")
    """Clients that it is for."""


class APIGroup(Wire):
    versions: AtomicList[GroupVersionForDiscovery]
    """Versions that are served."""
    name: str
    """Name of the group."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    preferred_version: GroupVersionForDiscovery | None = None
    """Version that clients should take."""
    server_address_by_client_cid_rs: AtomicList[ServerAddressByClientCIDR] | None = field(
        default=None, name="serverAddressByClientCIDRs"
    )
    """Addresses of the server, by client."""


class APIGroupList(Wire):
    groups: AtomicList[APIGroup]
    """The groups."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""


class APIResource(Wire):
    verbs: list[str]
    """What can be done with it."""
    singular_name: str
    """Its singular name."""
    namespaced: bool
    """Whether its objects are in namespaces."""
    name: str
    """Its plural name, with the subresource after a slash."""
    kind: str
    """Kind of the resource."""
    categories: AtomicList[str] | None = None
    """Groups of resources that it is listed with, such as `all`."""
    group: str | None = None
    """Group of the kind, where it is not the list's."""
    short_names: AtomicList[str] | None = None
    """Short names."""
    storage_version_hash: str | None = None
    """Hash of the stored version."""
    version: str | None = None
    """Version of the kind, where it is not the list's."""


class APIResourceList(Wire):
    resources: AtomicList[APIResource]
    """The resources."""
    group_version: str
    """Group and version of them."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""


class Preconditions(Wire):
    resource_version: str | None = None
    """State that the object must have."""
    uid: str | None = None
    """UID that the object must have."""


class DeleteOptions(Wire):
    api_version: str | None = None
    """The group and version that this object is written in."""
    dry_run: AtomicList[str] | None = None
    """`All`: the request is checked, and nothing is changed."""
    grace_period_seconds: Int64 | None = None
    """Seconds until the object goes; 0 is at once."""
    ignore_store_read_error_with_cluster_breaking_potential: bool | None = None
    """Whether an object that cannot be read is removed all the same."""
    kind: str | None = None
    """The kind of object this is."""
    orphan_dependents: bool | None = None
    """Deprecated: use propagationPolicy."""
    preconditions: Preconditions | None = None
    """What must hold of the object."""
    propagation_policy: str | None = None
    """Orphan, Background or Foreground: what becomes of objects that it owns."""


class Patch(Wire):
    pass


class RootPaths(Wire):
    paths: AtomicList[str]
    """Paths that the server serves."""


class StandardCondition(Wire):
    type: str
    """What the condition speaks of."""
    status: str
    """True, False or Unknown."""
    reason: str
    """One word for programs."""
    message: str
    """A sentence for people."""
    last_transition_time: NullableTime
    """When its status last changed."""
    last_probe_time: NullableTime | None = None
    """When it was last checked."""
    observed_generation: Int64 | None = None
    """The generation of the object that was looked at."""


class StatusCause(Wire):
    field: str | None = None
    """Field of the object that is at fault."""
    message: str | None = None
    """A sentence for people."""
    reason: str | None = None
    """One word for programs."""


class StatusDetails(Wire):
    causes: AtomicList[StatusCause] | None = None
    """Each single fault."""
    group: str | None = None
    """Group of the resource."""
    kind: str | None = None
    """Kind of the resource."""
    name: str | None = None
    """Name of the object."""
    retry_after_seconds: Int32 | None = None
    """Seconds after which the request may succeed."""
    uid: str | None = None
    """UID of the object."""


class Status(Wire):
    api_version: str | None = None
    """The group and version that this object is written in."""
    code: Int32 | None = None
    """HTTP status code."""
    details: StatusDetails | None = None
    """What the answer is about."""
    kind: str | None = None
    """The kind of object this is."""
    message: str | None = None
    """A sentence for people."""
    metadata: ListMeta | None = None
    """Name, namespace, labels and what else every object has."""
    reason: str | None = None
    """One word for programs."""
    status: str | None = None
    """Success or Failure."""


class WatchEvent(Wire):
    type: str
    """ADDED, MODIFIED, DELETED, BOOKMARK or ERROR."""
    object: AnyObject
    """The object, or a Status."""
