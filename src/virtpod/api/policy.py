"""MigrationPolicy: other migration settings for the guests whose labels match."""

from __future__ import annotations

from msgspec import field

from virtpod.api.base import Int64, Nullable, Quantity, Wire
from virtpod.api.meta import ObjectMeta
from virtpod.api.vmi import ExperimentalMigrationOptions


class Selectors(Wire):
    namespace_selector: dict[str, str] | None = None
    virtual_machine_instance_selector: dict[str, str] | None = None


class MigrationPolicySpec(Wire):
    selectors: Selectors
    allow_auto_converge: bool | None = None
    allow_post_copy: bool | None = None
    allow_workload_disruption: bool | None = None
    bandwidth_per_migration: Quantity | None = None
    completion_timeout_per_gib: Int64 | None = field(default=None, name="completionTimeoutPerGiB")
    experimental: ExperimentalMigrationOptions | None = None
    max_downtime_ms: Int64 | None = None


class MigrationPolicyStatus(Wire):
    pass


class MigrationPolicy(Wire):
    spec: MigrationPolicySpec
    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    status: Nullable[MigrationPolicyStatus] | None = None
