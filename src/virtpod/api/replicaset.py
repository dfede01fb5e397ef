"""VirtualMachineInstanceReplicaSet: a number of equal VirtualMachineInstances."""

from __future__ import annotations

from msgspec import field

from virtpod.api.base import Int32, Nullable, NullableTime, Wire
from virtpod.api.meta import LabelSelector, ObjectMeta
from virtpod.api.vmi import VirtualMachineInstanceTemplateSpec


class VirtualMachineInstanceReplicaSetSpec(Wire):
    template: VirtualMachineInstanceTemplateSpec
    """The instances that are made."""
    selector: LabelSelector
    """Labels by which its instances are known; the template must have them."""
    paused: bool | None = None
    """Whether nothing is made or deleted for now."""
    replicas: Int32 | None = None
    """Number of instances; 1 by default."""


class VirtualMachineInstanceReplicaSetCondition(Wire):
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


class VirtualMachineInstanceReplicaSetStatus(Wire):
    conditions: list[VirtualMachineInstanceReplicaSetCondition] | None = None
    """ReplicaFailure and ReplicaPaused."""
    label_selector: str | None = None
    """The selector as text, for autoscalers."""
    ready_replicas: Int32 | None = None
    """Instances that are ready."""
    replicas: Int32 | None = None
    """Instances that exist and have not ended."""


class VirtualMachineInstanceReplicaSet(Wire):
    spec: VirtualMachineInstanceReplicaSetSpec
    """Guests that are wanted, and how many."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    """Name, namespace, labels and what else every object has."""
    status: Nullable[VirtualMachineInstanceReplicaSetStatus] = field(
        default_factory=VirtualMachineInstanceReplicaSetStatus
    )
    """How many there are."""
