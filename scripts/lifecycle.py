"""What the two owners of a VMI decide in every situation: docs/vm-pod-lifecycle.md.

A situation is a phase, a state of the pod, what virt-handler sees of the launcher, and whether the
VMI is being deleted. Each is asked of the decisions themselves, `controllers.vmi` and
`controllers.node_vmi`; nothing is said here that they do not do.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, TypeVar

from virtpod.controllers import node, node_seen, node_vmi, vmi
from virtpod.controllers.conditions import stamp
from virtpod.controllers.lifecycle import MOVES, ON_NODE, PHASES
from virtpod.controllers.node_devices import HEALTHY
from virtpod.controllers.node_plug import ALL_PLUGGED
from virtpod.domain.facts import Cluster
from virtpod.kube.plan import Create, Delete, Event, Patch, Plan
from virtpod.kube.resources import PODS, VMIS, Obj
from virtpod.wire.messages import DomainChanged

T = TypeVar("T", bound=Hashable)

NOW = 1_800_000_000.0
CLUSTER = Cluster(launcher_image="registry.example/virt-launcher:1")
SPEC: Obj = {
    "domain": {
        "devices": {},
        "machine": {"type": "q35"},
        "cpu": {"sockets": 1, "cores": 1, "threads": 1},
        "memory": {"guest": "64Mi"},
        "resources": {"requests": {"memory": "64Mi"}},
        "firmware": {"uuid": "5d307ca9-b3ef-428c-8861-06e72d69f223"},
    },
    "architecture": "amd64",
    "terminationGracePeriodSeconds": 30,
}


@dataclass(frozen=True)
class PodState:
    """`exists`: None where the cache is silent and nothing is proved."""

    about: str
    exists: bool | None = True
    compute: str = ""
    leaving: bool = False
    exit_code: int = 0
    ended_for: float = 0.0
    standing: node.Standing | None = None
    """Where its end was not seen before it vanished: what is known of its node."""
    cleared: bool = False
    """The kubelet has taken away what was left of it."""


POD_STATES = {
    "unseen": PodState("none is seen, and nothing is proved", exists=None),
    "gone": PodState("there is none any more, and its end is proved", exists=False),
    "forgotten": PodState(
        "removed from the API before its end was seen; its node answers",
        exists=False,
        standing=node.Standing("node1"),
    ),
    "forgotten and cleared": PodState(
        "so, and the kubelet has cleared it away",
        exists=False,
        standing=node.Standing("node1"),
        cleared=True,
    ),
    "forgotten by a silent node": PodState(
        "so, and its node is not heard, and nobody has said that it is off",
        exists=False,
        standing=node.Standing("node1", ready=False),
    ),
    "pending": PodState("on its way to run"),
    "pending and leaving": PodState("deleted before it ran", leaving=True),
    "running": PodState("compute runs", compute="running"),
    "running and leaving": PodState("deleted while compute runs", compute="running", leaving=True),
    "ended well": PodState("compute exited with 0", compute="over"),
    "ended badly": PodState("compute exited otherwise", compute="over", exit_code=1),
    "ended long ago": PodState(
        "compute exited, and for a minute virt-handler has said nothing",
        compute="over",
        exit_code=1,
        ended_for=2 * vmi.UNNOTICED,
    ),
    "ended and leaving": PodState("compute is over, the pod deleted", compute="over", leaving=True),
}

_THERE = node_seen.Guest(connected=True, prepared=True)
_FAILURE = node_seen.Failure("ContainerDiskInvalid", "there is no disk in it", True, at=NOW)


def _domain(state: Any, reason: str = "Unknown", started: bool = True) -> node_seen.Guest:
    shown = DomainChanged(seq=2, state=state, reason=reason, started=started)
    return replace(_THERE, domain=shown)


GUESTS: Mapping[str, node_seen.Guest] = {
    "silent": node_seen.Guest(),
    "listens": node_seen.Guest(connected=True),
    "prepares": node_seen.Guest(connected=True, preparing=True),
    "cannot start": node_seen.Guest(connected=True, failure=_FAILURE),
    "starting": _domain("Paused", "StartingUp", started=False),
    "runs": _domain("Running"),
    "paused": _domain("Paused", "User"),
    "I/O error": _domain("Paused", "IOError"),
    "powered off": _domain("Shutoff", "Shutdown"),
    "ended by us": _domain("Shutoff", "Destroyed"),
    "QEMU killed": _domain("Shutoff", "Failed"),
    "panicked": _domain("Crashed", "Panicked"),
    "launcher killed": node_seen.Guest(lost=True),
}
GUESTS_ABOUT = {
    "silent": "virt-handler has no conversation with the launcher, and its process is not dead",
    "listens": "the launcher waits for its VMI",
    "prepares": "network and disks are being made",
    "cannot start": "the last try to start the guest failed",
    "starting": "QEMU is being set up",
    "ended by us": "it was killed after its grace period",
}


@dataclass(frozen=True)
class Situation:
    """`told`: what the launcher has been told already."""

    phase: str
    pod: str
    guest: str = "silent"
    deleting: bool = False
    told: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Outcome:
    """A plan in words: the next phase (if any) and what else is done."""

    why: str
    phase: str = ""
    does: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()


Row = tuple[bool, str, Outcome]
"""Whether the VMI is being deleted, the cells that tell where, and what is done."""


def controller(at: Situation) -> Outcome:
    """virt-controller's decision."""
    state = POD_STATES[at.pod]
    pods = [_pod(state)] if state.exists else []
    seen = vmi.Seen(
        _vmi(at),
        pods,
        CLUSTER,
        NOW,
        pod_gone=state.exists is False,
        ended_for=state.ended_for,
        node=state.standing,
        doubt=node.doubt(at.phase, state.standing, end_seen=state.standing is None),
        lost_pod="pod" if state.standing else "",
    )
    return _outcome(vmi.decide(seen))


