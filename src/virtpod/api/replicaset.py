"""VirtualMachineInstanceReplicaSet: a number of equal VirtualMachineInstances."""

from __future__ import annotations

from msgspec import field

from virtpod.api.base import Int32, Nullable, NullableTime, Wire
from virtpod.api.meta import LabelSelector, ObjectMeta
from virtpod.api.vmi import VirtualMachineInstanceTemplateSpec


class VirtualMachineInstanceReplicaSetSpec(Wire):
    template: VirtualMachineInstanceTemplateSpec
    selector: LabelSelector
    paused: bool | None = None
    replicas: Int32 | None = None


class VirtualMachineInstanceReplicaSetCondition(Wire):
    type: str
    status: str
    last_probe_time: NullableTime | None = None
    last_transition_time: NullableTime | None = None
    message: str | None = None
    reason: str | None = None


class VirtualMachineInstanceReplicaSetStatus(Wire):
    conditions: list[VirtualMachineInstanceReplicaSetCondition] | None = None
    label_selector: str | None = None
    ready_replicas: Int32 | None = None
    replicas: Int32 | None = None


class VirtualMachineInstanceReplicaSet(Wire):
    spec: VirtualMachineInstanceReplicaSetSpec
    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    status: Nullable[VirtualMachineInstanceReplicaSetStatus] = field(
        default_factory=VirtualMachineInstanceReplicaSetStatus
    )
