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


class SidecarDomainHook(Wire):
    socket_path: str


class DomainHook(Wire):
    cel: CELDomainHook | None = None
    condition: str | None = None
    failure_strategy: FailureStrategy | None = None
    sidecar: SidecarDomainHook | None = None
    timeout: Duration | None = None


class NodeHook(Wire):
    socket: str
    permitted_hooks: AtomicList[NodeHookPoint]
    condition: str | None = None
    failure_strategy: FailureStrategy | None = None
    timeout: Duration | None = None


class AdmissionReference(Wire):
    name: str


class PluginSpec(Wire):
    condition: str | None = None
    domain_hooks: AtomicList[DomainHook] | None = None
    failure_strategy: FailureStrategy | None = None
    mutating_admission_policies: AtomicList[AdmissionReference] | None = None
    mutating_admission_webhooks: AtomicList[AdmissionReference] | None = None
    node_hooks: AtomicList[NodeHook] | None = None
    validating_admission_policies: AtomicList[AdmissionReference] | None = None
    validating_admission_webhooks: AtomicList[AdmissionReference] | None = None


class PluginStatus(Wire):
    pass


class Plugin(Wire):
    spec: PluginSpec
    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    status: PluginStatus | None = None