def handler(at: Situation) -> Outcome:
    """virt-handler's decision."""
    state = POD_STATES[at.pod]
    pod = None
    if state.exists:
        ended = state.exit_code if state.compute == "over" else None
        pod = node_seen.Pod(
            uid="pod",
            name="virt-launcher-demo",
            namespace="default",
            ips=("10.0.0.7",),
            ready=state.compute == "running",
            running=state.compute == "running",
            ended=ended,
            deleting=state.leaving,
        )
    guest = replace(GUESTS[at.guest], told=at.told)
    seen = node_vmi.Seen("node1", NOW, _vmi(at), pod, guest, no_trace=state.cleared)
    return _outcome(node_vmi.decide(seen))


def _vmi(at: Situation) -> Obj:
    metadata: Obj = {
        "name": "demo",
        "namespace": "default",
        "uid": "vmi",
        "finalizers": [vmi.FINALIZER],
    }
    if at.deleting:
        metadata["deletionTimestamp"] = stamp(NOW)
    status: Obj = {"phase": at.phase} if at.phase else {}
    if at.phase in ON_NODE:
        status["nodeName"] = "node1"
    return {"metadata": metadata, "spec": SPEC, "status": status}


def _pod(state: PodState) -> Obj:
    owner = {"kind": VMIS.kind, "name": "demo", "uid": "vmi", "controller": True}
    metadata: Obj = {
        "name": "virt-launcher-demo",
        "namespace": "default",
        "uid": "pod",
        "ownerReferences": [owner],
        "creationTimestamp": stamp(NOW - 3600),
    }
    if state.leaving:
        metadata["deletionTimestamp"] = stamp(NOW)
    status: Obj = {"phase": "Pending"}
    if state.compute == "running":
        status = {"phase": "Running", "containerStatuses": [_compute_is({"running": {}})]}
    if state.compute == "over":
        over = {"exitCode": state.exit_code, "finishedAt": stamp(NOW)}
        status = {
            "phase": "Failed" if state.exit_code else "Succeeded",
            "containerStatuses": [_compute_is({"terminated": over})],
        }
    spec: Obj = {"containers": [{"name": "compute", "image": "i"}]}
    if state.compute:
        spec["nodeName"] = "node1"
    return {"metadata": metadata, "spec": spec, "status": status}


