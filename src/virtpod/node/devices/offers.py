"""Which devices of this node guests may have: pure, from what sysfs says and what the KubeVirt
object permits.

A unit of a resource is what VFIO can give away alone: all functions of an IOMMU group. A group in
which anything else sits is not given away at all, and the node says so.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from virtpod.api.kubevirt import PermittedHostDevices, USBHostDevice
from virtpod.domain import qat
from virtpod.node.devices import health
from virtpod.node.devices.health import Fault
from virtpod.node.devices.plugin import Grant, Unit
from virtpod.node.devices.qat import Engine
from virtpod.node.devices.shared import DEVICES, RESERVATIONS, VSOCK
from virtpod.node.devices.sysfs import Function, Mediated, Usb

VFIO = "/dev/vfio/vfio"
OWN = frozenset(each.resource for each in (*DEVICES, VSOCK, RESERVATIONS))
"""Resources that have plugins of their own (`shared`)."""
_SET = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}(-[0-9]{1,3}\.[0-9]{1,3})*")
IOMMU_OFF = (
    "The node's IOMMU is off, so that no PCI function can be given to a guest: boot it with "
    "intel_iommu=on or amd_iommu=on, and enable VT-d or AMD-Vi in its firmware"
)
NO_MEMLOCK = (
    "virt-handler may not raise RLIMIT_MEMLOCK, so that no guest can lock its memory, as VFIO "
    "demands: its container needs CAP_SYS_RESOURCE; leave it privileged, as it is installed"
)


@dataclass(frozen=True)
class Inventory:
    """What there is."""

    functions: Mapping[str, Function] = field(default_factory=dict)
    engines: Mapping[str, Engine] = field(default_factory=dict)
    mediated: Sequence[Mediated] = ()
    usb: Sequence[Usb] = ()
    others_serve_qat: str = ""
    """Who else offers QAT on this node; empty: nobody."""
    faults: Mapping[str, Fault] = field(default_factory=dict)
    """What ails functions, physical ones included, by address."""
    touched: frozenset[str] = frozenset()
    """Functions that are being set up, and mediated devices that are about to be removed: nobody
    gets them meanwhile."""
    allocation: Mapping[str, str] = field(default_factory=dict)
    """How functions of a QAT device are chosen (balanced, packed), by its address."""
    locks: bool = True
    """virt-handler may let guests lock their memory, which VFIO takes."""
    held: Mapping[str, str] = field(default_factory=dict)
    """The resource, or the driver of a claim, by which a pod has each, by address, uuid, or the
    unit of a set; as the kubelet told last."""

    @property
    def iommu(self) -> bool:
        return any(each.group for each in self.functions.values())


@dataclass(frozen=True)
class Wanted:
    """What the KubeVirt object asks for."""

    permitted: PermittedHostDevices = field(default_factory=PermittedHostDevices)
    qat: bool = False
    """Every QAT function is offered by its service."""

    def __bool__(self) -> bool:
        given = self.permitted
        return self.qat or bool(given.pci_host_devices or given.mediated_devices or given.usb)


@dataclass(frozen=True)
class Piece:
    """A unit and all that is known of it."""

    unit: Unit
    nodes: tuple[str, ...]
    """Device nodes on the host."""
    addresses: tuple[str, ...]
    """What the launcher is told: PCI addresses, mediated devices' uuids, USB bus:device."""
    parent: str = ""
    """What units have in common that are best given together: a physical function."""
    allocation: str = ""
    """How units are chosen: balanced, packed, or together where they fit."""
    fault: Fault | None = None

    def failing(self, fault: Fault | None) -> Piece:
        """With what ails it, the first thing that did so far."""
        if fault is None or self.fault is not None:
            return self
        return replace(self, fault=fault, unit=replace(self.unit, healthy=False))


