"""What one look at the node's devices has shown, and what follows from it: pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from virtpod.controllers.node_devices import Ailing
from virtpod.node.devices import health
from virtpod.node.devices.health import Fault
from virtpod.node.devices.holders import Held
from virtpod.node.devices.offers import VFIO, Inventory, Offers, Piece
from virtpod.node.devices.setup import Round

PodName = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True)
class Look:
    inventory: Inventory = field(default_factory=Inventory)
    offers: Offers = field(default_factory=lambda: Offers({}, ()))
    held: tuple[Held, ...] | None = None
    """None: the kubelet does not tell."""
    policies: Mapping[str, str] = field(default_factory=dict)
    """The name of each QAT device's policy, by its address."""
    rounds: Mapping[str, Round] = field(default_factory=dict)
    """How far each of these is."""
    others: tuple[str, ...] = ()
    """What is wrong beside the offers, each with its remedy."""
    strangers: frozenset[PodName] = frozenset()
    """Pods that have devices and are no guest's."""

    @property
    def complaints(self) -> tuple[str, ...]:
        unset = [
            f"QAT device {address}: {each.message}"
            for address, each in sorted(self.rounds.items())
            if not each.done and each.reason != "InProgress"
        ]
        return tuple(dict.fromkeys((*self.others, *unset, *self.offers.complaints)))

    @property
    def pieces(self) -> Iterator[tuple[str, Piece]]:
        """Each with its resource."""
        for resource, offer in self.offers.by_resource.items():
            for piece in offer.pieces.values():
                yield resource, piece

    @property
    def offered(self) -> frozenset[str]:
        """The addresses of all that can be had."""
        return frozenset(address for _, piece in self.pieces for address in piece.addresses)

    @property
    def holders(self) -> dict[str, PodName]:
        """The pod that has each device, by address."""
        return {
            address: (each.namespace, each.pod)
            for each in self.held or ()
            for address in self._addresses(each)
        }

    @property
    def ailing(self) -> dict[PodName, tuple[Ailing, ...]]:
        """What each pod has that is not well."""
        found: defaultdict[PodName, list[Ailing]] = defaultdict(list)
        for each in self.held or ():
            if fault := self._fault(each):
                ailing = Ailing(each.resource, self._addresses(each), fault.reason, fault.message)
                found[each.namespace, each.pod].append(ailing)
        return {pod: tuple(sorted(set(those))) for pod, those in found.items()}

    @property
    def faults(self) -> frozenset[Fault]:
        """All that ails something, each once."""
        return frozenset(piece.fault for _, piece in self.pieces if piece.fault) | frozenset(
            Fault(ailing.reason, ailing.message)
            for those in self.ailing.values()
            for ailing in those
        )

    def unit(self, held: Held) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The addresses and the device nodes of what a pod has; no nodes where they are not known.
        Other plugins and drivers name functions by their addresses too."""
        piece = self._piece(held)
        if piece is not None:
            return piece.addresses, piece.nodes
        function = self.inventory.functions.get(held.address)
        if function is None or not function.group:
            return (), ()
        return (held.address,), (VFIO, f"/dev/vfio/{function.group}")

    def _piece(self, held: Held) -> Piece | None:
        offer = self.offers.by_resource.get(held.resource)
        return offer.pieces.get(held.id) if offer else None

    def _addresses(self, held: Held) -> tuple[str, ...]:
        piece = self._piece(held)
        if piece is not None:
            return piece.addresses
        return (held.address,) if held.address else (held.id,)

    def _fault(self, held: Held) -> Fault | None:
        piece = self._piece(held)
        if piece is not None:
            return piece.fault
        if held.address:
            # Of other plugins and drivers as well: an address is an address.
            known = self.inventory
            function = known.functions.get(held.address)
            if (held.namespace, held.pod) in self.strangers and function and not function.vfio:
                return known.faults.get(held.address)  # a container needs no VFIO
            return known.faults.get(held.address) or health.of_held(
                held.address, known.functions, known.engines
            )
        if held.resource in self.offers.by_resource:
            return health.of_gone(held.id, held.resource)
        return None


def present(offers: Offers, there: frozenset[str]) -> Offers:
    """What has no device node is not healthy."""
    by_resource = {}
    for name, offer in offers.by_resource.items():
        pieces = {}
        for key, piece in offer.pieces.items():
            missing = [node for node in piece.nodes if node not in there]
            pieces[key] = piece.failing(health.of_node(missing[0]) if missing else None)
        by_resource[name] = replace(offer, pieces=pieces)
    return replace(offers, by_resource=by_resource)
