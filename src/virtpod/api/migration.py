"""VirtualMachineInstanceMigration: the wish to move a running guest to another node."""

from __future__ import annotations

from msgspec import field

from virtpod.api.base import AtomicList, Nullable, NullableTime, Time, Wire
from virtpod.api.meta import ObjectMeta
from virtpod.api.vmi import VirtualMachineInstanceMigrationState


class VirtualMachineInstanceMigrationSource(Wire):
    migration_id: str = field(name="migrationID")
    connect_url: str = field(name="connectURL")


class VirtualMachineInstanceMigrationTarget(Wire):
    migration_id: str = field(name="migrationID")


class VirtualMachineInstanceMigrationSpec(Wire):
    added_node_selector: dict[str, str] | None = None
    priority: str | None = None
    receive: VirtualMachineInstanceMigrationTarget | None = None
    send_to: VirtualMachineInstanceMigrationSource | None = None
    vmi_name: str | None = None


class VirtualMachineInstanceMigrationCondition(Wire):
    type: str
    status: str
    last_probe_time: NullableTime | None = None
    last_transition_time: NullableTime | None = None
    message: str | None = None
    reason: str | None = None


class VirtualMachineInstanceMigrationPhaseTransitionTimestamp(Wire):
    phase: str | None = None
    phase_transition_timestamp: Time | None = None


class VirtualMachineInstanceMigrationStatus(Wire):
    conditions: list[VirtualMachineInstanceMigrationCondition] | None = None
    migration_state: VirtualMachineInstanceMigrationState | None = None
    phase: str | None = None
    phase_transition_timestamps: (
        AtomicList[VirtualMachineInstanceMigrationPhaseTransitionTimestamp] | None
    ) = None
    synchronization_addresses: AtomicList[str] | None = None


class VirtualMachineInstanceMigration(Wire):
    spec: VirtualMachineInstanceMigrationSpec
    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    status: Nullable[VirtualMachineInstanceMigrationStatus] = field(
        default_factory=VirtualMachineInstanceMigrationStatus
    )
