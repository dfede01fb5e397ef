"""VirtualMachinePool: a number of VirtualMachines made from one template, and kept like it."""

from __future__ import annotations

from msgspec import field

from virtpod.api.base import (
    AtomicList,
    Duration,
    Int32,
    Int64,
    IntOrString,
    Nullable,
    NullableTime,
    Wire,
)
from virtpod.api.core import NodeSelectorRequirement
from virtpod.api.meta import LabelSelector, ObjectMeta
from virtpod.api.vm import VirtualMachineSpec


class VirtualMachineOpportunisticUpdateStrategy(Wire):
    pass


class VirtualMachinePoolAutohealingStrategy(Wire):
    min_failing_to_start_duration: Duration | None = None
    start_up_failure_threshold: Int64 | None = None


class VirtualMachinePoolNameGeneration(Wire):
    append_index_to_config_map_refs: bool | None = None
    append_index_to_secret_refs: bool | None = None


class VirtualMachinePoolOpportunisticScaleInStrategy(Wire):
    state_preservation: str | None = None


class VirtualMachinePoolSelectors(Wire):
    label_selector: LabelSelector | None = None
    node_selector_requirement_matcher: list[NodeSelectorRequirement] | None = None


class VirtualMachinePoolSelectionPolicy(Wire):
    selectors: VirtualMachinePoolSelectors | None = None
    sort_policy: str | None = None


class VirtualMachinePoolProactiveScaleInStrategy(Wire):
    selection_policy: VirtualMachinePoolSelectionPolicy | None = None
    state_preservation: str | None = None


class VirtualMachinePoolUnmanagedStrategy(Wire):
    pass


class VirtualMachinePoolScaleInStrategy(Wire):
    opportunistic: VirtualMachinePoolOpportunisticScaleInStrategy | None = None
    proactive: VirtualMachinePoolProactiveScaleInStrategy | None = None
    unmanaged: VirtualMachinePoolUnmanagedStrategy | None = None


class VirtualMachinePoolProactiveUpdateStrategy(Wire):
    selection_policy: VirtualMachinePoolSelectionPolicy | None = None


class VirtualMachinePoolUpdateStrategy(Wire):
    opportunistic: VirtualMachineOpportunisticUpdateStrategy | None = None
    proactive: VirtualMachinePoolProactiveUpdateStrategy | None = None
    unmanaged: VirtualMachinePoolUnmanagedStrategy | None = None


class VirtualMachineTemplateSpec(Wire):
    metadata: ObjectMeta | None = None
    spec: VirtualMachineSpec | None = None


class VirtualMachinePoolSpec(Wire):
    virtual_machine_template: VirtualMachineTemplateSpec
    selector: LabelSelector
    autohealing: VirtualMachinePoolAutohealingStrategy | None = None
    max_unavailable: IntOrString | None = None
    name_generation: VirtualMachinePoolNameGeneration | None = None
    paused: bool | None = None
    replicas: Int32 | None = None
    scale_in_strategy: VirtualMachinePoolScaleInStrategy | None = None
    update_strategy: VirtualMachinePoolUpdateStrategy | None = None


class VirtualMachinePoolCondition(Wire):
    type: str
    status: str
    last_probe_time: NullableTime | None = None
    last_transition_time: NullableTime | None = None
    message: str | None = None
    reason: str | None = None


class VirtualMachinePoolStatus(Wire):
    conditions: AtomicList[VirtualMachinePoolCondition] | None = None
    label_selector: str | None = None
    ready_replicas: Int32 | None = None
    replicas: Int32 | None = None


class VirtualMachinePool(Wire):
    spec: VirtualMachinePoolSpec
    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    status: Nullable[VirtualMachinePoolStatus] | None = None