@dataclass(frozen=True)
class Offer:
    """All units of a resource: the stock of its plugin."""

    resource: str
    variable: str
    """How the environment variable begins that names the addresses."""
    pieces: Mapping[str, Piece]

    particular = True

    def units(self) -> Sequence[Unit]:
        return [piece.unit for piece in self.pieces.values()]

    def grant(self, ids: Sequence[str]) -> Grant:
        pieces = [self.pieces[each] for each in ids]
        addresses = [address for piece in pieces for address in piece.addresses]
        nodes = dict.fromkeys(node for piece in pieces for node in piece.nodes)
        env = {variable(self.variable, self.resource): ",".join(addresses)}
        if self.resource.startswith(qat.PREFIX):
            env |= {f"QAT{index}": address for index, address in enumerate(addresses)}
        return Grant(tuple(nodes), env)

    def prefer(self, available: Sequence[str], needed: Sequence[str], count: int) -> list[str]:
        """Of one NUMA node if they fit, and there in turn from each physical function (balanced),
        from one until it is used up (packed), or else: units that belong together for who wants
        several, and for who wants one, of the function that has most left."""
        chosen = [each for each in needed if each in self.pieces][:count]
        left = [each for each in available if each in self.pieces and each not in chosen]
        nodes: defaultdict[int, defaultdict[str, list[str]]] = defaultdict(
            lambda: defaultdict(list)
        )
        for each in left:
            piece = self.pieces[each]
            nodes[piece.unit.numa or 0][piece.parent].append(each)
        begun = [self.pieces[each] for each in chosen]
        missing = count - len(chosen)
        policies = {piece.allocation for piece in self.pieces.values()}
        policy = policies.pop() if len(policies) == 1 else ""

        def rank(item: tuple[int, Mapping[str, Sequence[str]]]) -> tuple[bool, bool, bool, int]:
            node, families = item
            size = sum(map(len, families.values()))
            together = any(len(members) >= missing for members in families.values())
            return (
                node not in {piece.unit.numa or 0 for piece in begun},
                not policy and not together,
                size < missing,
                # The fullest that fits is kept for those who want many.
                size if policy == "packed" or (not policy and missing > 1) else -size,
            )

        parents = {piece.parent for piece in begun}
        order: list[str] = []
        for _, families in sorted(nodes.items(), key=rank):
            if policy == "balanced":
                order += _in_turn(families, Counter(piece.parent for piece in begun))
            elif policy == "packed":
                order += _one_by_one(families, parents, missing=len(left) + 1)
            else:
                order += _one_by_one(families, parents, missing)
        return chosen + order[:missing]


def _one_by_one(
    families: Mapping[str, Sequence[str]], begun: Collection[str], missing: int
) -> list[str]:
    """A family that is begun first, then the smallest that has as many as are missing. Where only
    one is missing the largest gives it: one alone spreads."""

    def rank(item: tuple[str, Sequence[str]]) -> tuple[bool, bool, int, str]:
        parent, members = item
        fits = len(members) >= missing
        size = -len(members) if missing == 1 else len(members)
        return parent not in begun, not fits, size, parent

    return [each for _, members in sorted(families.items(), key=rank) for each in members]


def _in_turn(families: Mapping[str, Sequence[str]], taken: Counter[str]) -> list[str]:
    """One of each family after the other: always of that which has given least here, and of those
    of that which has most left."""
    left = {parent: list(members) for parent, members in sorted(families.items())}
    order = []
    while left:
        parent = min(left, key=lambda each: (taken[each] - len(left[each]), each))
        order.append(left[parent].pop(0))
        taken[parent] += 1
        if not left[parent]:
            del left[parent]
    return order


@dataclass(frozen=True)
class Offers:
    by_resource: Mapping[str, Offer]
    complaints: tuple[str, ...]
    """What is not as somebody seems to think, each with its remedy."""


def variable(prefix: str, resource: str) -> str:
    """The name of the environment variable: PCI_RESOURCE_INTEL_COM_QAT for intel.com/qat."""
    return f"{prefix}_{resource.upper().replace('/', '_').replace('.', '_')}"


