"""What virt-handler says of a guest on its node, and what it tells its launcher.

virt-handler owns the VMI from Scheduled on. It rests on what the launcher reported over a
connection that nobody else can have, and on what the kubelet says of the pod; that either is silent
proves nothing. Nothing is written when nothing changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from virtpod.api.traits import acpi, grace
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.controllers import conditions
from virtpod.controllers.conditions import Condition
from virtpod.kube.plan import Event, Patch, Plan, Reference
from virtpod.kube.plan import tests as tested
from virtpod.kube.resources import VMIS, Obj, key_of
from virtpod.render import observe
from virtpod.wire.messages import DomainChanged, Kill, Release, Shutdown

FINAL = ("Succeeded", "Failed")
OURS = ("Scheduled", "Running")


@dataclass(frozen=True)
class Pod:
    """What is known of a launcher's pod."""

    namespace: str
    name: str
    uid: str
    vmi: str
    """Name of the VMI that controls it."""
    vmi_uid: str
    phase: str = ""
    ready: bool = False
    ips: tuple[str, ...] = ()
    exit_code: int | None = None
    """Of the container `compute`; None: it runs, or has not begun."""
    exit_message: str = ""
    emulation: bool = False
    """The pod was made without KVM."""

    @property
    def ended(self) -> bool:
        return self.exit_code is not None or self.phase in FINAL


@dataclass(frozen=True)
class Failure:
    """Why the launcher could not do what it was told; `final`: asking again cannot help."""

    reason: str
    message: str
    final: bool = False


@dataclass(frozen=True)
class Tell:
    """Something to say to a pod's launcher. The conversation gives the request its number."""

    pod: str
    request: Shutdown | Kill | Release


@dataclass(frozen=True)
class Seen:
    """A VMI of this node and its launcher."""

    vmi: Obj
    now: float
    pod: Pod | None = None
    domain: DomainChanged | None = None
    """What the launcher said last, in this or an earlier connection."""
    connected: bool = False
    failure: Failure | None = None
    """Of the last attempt to start the guest."""
    told: frozenset[str] = frozenset()
    """The kinds of request (`Tell`) that this launcher has taken already."""

    @property
    def phase(self) -> str:
        return str((self.vmi.get("status") or {}).get("phase") or "")

    @property
    def deleting(self) -> bool:
        return bool(self.vmi["metadata"].get("deletionTimestamp"))

    @property
    def alive(self) -> bool:
        return self.domain is not None and self.domain.state in (
            "Running",
            "Blocked",
            "Paused",
            "ShuttingDown",
            "PMSuspended",
        )

    @property
    def over(self) -> bool:
        """The guest has ended. A domain that is defined and has never run is not meant."""
        domain = self.domain
        if domain is None:
            return False
        if domain.state == "Crashed":
            return True
        return domain.state == "Shutoff" and (domain.started or domain.reason != "Unknown")

    @property
    def up(self) -> bool:
        """The guest runs as far as its spec wants it to: one may be started paused."""
        domain = self.domain
        if domain is None or not self.alive:
            return False
        paused = self.vmi["spec"].get("startStrategy") == "Paused"
        return domain.state != "Paused" or domain.started or paused


Rule = Callable[[Seen], Plan | None]


def decide(seen: Seen) -> Plan:
    """What the first rule says whose situation this is."""
    for rule in RULES:
        if plan := rule(seen):
            return plan
    return Plan("nothing to do")


# The rules, in the order in which they are asked.


def final(seen: Seen) -> Plan | None:
    """The API has the guest's end: the launcher may go, and must."""
    if seen.phase not in FINAL:
        return None
    if seen.over:
        return Plan("the guest's end is known", _tell(seen, Release(id=0)))
    if seen.alive:
        return Plan("a guest of a VMI that is over", _tell(seen, Kill(id=0)))
    return Plan("a launcher of a VMI that is over", _tell(seen, Shutdown(id=0, grace=0)))


def not_ours(seen: Seen) -> Plan | None:
    """virt-controller has it still; the guest may well run already."""
    if seen.phase in OURS:
        return None
    return Plan("virt-controller has not handed it over")


def guest_over(seen: Seen) -> Plan | None:
    """The launcher said that the guest has ended, and how."""
    if not seen.over or seen.domain is None:
        return None
    vmi = msgspec.convert(seen.vmi, VirtualMachineInstance)
    phase = end_phase(seen.domain, asked_first=acpi(vmi) and grace(vmi) > 0)
    return _ended(seen, phase, f"the guest ended: {seen.domain.state}, {seen.domain.reason}")


