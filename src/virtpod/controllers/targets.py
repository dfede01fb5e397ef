"""Where a running guest could move to, by the devices that it has: condition HostDeviceTargets.

virt-handler labels its node with the kinds of PCI functions there (`domain/moving.py`), and notes
on a VMI of which kinds its guest's are. What a node must have becomes terms of node affinity, for
the pod that is to receive the guest; by the same terms nodes are compared here, and the device is
named for which there is none, with what would make one. Devices that cannot save their state are
condition LiveMigratable's matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from virtpod.controllers import conditions
from virtpod.controllers.conditions import Condition
from virtpod.controllers.node import SCHEDULABLE
from virtpod.controllers.why import Node
from virtpod.domain import moving
from virtpod.domain.moving import TARGETS
from virtpod.domain.qat import VARIANT
from virtpod.kube.plan import Patch, Plan
from virtpod.kube.plan import tests as tested
from virtpod.kube.resources import VMIS, Obj, key_of
from virtpod.wire.messages import OwnDevice

Json = dict[str, Any]

NEEDS = "virtpod.io/host-devices"
"""Annotation of a VMI: the kinds of its movable devices by their names, as JSON."""
NOWHERE = "NoNodeForHostDevices"
SHOWN = 5
"""Nodes that a sentence names."""


@dataclass(frozen=True)
class Seen:
    vmi: Obj
    nodes: Sequence[Node]
    now: float


def noted(devices: Iterable[OwnDevice]) -> str:
    """What the annotation is to say of a guest's devices; empty: there shall be none."""
    kinds = {
        each.name: moving.kind(each.id, list(filter(None, each.services.split(";"))))
        for each in devices
        if each.moves
    }
    found = {name: kind for name, kind in kinds.items() if kind}
    return msgspec.json.encode(found).decode() if found else ""


def needs(vmi: Obj) -> dict[str, str]:
    """The kind of each device by its name, as the annotation says."""
    said = (vmi["metadata"].get("annotations") or {}).get(NEEDS) or "{}"
    try:
        found = msgspec.json.decode(said, type=dict[str, str])
    except msgspec.DecodeError:  # somebody else's words
        return {}
    return {name: kind for name, kind in found.items() if moving.told(kind)[0]}


def terms(wanted: Mapping[str, str]) -> list[Json]:
    """What a node must have: matchExpressions of node affinity."""
    return [
        {"key": moving.LABEL + kind, "operator": "In", "values": [moving.MOVES]}
        for kind in sorted(set(wanted.values()))
    ]


def decide(seen: Seen) -> Plan:
    status = seen.vmi.get("status") or {}
    if status.get("phase") != "Running":
        return Plan("its guest does not run")
    before = conditions.of(seen.vmi)
    if wanted := needs(seen.vmi):
        told = condition(wanted, status.get("nodeName") or "", seen.nodes)
        after = conditions.put(before, told, seen.now)
    else:
        after = conditions.without(before, TARGETS)
    if after == before:
        return Plan("what is said of where it could move to holds")
    body = tested(seen.vmi, "/metadata/uid", "/status/phase", "/status/conditions")
    body.append({"op": "add", "path": "/status/conditions", "value": after})
    return Plan("other nodes have its devices", [Patch(VMIS, key_of(seen.vmi), body, "json")])


def condition(wanted: Mapping[str, str], own: str, nodes: Iterable[Node]) -> Condition:
    """`own`: the node that the guest is on."""
    others = [each for each in nodes if each.name != own]
    if fit := [each.name for each in others if _open(each) and _has(each, terms(wanted))]:
        message = f"Nodes with devices as it has: {_listed(sorted(fit))}"
        return conditions.new(TARGETS, "True", "", message)
    lacking = {
        name: kind
        for name, kind in wanted.items()
        if not any(_open(each) and _has(each, terms({name: kind})) for each in others)
    }
    if lacking:
        message = "; ".join(f"{name}: {_why(kind, others)}" for name, kind in lacking.items())
    else:
        message = "no node has all of " + ", ".join(
            f"{name} ({_words(kind)})" for name, kind in wanted.items()
        )
    return conditions.new(TARGETS, "False", NOWHERE, message)


def _open(node: Node) -> bool:
    """It takes guests."""
    taken = node.labels.get(SCHEDULABLE) == "true" and not node.cordoned
    return taken and node.ready is not False


def _has(node: Node, expressions: Iterable[Json]) -> bool:
    return all(node.labels.get(each["key"]) in each["values"] for each in expressions)


def _why(kind: str, nodes: Sequence[Node]) -> str:
    """Why no node is one for a device of that kind, and what would make it one."""
    reasons = list(_reasons(kind, nodes))
    more = f", and {len(reasons) - SHOWN} more nodes" if len(reasons) > SHOWN else ""
    said = "; ".join(reasons[:SHOWN]) + more
    return f"no other node offers {_words(kind)}" + (f": {said}" if said else "")


def _reasons(kind: str, nodes: Sequence[Node]) -> Iterator[str]:
    """Of each node that has something like it."""
    id, service = moving.told(kind)
    for node in sorted(nodes, key=lambda each: each.name):
        have = {
            name.removeprefix(moving.LABEL): value
            for name, value in node.labels.items()
            if name.startswith(moving.LABEL)
        }
        others = [moving.told(each)[1] for each in have if moving.told(each)[0] == id]
        if have.get(kind) == moving.MOVES:
            yield (
                f"{node.name} has it and takes no guests (make it ready, uncordon it, look at its "
                "virt-handler)"
            )
        elif kind in have:
            driver = VARIANT if service else "the driver of VFIO that the device's maker has"
            yield f"{node.name} has it by a driver that does not save its state (use {driver})"
        elif service and any(others):
            yield (
                f"{node.name} has it for {' and '.join(sorted(filter(None, others)))} "
                "(set a device up for the same by spec.services of a QATNodePolicy)"
            )


def _words(kind: str) -> str:
    id, service = moving.told(kind)
    return f"{id} for {service}" if service else id


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