def _compute_is(state: Obj) -> Obj:
    return {"name": "compute", "state": state}


def _outcome(plan: Plan) -> Outcome:
    phase, does, events = "", [], []
    for action in plan.actions:
        match action:
            case Create(resource):
                does.append(f"creates the {resource.kind.lower()}")
            case Delete(resource):
                does.append(f"deletes the {resource.kind.lower()}")
            case node_vmi.Prepare():
                does.append("prepares the pod's network, has the guest started")
            case node_vmi.Tell(what="shutdown", grace=grace):
                how = "asks it to power off" if grace else "has the guest killed"
                does.append(how)
            case node_vmi.Tell():
                does.append("lets the launcher go")
            case Patch(resource, body=list() as body) if resource == VMIS:
                for each in (each for each in body if each["op"] != "test"):
                    if each["path"] == "/status/phase":
                        phase = each["value"]
                    if each["path"] == "/metadata/finalizers":
                        does.append("lets the VMI go")
            case Patch(resource) if resource == PODS:
                does.append("sets the pod's readiness gate")
            case Event():
                events.append(action)
    does += [f"event {event.type} {event.reason}" for event in events]
    return Outcome(plan.why, phase, tuple(does), tuple(events))


# The page.


def page() -> str:
    lines = [
        "# The life of a VMI and its pod",
        "",
        "Made by `make docs` from the decisions of virt-controller",
        "(`src/virtpod/controllers/vmi.py`) and virt-handler (`node_vmi.py`): each was asked in",
        "every situation below. Neither acts on what it does not know: a cache's silence, a failed",
        "list or a launcher that does not answer change nothing.",
        "",
        "## Phases",
        "",
        "| phase | whose | what it means |",
        "|---|---|---|",
        *(f"| {each.name or '(none)'} | {each.owner} | {each.about} |" for each in PHASES),
        "",
        "## Moves",
        "",
        "Every write of a phase goes through one function, which refuses what is not here. No way",
        "leads out of a final phase.",
        "",
        "| from | to | by |",
        "|---|---|---|",
        *(
            f"| {before or '(none)'} | {after} | {' or '.join(owners)} |"
            for (before, after), owners in MOVES.items()
        ),
        "",
        "## States of the pod",
        "",
        *(f"- **{name}**: {state.about}." for name, state in POD_STATES.items()),
        "",
        "## What virt-handler sees of the guest",
        "",
        *(f"- **{name}**: {about}." for name, about in GUESTS_ABOUT.items()),
        "- The others are what their names say.",
        "",
        "## Devices of the node",
        "",
        "A VMI that has some (docs/qat.md) goes the same way; what they add:",
        "",
        "- *Pending*: the pod asks for the devices' resources, or has their claims; where no node",
        "  has one left, `PodScheduled` says which is missing.",
        "- *Scheduling*: the kubelet asks virt-handler's device plugin which units are best given",
        "  together, and has it allot them. A unit that is not healthy, or is about to be set up",
        "  otherwise, is given to nobody.",
        "- *Scheduled*: virt-handler gives the device nodes to the user that runs QEMU, and lets",
        "  it lock its memory; the launcher reads from its environment, or its claims' metadata,",
        "  which devices it has. One that was not told of keeps the guest from starting: condition",
        "  `Synchronized`.",
        f"- *Running*: condition `{HEALTHY}` is there, and False from when a device fails until it",
        "  is well again, which does not change the phase. The guest goes on, and so does the pod:",
        "  a device that was removed is the guest's loss, and a restart is its owner's to order.",
        f"  Devices that come and go meanwhile have pods of their own; condition `{ALL_PLUGGED}`",
        "  says how far that is. Such a pod ends when the guest has let its device go.",
        "- *Succeeded*, *Failed*: the kubelet takes the devices back with the pod's end. A policy",
        "  that has waited for them (`InUse`) is followed then.",
        "",
        "## Decisions",
        "",
    ]
    told: dict[tuple[str, ...], str] = {}
    for phase in PHASES:
        tables = ["virt-controller:", "", *_controllers_table(phase.name), ""]
        tables += ["virt-handler:", "", *_handlers_table(phase.name), ""]
        first = told.setdefault(tuple(tables), phase.name)
        lines += [f"### {phase.name or '(none)'}", ""]
        lines += tables if first == phase.name else [f"As in {first or 'none'}.", ""]
    return "\n".join(lines)


