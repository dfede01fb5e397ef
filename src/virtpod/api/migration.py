"""VirtualMachineInstanceMigration: the wish to move a running guest to another node."""

from __future__ import annotations

from msgspec import field

from virtpod.api.base import AtomicList, Nullable, NullableTime, Time, Wire
from virtpod.api.meta import ObjectMeta
from virtpod.api.vmi import VirtualMachineInstanceMigrationState


class VirtualMachineInstanceMigrationSource(Wire):
    migration_id: str = field(name="migrationID")
    """Name that both clusters know the migration by."""
    connect_url: str = field(name="connectURL")
    """Address of the receiving cluster."""


class VirtualMachineInstanceMigrationTarget(Wire):
    migration_id: str = field(name="migrationID")
    """Name that both clusters know the migration by."""


class VirtualMachineInstanceMigrationSpec(Wire):
    added_node_selector: dict[str, str] | None = None
    """Further labels that the target's node must have."""
    priority: str | None = None
    """system-critical, user-triggered or system-maintenance: who goes first."""
    receive: VirtualMachineInstanceMigrationTarget | None = None
    """The guest comes from another cluster."""
    send_to: VirtualMachineInstanceMigrationSource | None = None
    """The guest goes to another cluster."""
    vmi_name: str | None = None
    """The guest that is to move."""


class VirtualMachineInstanceMigrationCondition(Wire):
    type: str
    """What the condition speaks of."""
    status: str
    """True, False or Unknown."""
    last_probe_time: NullableTime | None = None
    """When it was last checked."""
    last_transition_time: NullableTime | None = None
    """When its status last changed."""
    message: str | None = None
    """A sentence for people."""
    reason: str | None = None
    """One word for programs."""


class VirtualMachineInstanceMigrationPhaseTransitionTimestamp(Wire):
    phase: str | None = None
    """The phase."""
    phase_transition_timestamp: Time | None = None
    """When it was entered."""


class VirtualMachineInstanceMigrationStatus(Wire):
    conditions: list[VirtualMachineInstanceMigrationCondition] | None = None
    """Why it waits or was refused."""
    migration_state: VirtualMachineInstanceMigrationState | None = None
    """A copy of the guest's own account."""
    phase: str | None = None
    """Pending, Scheduling, PreparingTarget, TargetReady, Running, Succeeded, Failed and others."""
    phase_transition_timestamps: (
        AtomicList[VirtualMachineInstanceMigrationPhaseTransitionTimestamp] | None
    ) = None
    """When each phase was entered."""
    synchronization_addresses: AtomicList[str] | None = None
    """Addresses at which this cluster receives guests of others."""


class VirtualMachineInstanceMigration(Wire):
    spec: VirtualMachineInstanceMigrationSpec
    """Who is to move."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    """Name, namespace, labels and what else every object has."""
    status: Nullable[VirtualMachineInstanceMigrationStatus] = field(
        default_factory=VirtualMachineInstanceMigrationStatus
    )
    """How far it is."""