def pod_over(seen: Seen) -> Plan | None:
    """The container ended, and the launcher has said nothing of how the guest did.

    A launcher exits with 0 only where the guest went down by itself or as asked to.
    """
    pod = seen.pod
    if pod is None or not pod.ended or (seen.connected and not seen.over):
        return None
    clean = pod.exit_code == 0 and seen.phase == "Running"
    why = f"the launcher ended with {pod.exit_code}"
    return _ended(seen, "Succeeded" if clean else "Failed", why, pod.exit_message)


def going(seen: Seen) -> Plan | None:
    """The VMI is being deleted: the guest is asked to power off, once."""
    if not seen.deleting:
        return None
    if not seen.connected:
        return Plan("the VMI is being deleted; its launcher is out of reach")
    vmi = msgspec.convert(seen.vmi, VirtualMachineInstance)
    asks = _tell(seen, Shutdown(id=0, grace=grace(vmi)))
    if not asks:
        return Plan("the guest has been asked to power off")
    events = (
        [_event(seen, "Normal", "ShuttingDown", "Signaled Graceful Shutdown")] if seen.alive else []
    )
    return Plan("the VMI is being deleted", [*asks, *events])


def cannot_start(seen: Seen) -> Plan | None:
    """The launcher could not start the guest: say why; it is tried again unless that is vain."""
    failure = seen.failure
    if failure is None or seen.alive or seen.phase != "Scheduled":
        return None
    changes = _Changes(seen)
    problem = conditions.new("Synchronized", "False", failure.reason, failure.message)
    changes.condition(problem)
    event = _event(seen, "Warning", "SyncFailed", failure.message)
    if failure.final:
        changes.phase("Failed")
        changes.condition(NOT_RUNNING)
        return changes.plan("the guest cannot be started", [event])
    said = conditions.find(conditions.of(seen.vmi), "Synchronized")
    if said and conditions.same(said, problem):
        return Plan("the guest could not be started, as has been said")
    return changes.plan("the guest could not be started", [event])


def started(seen: Seen) -> Plan | None:
    """The guest runs: say so, and everything that is known by now, in one write."""
    if seen.phase != "Scheduled" or not seen.up:
        return None
    changes = _Changes(seen)
    changes.phase("Running")
    _describe(seen, changes)
    if seen.pod and seen.pod.ready:
        changes.condition(conditions.new("Ready", "True"))
    changes.drop("Synchronized")
    event = _event(seen, "Normal", "Started", "VirtualMachineInstance started.")
    return changes.plan("the guest runs", [event])


def running(seen: Seen) -> Plan | None:
    """What changed since."""
    if seen.phase != "Running" or not seen.alive:
        return None
    changes = _Changes(seen)
    events = _describe(seen, changes)
    return changes.plan("the guest runs", events)


RULES: tuple[Rule, ...] = (
    final,
    not_ours,
    guest_over,
    pod_over,
    going,
    cannot_start,
    started,
    running,
)


# What it means.


def end_phase(domain: DomainChanged, *, asked_first: bool) -> Literal["Succeeded", "Failed"]:
    """How a guest's end is called. `asked_first`: it had a chance to power off before it was
    destroyed, so that destroying it was the second choice."""
    if domain.state == "Crashed":
        return "Failed"
    if domain.reason == "Destroyed":
        return "Failed" if asked_first else "Succeeded"
    return "Succeeded" if domain.reason in ("Shutdown", "Saved", "FromSnapshot") else "Failed"


NOT_RUNNING = conditions.new("Ready", "False", "GuestNotRunning", "The guest is not running.")
IMMOBILE = "Live migration is not supported by this version."


def _describe(seen: Seen, changes: _Changes) -> list[Event]:
    """Status fields and conditions of a guest that is up; events about what is new."""
    domain, events = seen.domain, []
    assert domain is not None
    vmi = msgspec.convert(seen.vmi, VirtualMachineInstance)
    ips = seen.pod.ips if seen.pod else ()
    for name, value in observe.observe(vmi, domain, ips).items():
        changes.field(name, value)
    reasons = [*observe.blocks_migration(vmi), IMMOBILE]
    changes.condition(conditions.new("LiveMigratable", "False", "NotMigratable", " ".join(reasons)))
    pausing = _pausing(domain)
    if pausing is None:
        changes.drop("Paused")
    else:
        changes.condition(pausing)
        before = conditions.find(conditions.of(seen.vmi), "Paused")
        if pausing["reason"] == "PausedIOError" and not (
            before and conditions.same(before, pausing)
        ):
            events.append(_event(seen, "Warning", "IOerror", pausing["message"]))
    if domain.agent_connected:
        changes.condition(conditions.new("AgentConnected", "True"))
    else:
        changes.drop("AgentConnected")
    return events