def offers(inventory: Inventory, wanted: Wanted) -> Offers:
    found: dict[str, dict[str, Piece]] = defaultdict(dict)
    variables: dict[str, str] = {}
    complaints: list[str] = []
    names: dict[str, str] = {}
    twice: Counter[tuple[str, str]] = Counter()
    for prefix, resource, pieces in (
        *_pci(inventory, wanted, complaints),
        *_qat(inventory, wanted, complaints),
        *_mediated(inventory, wanted),
        *_usb(inventory, wanted),
    ):
        if resource in OWN:
            complaints.append(
                f"{resource} is a resource that every guest may need: call it otherwise in "
                "permittedHostDevices"
            )
            continue
        variables.setdefault(resource, prefix)
        offer = found[resource]
        for piece in pieces:
            if other := _otherwise(piece, resource, inventory.held):
                complaints.append(
                    f"{piece.addresses[0]} is offered as {resource} when no pod has it as {other} "
                    "any more"
                )
            elif other := _otherwise(piece, resource, names):
                twice[resource, other] += 1
            else:
                offer[piece.unit.id] = piece
                names |= dict.fromkeys(piece.addresses, resource)
    complaints += [
        f"{resource} lacks {count} of its devices, which are offered as {other}: take {other} out "
        "of permittedHostDevices, or do without the other name"
        for (resource, other), count in twice.items()
    ]
    return Offers(
        {name: Offer(name, variables[name], pieces) for name, pieces in found.items()},
        tuple(dict.fromkeys(complaints)),
    )


def _otherwise(piece: Piece, resource: str, names: Mapping[str, str]) -> str:
    """Another resource by which a device of the piece is known; empty: none."""
    known = [names[each] for each in piece.addresses if each in names]
    return next((each for each in known if each != resource), "")


Found = tuple[str, str, list[Piece]]
"""The variable's prefix, the resource, and what there is of it."""


def _pci(inventory: Inventory, wanted: Wanted, complaints: list[str]) -> Iterator[Found]:
    for given in wanted.permitted.pci_host_devices or ():
        if given.external_resource_provider:
            continue
        selector = given.pci_vendor_selector.lower()
        matching = [each for each in inventory.functions.values() if each.id == selector]
        if matching and selector in qat.VIRTUAL and inventory.others_serve_qat:
            complaints.append(_left(inventory))
            matching = []
        yield "PCI_RESOURCE", given.resource_name, _groups(inventory, matching, complaints)


def _qat(inventory: Inventory, wanted: Wanted, complaints: list[str]) -> Iterator[Found]:
    if not wanted.qat:
        return
    if inventory.others_serve_qat:
        complaints.append(_left(inventory))
        return
    theirs = {
        given.pci_vendor_selector.lower()
        for given in wanted.permitted.pci_host_devices or ()
        # Intel's plugin, which need not be on every node, is known by its sockets.
        if given.external_resource_provider and not given.resource_name.startswith(qat.PREFIX)
    }
    for address, engine in inventory.engines.items():
        if engine.model.virtual in theirs:
            continue
        virtual = [
            inventory.functions[child]
            for child in engine.function.children
            if child in inventory.functions
        ]
        fault = health.of_engine(engine)
        if fault:
            complaints.append(fault.message)
        elif not virtual:
            complaints.append(
                f"QAT device {address} has no virtual functions: name their number in a "
                f"QATNodePolicy, or write it to /sys/bus/pci/devices/{address}/sriov_numvfs"
            )
        policy = inventory.allocation.get(address, "")
        pieces = [
            replace(piece.failing(fault), allocation=policy)
            for piece in _groups(inventory, virtual, complaints)
        ]
        yield "PCI_RESOURCE", engine.resource, pieces


def _left(inventory: Inventory) -> str:
    return (
        f"{inventory.others_serve_qat} offers QAT on this node, so virt-handler does not: list "
        "its resources in permittedHostDevices with externalResourceProvider, or remove it"
    )


def _groups(
    inventory: Inventory, matching: Iterable[Function], complaints: list[str]
) -> list[Piece]:
    """The units that these functions make, without those that cannot be given away."""
    groups: defaultdict[str, list[Function]] = defaultdict(list)
    for function in matching:
        if function.address in inventory.touched:
            continue
        if not inventory.iommu:
            complaints.append(IOMMU_OFF)
        elif reason := _unfit(function):
            complaints.append(f"PCI function {function.address} {reason}")
        else:
            groups[function.group].append(function)
    if groups and not inventory.locks:
        complaints.append(NO_MEMLOCK)
    pieces = []
    for group, members in groups.items():
        addresses = {each.address for each in members}
        foreign = [
            each.address
            for each in inventory.functions.values()
            if each.group == group and each.address not in addresses and not each.bridge
        ]
        if foreign:
            complaints.append(
                f"IOMMU group {group} of PCI function {members[0].address} also holds "
                f"{', '.join(foreign)}: what is not given with it must not be in its group; "
                "use another slot, or a board with ACS"
            )
            continue
        numa = next((each.numa for each in members if each.numa is not None), None)
        piece = Piece(
            # An address is the device's for good; a group's number may become another's.
            Unit(members[0].address, numa=numa),
            (VFIO, f"/dev/vfio/{group}"),
            tuple(sorted(addresses)),
            members[0].parent,
        )
        for each in (*piece.addresses, *{member.parent for member in members}):
            fault = inventory.faults.get(each)
            if fault:
                complaints.append(fault.message)
            piece = piece.failing(fault)
        pieces.append(piece)
    return pieces


