"""MigrationPolicy: other migration settings for the guests whose labels match."""

from __future__ import annotations

from msgspec import field

from virtpod.api.base import Int64, Nullable, Quantity, Wire
from virtpod.api.meta import ObjectMeta
from virtpod.api.vmi import ExperimentalMigrationOptions


class Selectors(Wire):
    namespace_selector: dict[str, str] | None = None
    """Labels that the guest's namespace must have."""
    virtual_machine_instance_selector: dict[str, str] | None = None
    """Labels that the guest must have."""


class MigrationPolicySpec(Wire):
    selectors: Selectors
    """Guests that it is for."""
    allow_auto_converge: bool | None = None
    """Whether the guest is slowed down when it dirties memory faster than it is sent."""
    allow_post_copy: bool | None = None
    """Whether the guest may run on the target before all its memory is there."""
    allow_workload_disruption: bool | None = None
    """Whether the guest may be paused or slowed down for the migration to end."""
    bandwidth_per_migration: Quantity | None = None
    """Bytes a second that one migration may send; 0 is no limit."""
    completion_timeout_per_gib: Int64 | None = field(default=None, name="completionTimeoutPerGiB")
    """Seconds for each GiB of guest memory and disks that are copied."""
    experimental: ExperimentalMigrationOptions | None = None
    """Options that may change or go."""
    max_downtime_ms: Int64 | None = None
    """Milliseconds that the guest may stand still at the switch-over, 1 to 2000000."""


class MigrationPolicyStatus(Wire):
    pass


class MigrationPolicy(Wire):
    spec: MigrationPolicySpec
    """Guests, and other settings for them."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    """Name, namespace, labels and what else every object has."""
    status: Nullable[MigrationPolicyStatus] | None = None
    """Empty."""
