"""Plugin: programs of others that are asked while a guest's machine is made and moved."""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from virtpod.api.base import AtomicList, Duration, Wire, one_of
from virtpod.api.meta import ObjectMeta

FailureStrategy = Annotated[str, one_of("Fail", "Ignore")]
NodeHookPoint = Annotated[
    str,
    one_of(
        "PreVMStart",
        "PostVMStart",
        "PreVMStop",
        "PostVMStop",
        "PreMigrationSource",
        "PostMigrationSource",
        "PreMigrationTarget",
        "PostMigrationTarget",
    ),
]


class CELDomainHook(Wire):
    expression: str
    """CEL expression that gives the new domain."""


class SidecarDomainHook(Wire):
    socket_path: str
    """Unix socket of the sidecar."""


class DomainHook(Wire):
    cel: CELDomainHook | None = None
    """An expression changes the domain."""
    condition: str | None = None
    """CEL expression: guests that it is for."""
    failure_strategy: FailureStrategy | None = None
    """Fail (default) or Ignore."""
    sidecar: SidecarDomainHook | None = None
    """A sidecar changes the domain."""
    timeout: Duration | None = None
    """Time that it may take."""


class NodeHook(Wire):
    socket: str
    """Unix socket on the node."""
    permitted_hooks: AtomicList[NodeHookPoint]
    """Moments at which it is asked."""
    condition: str | None = None
    """CEL expression: guests that it is for."""
    failure_strategy: FailureStrategy | None = None
    """Fail (default) or Ignore."""
    timeout: Duration | None = None
    """Time that it may take."""


class AdmissionReference(Wire):
    name: str
    """Name of the object."""


class PluginSpec(Wire):
    condition: str | None = None
    """CEL expression: guests that it is for."""
    domain_hooks: AtomicList[DomainHook] | None = None
    """What changes the domain, in this order."""
    failure_strategy: FailureStrategy | None = None
    """Fail (default) or Ignore, where a hook does not say."""
    mutating_admission_policies: AtomicList[AdmissionReference] | None = None
    """MutatingAdmissionPolicies that belong to it."""
    mutating_admission_webhooks: AtomicList[AdmissionReference] | None = None
    """MutatingWebhookConfigurations that belong to it."""
    node_hooks: AtomicList[NodeHook] | None = None
    """What is asked on the node, in this order."""
    validating_admission_policies: AtomicList[AdmissionReference] | None = None
    """ValidatingAdmissionPolicies that belong to it."""
    validating_admission_webhooks: AtomicList[AdmissionReference] | None = None
    """ValidatingWebhookConfigurations that belong to it."""


class PluginStatus(Wire):
    pass


class Plugin(Wire):
    spec: PluginSpec
    """What is asked, and for which guests."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    """Name, namespace, labels and what else every object has."""
    status: PluginStatus | None = None
    """Empty."""