def _pausing(domain: DomainChanged) -> Condition | None:
    if domain.state != "Paused":
        return None
    if domain.reason == "IOError":
        message = domain.message or "VMI was paused, IO error"
        return conditions.new("Paused", "True", "PausedIOError", message)
    if domain.reason in ("Migration", "StartingUp"):
        return None
    return conditions.new("Paused", "True", "PausedByUser", "VMI was paused by user")


def _ended(seen: Seen, phase: Literal["Succeeded", "Failed"], why: str, said: str = "") -> Plan:
    changes = _Changes(seen)
    changes.phase(phase)
    changes.condition(NOT_RUNNING)
    changes.drop("Paused", "AgentConnected")
    if phase == "Succeeded":
        event = _event(seen, "Normal", "Stopped", "The VirtualMachineInstance was shut down.")
    else:
        message = "The VirtualMachineInstance crashed."
        event = _event(seen, "Warning", "Stopped", f"{message} {said}".strip())
    release = _tell(seen, Release(id=0)) if seen.over else []
    return changes.plan(why, [event], after=release)


def _tell(seen: Seen, request: Shutdown | Kill | Release) -> list[Tell]:
    """Each kind of request is made once; who is not there is told when it is."""
    if not seen.connected or seen.pod is None or type(request).__name__ in seen.told:
        return []
    return [Tell(seen.pod.uid, request)]


def _event(seen: Seen, type: Literal["Normal", "Warning"], reason: str, message: str) -> Event:
    return Event(Reference.to(seen.vmi, VMIS), type, reason, message)


# What is written.


class _Changes:
    """One JSON patch in the making, and what it rests on."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen
        self.conditions = self._before = conditions.of(seen.vmi)
        self._ops: list[Obj] = []
        self._tests = ["/status/phase"]

    def phase(self, phase: str) -> None:
        stamps = (self.seen.vmi.get("status") or {}).get("phaseTransitionTimestamps") or []
        entry = {"phase": phase, "phaseTransitionTimestamp": conditions.stamp(self.seen.now)}
        self._set("/status/phase", phase)
        self._set("/status/phaseTransitionTimestamps", [*stamps, entry])

    def field(self, name: str, value: Any) -> None:
        """A field of the status. In lists of named things, other writers' fields stay."""
        before = (self.seen.vmi.get("status") or {}).get(name)
        after = merged(before, value)
        if after != before and not (before is None and not after):
            if isinstance(before, list):
                self._tests.append(f"/status/{name}")
            self._set(f"/status/{name}", after)

    def condition(self, condition: Condition) -> None:
        self.conditions = conditions.put(self.conditions, condition, self.seen.now)

    def drop(self, *types: str) -> None:
        self.conditions = conditions.without(self.conditions, *types)

    def plan(self, why: str, actions: Sequence[Any] = (), *, after: Sequence[Any] = ()) -> Plan:
        """The patch, then `actions`: an event tells what has been written."""
        if self.conditions != self._before:
            self._tests.append("/status/conditions")
            self._set("/status/conditions", self.conditions)
        if not self._ops:
            return Plan(why, [*actions, *after])
        vmi = self.seen.vmi
        uid = {"op": "test", "path": "/metadata/uid", "value": vmi["metadata"]["uid"]}
        patch = Patch(VMIS, key_of(vmi), [uid, *tested(vmi, *self._tests), *self._ops], "json")
        return Plan(why, [patch, *actions, *after])

    def _set(self, path: str, value: Any) -> None:
        self._ops.append({"op": "add", "path": path, "value": value})


def merged(before: Any, after: Any) -> Any:
    """`after`, with what others wrote into the same named items of a list."""
    if not isinstance(before, list) or not isinstance(after, list):
        return after
    named = [isinstance(each, Mapping) and "name" in each for each in (*before, *after)]
    if not all(named):
        return after
    new = {each["name"]: each for each in after}
    kept = [{**each, **new.pop(each["name"], {})} for each in before]
    return [*kept, *new.values()]
