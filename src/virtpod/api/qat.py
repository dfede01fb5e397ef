"""QATNodePolicy and QATNodeState: how nodes' Intel QuickAssist devices shall be, and how they are.

Beyond KubeVirt's API, in a group of our own (ADR 0012). The names are those of the SR-IOV network
operator's kinds, which say the same of network cards.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from virtpod.api.base import AtomicList, Int32, Nullable, Time, Wire, list_map, one_of
from virtpod.api.meta import ObjectMeta


class QATDeviceSelector(Wire):
    addresses: AtomicList[str] | None = None
    """PCI addresses of physical functions, as `0000:3d:00.0`."""
    models: AtomicList[str] | None = None
    """Models, as `4xxx` or `C62x`."""
    numa_nodes: AtomicList[Int32] | None = None
    """NUMA nodes that the devices are at."""


class QATRateLimit(Wire):
    """A service level agreement (SLA) of a virtual function."""

    committed_permille: Int32
    """What a function is assured of, of what its device can do for the service; 0: nothing."""
    service: Annotated[str, one_of("sym", "asym", "dc", "decomp")]
    """Service of the ring pairs that it is for; those of dcc are dc's."""
    peak_permille: Int32 | None = None
    """What a function gets at most, while others leave it. Else: what it is assured of."""


class QATSpareRate(Wire):
    permille: Int32
    """What limits may yet assure functions of."""
    service: str
    """Service that it is left of."""


class QATNodePolicySpec(Wire):
    allocation_policy: Annotated[str, one_of("balanced", "packed")] | None = None
    """balanced: devices give in turn; packed: one until it is used up. Else: siblings together."""
    auto_reset: bool | None = None
    """Whether the driver resets a device whose firmware does not answer any more."""
    device_selector: QATDeviceSelector | None = None
    """Devices that it is for; all that it names must hold. Without it, all of the nodes'."""
    driver: str | None = None
    """Driver of virtual functions: vfio-pci, or qat_vfio_pci (guests can move). Else: as it is."""
    node_selector: dict[str, str] | None = None
    """Labels that nodes must have. Without it, all nodes."""
    num_vfs: Int32 | None = field(default=None, name="numVFs")
    """Virtual functions that each device is to have. Else: as it is."""
    rate_limits: AtomicList[QATRateLimit] | None = None
    """Limits of each virtual function, one for each service. Empty: none. Else: as they are."""
    services: AtomicList[str] | None = None
    """What each device does: sym, asym, dc, dcc, decomp; two or three of them. Else: as it is."""


class QATNodePolicy(Wire):
    spec: QATNodePolicySpec
    """Nodes, devices, and how these shall be."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    """Name, namespace, labels and what else every object has."""


class QATCondition(Wire):
    type: str
    """Configured: the device is as its policy says. Healthy: it works."""
    status: str
    """True, False or Unknown."""
    last_transition_time: Time | None = None
    """When the status became so."""
    message: str | None = None
    """What is the matter, and what to do."""
    reason: str | None = None
    """The matter in one word."""


class QATFunction(Wire):
    address: str
    """PCI address of the virtual function."""
    driver: str | None = None
    """Driver that it is bound to."""
    fault: str | None = None
    """Why it is not given to guests, and what to do."""
    holder: str | None = None
    """Who has it: a pod as `namespace/name`, or a process of the node."""
    iommu_group: str | None = None
    """Its IOMMU group."""
    rate_limits: AtomicList[QATRateLimit] | None = None
    """The limits that it has, where its device's policy says something of them."""


class QATDevice(Wire):
    address: str
    """PCI address of the physical function."""
    conditions: Annotated[list[QATCondition], list_map("type")] | None = None
    """Whether it is as it shall be, and works."""
    driver: str | None = None
    """Driver of the physical function."""
    functions: AtomicList[QATFunction] | None = None
    """Its virtual functions."""
    generation: Int32 | None = None
    """Generation of the model."""
    model: str | None = None
    """Intel's name of the model."""
    numa_node: Int32 | None = None
    """NUMA node that it is at."""
    policy: str | None = None
    """QATNodePolicy that it is set up by."""
    resource: str | None = None
    """Resource that its functions are offered as."""
    ring_pairs: Int32 | None = None
    """Ring pairs that it has."""
    ring_pair_services: AtomicList[str] | None = None
    """What each ring pair of a virtual function does, in their order."""
    services: AtomicList[str] | None = None
    """What it is set up for."""
    spare_rates: Annotated[list[QATSpareRate], list_map("service")] | None = None
    """What is left for limits, where its policy says something of them."""
    state: str | None = None
    """up or down."""
    total_vfs: Int32 | None = field(default=None, name="totalVFs")
    """Virtual functions that it can have."""


class QATNodeStateStatus(Wire):
    devices: Annotated[list[QATDevice], list_map("address")] | None = None
    """The node's QAT devices."""
    summary: str | None = None
    """How many devices there are, and how many are as they shall be."""


class QATNodeState(Wire):
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    """Name, namespace, labels and what else every object has."""
    status: Nullable[QATNodeStateStatus] | None = None
    """What virt-handler found on the node of the same name."""