def _controllers_table(phase: str) -> list[str]:
    rows: list[Row] = []
    for deleting in (False, True):

        def by_pod(pod: str, deleting: bool = deleting) -> Outcome:
            return controller(Situation(phase, pod, deleting=deleting))

        for outcome, pods in _alike(POD_STATES, by_pod).items():
            rows.append((deleting, _some(pods, POD_STATES), outcome))
    return ["| deleted | pod | because | to | does |", "|---|---|---|---|---|", *_merged(rows)]


def _handlers_table(phase: str) -> list[str]:
    rows: list[Row] = []
    pods = [name for name, state in POD_STATES.items() if state.exists and name != "ended long ago"]
    left = [name for name, state in POD_STATES.items() if state.standing]
    for deleting in (False, True):

        def by_pod(guest: str, deleting: bool = deleting) -> tuple[Outcome, ...]:
            return tuple(handler(Situation(phase, pod, guest, deleting)) for pod in pods)

        for outcomes, guests in _alike(GUESTS, by_pod).items():
            found = dict(zip(pods, outcomes, strict=True))
            for outcome, chosen in _alike(pods, found.__getitem__).items():
                where = f"{_some(guests, GUESTS)} | {_some(chosen, pods)}"
                rows.append((deleting, where, outcome))

        def without(pod: str, deleting: bool = deleting) -> Outcome:
            return handler(Situation(phase, pod, deleting=deleting))

        for outcome, chosen in _alike(left, without).items():
            rows.append((deleting, f"– | {', '.join(chosen)}", outcome))
    head = ["| deleted | guest | pod | because | to | does |", "|---|---|---|---|---|---|"]
    return [*head, *_merged(rows)]


def _alike(items: Iterable[str], outcome: Callable[[str], T]) -> dict[T, list[str]]:
    groups: dict[T, list[str]] = {}
    for item in items:
        groups.setdefault(outcome(item), []).append(item)
    return groups


def _some(chosen: Sequence[str], of: Collection[str]) -> str:
    return "any" if len(chosen) == len(of) else ", ".join(chosen)


def _merged(rows: Sequence[Row]) -> Iterable[str]:
    """Rows that say the same of a deleted VMI and of one that is not become one."""
    for deleting, where, outcome in rows:
        either = (not deleting, where, outcome) in rows
        if either and deleting:
            continue
        word = "either" if either else "yes" if deleting else "no"
        to = f"**{outcome.phase}**" if outcome.phase else ""
        yield f"| {word} | {where} | {outcome.why} | {to} | {'; '.join(outcome.does)} |"


def situations() -> Iterable[Situation]:
    """Every one, likely or not."""
    phases = [phase.name for phase in PHASES]
    for phase, pod, guest, deleting in product(phases, POD_STATES, GUESTS, (False, True)):
        for told in ((), ("shutdown",), ("release",), ("release", "shutdown")):
            yield Situation(phase, pod, guest, deleting, frozenset(told))