def _unfit(function: Function) -> str:
    """Why a function cannot be given to a guest, and what to do; empty: it can."""
    if function.children:
        return (
            f"is a physical one with {len(function.children)} virtual ones: name the id of those "
            "in permittedHostDevices"
        )
    if not function.group:
        return "is in no IOMMU group: boot the node with intel_iommu=on or amd_iommu=on"
    if not function.vfio:
        denied = function.id in qat.DENIED
        option = " (vfio-pci must be loaded with disable_denylist=1)" if denied else ""
        return (
            f"is held by driver {function.driver or '(none)'}: bind it to vfio-pci, or to a driver "
            f"of its own that serves VFIO{option}"
        )
    return ""


def _mediated(inventory: Inventory, wanted: Wanted) -> Iterator[Found]:
    for given in wanted.permitted.mediated_devices or ():
        if given.external_resource_provider:
            continue
        name = _underscored(given.mdev_name_selector)
        pieces = [
            Piece(
                Unit(each.uuid, numa=each.numa),
                (VFIO, f"/dev/vfio/{each.group}"),
                (each.uuid,),
                each.parent,
            )
            for each in inventory.mediated
            if _underscored(each.type) == name and each.group and each.uuid not in inventory.touched
        ]
        yield "MDEV_PCI_RESOURCE", given.resource_name, pieces


def _underscored(name: str) -> str:
    """The name of a type as it is compared: it is written either way."""
    return name.strip().replace(" ", "_")


def _usb(inventory: Inventory, wanted: Wanted) -> Iterator[Found]:
    present = {(each.bus, each.number): each for each in inventory.usb}
    held = {unit: places for unit in inventory.held if (places := _places(unit))}
    # What is left of a set is not free either, where somebody has the set.
    taken = {place for places in held.values() for place in places}
    for given in wanted.permitted.usb or ():
        if given.external_resource_provider:
            continue
        whole = [
            _set([present[place] for place in places])
            for unit, places in held.items()
            if inventory.held[unit] == given.resource_name and present.keys() >= set(places)
        ]
        yield "USB_RESOURCE", given.resource_name, [*whole, *_sets(inventory, given, taken)]


def _set(devices: Sequence[Usb]) -> Piece:
    addresses = tuple(f"{each.bus}:{each.number}" for each in devices)
    nodes = tuple(f"/dev/bus/usb/{each.bus:03}/{each.number:03}" for each in devices)
    unit = Unit("-".join(addresses).replace(":", "."), numa=devices[0].numa)
    return Piece(unit, nodes, addresses)


def _places(unit: str) -> list[tuple[int, int]]:
    """Bus and number of each device of a set, by its unit's id; empty: it is none of `_set`'s."""
    if not _SET.fullmatch(unit):
        return []
    pairs = (each.split(".") for each in unit.split("-"))
    return [(int(bus), int(number)) for bus, number in pairs]


def _sets(
    inventory: Inventory, given: USBHostDevice, taken: set[tuple[int, int]]
) -> Iterator[Piece]:
    """As many whole sets as there are of what is not taken: one device for each selector."""
    ids = [f"{each.vendor:0>4}:{each.product:0>4}".lower() for each in given.selectors or ()]
    while ids:
        chosen: list[Usb] = []
        for wanted in ids:
            for device in inventory.usb:
                place = (device.bus, device.number)
                if device.id == wanted and place not in taken and device not in chosen:
                    chosen.append(device)
                    break
            else:
                return
        taken |= {(device.bus, device.number) for device in chosen}
        yield _set(chosen)
