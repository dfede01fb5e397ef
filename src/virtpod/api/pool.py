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
    """Time that a VM must have failed to start; 5 minutes by default."""
    start_up_failure_threshold: Int64 | None = None
    """Failed starts in a row after which a VM is replaced; 3 by default."""


class VirtualMachinePoolNameGeneration(Wire):
    append_index_to_config_map_refs: bool | None = None
    """Whether each VM has ConfigMaps of its own, with its index in the name."""
    append_index_to_secret_refs: bool | None = None
    """Whether each VM has secrets of its own, with its index in the name."""


class VirtualMachinePoolOpportunisticScaleInStrategy(Wire):
    state_preservation: str | None = None
    """Disabled, Offline or Online: what is kept of a VM's disks."""


class VirtualMachinePoolSelectors(Wire):
    label_selector: LabelSelector | None = None
    """VMs with these labels go first."""
    node_selector_requirement_matcher: list[NodeSelectorRequirement] | None = None
    """VMs on such nodes go first."""


class VirtualMachinePoolSelectionPolicy(Wire):
    selectors: VirtualMachinePoolSelectors | None = None
    """Which VMs go first."""
    sort_policy: str | None = None
    """AscendingOrder, DescendingOrder, Newest, Oldest or Random."""


class VirtualMachinePoolProactiveScaleInStrategy(Wire):
    selection_policy: VirtualMachinePoolSelectionPolicy | None = None
    """Which VMs go first."""
    state_preservation: str | None = None
    """Disabled, Offline or Online: what is kept of a VM's disks."""


class VirtualMachinePoolUnmanagedStrategy(Wire):
    pass


class VirtualMachinePoolScaleInStrategy(Wire):
    opportunistic: VirtualMachinePoolOpportunisticScaleInStrategy | None = None
    """Only VMs that are off go."""
    proactive: VirtualMachinePoolProactiveScaleInStrategy | None = None
    """VMs go whether they run or not."""
    unmanaged: VirtualMachinePoolUnmanagedStrategy | None = None
    """No VM goes by itself."""


class VirtualMachinePoolProactiveUpdateStrategy(Wire):
    selection_policy: VirtualMachinePoolSelectionPolicy | None = None
    """Which VMs are restarted first."""


class VirtualMachinePoolUpdateStrategy(Wire):
    opportunistic: VirtualMachineOpportunisticUpdateStrategy | None = None
    """VMs are changed, guests follow when they restart."""
    proactive: VirtualMachinePoolProactiveUpdateStrategy | None = None
    """VMs are changed and their guests restarted."""
    unmanaged: VirtualMachinePoolUnmanagedStrategy | None = None
    """VMs keep what they were made with."""


class VirtualMachineTemplateSpec(Wire):
    metadata: ObjectMeta | None = None
    """Labels and annotations of the VMs."""
    spec: VirtualMachineSpec | None = None
    """The VMs that are made."""


class VirtualMachinePoolSpec(Wire):
    virtual_machine_template: VirtualMachineTemplateSpec
    """The VMs that are made."""
    selector: LabelSelector
    """Labels by which its VMs are known; the template must have them."""
    autohealing: VirtualMachinePoolAutohealingStrategy | None = None
    """When a VM that does not start is replaced."""
    max_unavailable: IntOrString | None = None
    """Number or percent of VMs that may be down while they are updated; 100% by default."""
    name_generation: VirtualMachinePoolNameGeneration | None = None
    """What else gets the VM's index in its name."""
    paused: bool | None = None
    """Whether nothing is made, changed or deleted for now."""
    replicas: Int32 | None = None
    """Number of VMs; 1 by default."""
    scale_in_strategy: VirtualMachinePoolScaleInStrategy | None = None
    """Which VMs go when there are too many."""
    update_strategy: VirtualMachinePoolUpdateStrategy | None = None
    """How VMs follow a change of the template."""


class VirtualMachinePoolCondition(Wire):
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


class VirtualMachinePoolStatus(Wire):
    conditions: AtomicList[VirtualMachinePoolCondition] | None = None
    """ReplicaFailure and ReplicaPaused."""
    label_selector: str | None = None
    """The selector as text, for autoscalers."""
    ready_replicas: Int32 | None = None
    """VMs that are ready."""
    replicas: Int32 | None = None
    """VMs that exist."""


class VirtualMachinePool(Wire):
    spec: VirtualMachinePoolSpec
    """VMs that are wanted, and how many."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    """Name, namespace, labels and what else every object has."""
    status: Nullable[VirtualMachinePoolStatus] | None = None
    """How many there are."""
