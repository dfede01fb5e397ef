"""A VMI on its node, virt-handler's part: from the launcher's socket to the guest's end.

Rules in order; the first that has something to do decides, and every rule looks at what is, never
at what happened. virt-handler writes a VMI from Scheduled on, in patches that test what they rest
on, because virt-controller writes conditions of its own into the same object.

Absence proves nothing here: a launcher that does not answer is only dead when its process has been
seen to end (`Guest.lost`) or the kubelet says so (`Pod.ended`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from virtpod.api.traits import acpi, grace
from virtpod.controllers import (
    claims,
    conditions,
    lifecycle,
    node_hotplug,
    node_nics,
    node_plug,
    node_status,
)
from virtpod.controllers.lifecycle import FINAL, ON_NODE
from virtpod.controllers.node_devices import Ailing
from virtpod.controllers.node_seen import Failure, Guest, Json, Known, Pod, attestation
from virtpod.kube.plan import Plan, Reference
from virtpod.kube.resources import PODS

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
"""Seconds before a start that failed is tried again, doubled each time."""
KUBELET_WITHIN = 2.0
"""Seconds in which the kubelet tells why a launcher ended that said nothing itself."""
LOOK_AGAIN = 2.0
"""Seconds; the kubelet clears away the folders of pods that are no more every two."""


@dataclass(frozen=True)
class Seen:
    """`vmi`: the object as JSON, None where it is not known (yet)."""

    node: str
    now: float
    vmi: Json | None = None
    pod: Pod | None = None
    guest: Guest = field(default_factory=Guest)
    vmi_gone: bool = False
    """The API server said that there is no such VMI (any more)."""
    predecessor: bool = False
    """A launcher of an earlier pod of this VMI's name still lives on the node."""
    no_trace: bool = False
    """The kubelet has cleared away what it had of the VMI's pods, which it does only when their
    containers are dead."""
    ailing: tuple[Ailing, ...] | None = None
    """Devices that its pod has of the node and that are not well; None: not known."""
    holders: tuple[node_plug.Holder, ...] = ()
    """The pods that devices are given to which come while it runs."""


@dataclass(frozen=True)
class Prepare:
    """Set up the pod's network and tell the launcher to start the guest. Safe to repeat."""

    pod_uid: str


@dataclass(frozen=True)
class Grow:
    """Have the launcher make the disks larger whose claims are."""

    pod_uid: str


@dataclass(frozen=True)
class Tell:
    """A request to the launcher."""

    pod_uid: str
    what: Literal["shutdown", "release"]
    grace: int = 0


def decide(seen: Seen) -> Plan:
    """What the first rule with something to do says."""
    if seen.pod is None:
        return _podless(seen)
    if seen.vmi is None:
        return _lost(seen.pod, seen.guest) if seen.vmi_gone else Plan("the VMI is not known")
    known = Known(
        seen.vmi,
        seen.pod,
        seen.guest,
        seen.now,
        seen.predecessor,
        seen.ailing,
        seen.holders,
    )
    for rule in RULES:
        plan = rule(known)
        if plan is not None:
            return plan
    return Plan("as it should be")


def _podless(seen: Seen) -> Plan:
    """Its pod was force-deleted, or while this node was away: virt-controller ends nothing before
    we have said that no guest is left here."""
    vmi = seen.vmi
    status = (vmi or {}).get("status") or {}
    if vmi is None or status.get("phase") not in ON_NODE or status.get("nodeName") != seen.node:
        return Plan("there is no pod of it here")
    if not seen.no_trace:
        return Plan("its pod is gone from the API, the kubelet is at it yet", again_in=LOOK_AGAIN)
    metadata = vmi["metadata"]
    known = Known(vmi, Pod("", "", metadata["namespace"]), seen.guest, seen.now)
    event = known.warning(
        "Stopped",
        "The virtual machine's pod was removed while its guest ran; nothing of it is left here",
        "A VirtualMachine that shall run starts it anew; without one, create it again.",
    )
    return node_status.written("nothing of it is left here", known, known.enter("Failed"), [event])


def _lost(pod: Pod, guest: Guest) -> Plan:
    """A launcher whose VMI somebody took away: its guest is asked to power off, and it may go."""
    domain = guest.domain
    if not guest.connected:
        return Plan("its VMI is gone; the launcher is out of reach")
    if domain and domain.state not in ("NoState", "Shutoff", "Crashed"):
        if "shutdown" in guest.told:
            return Plan("its VMI is gone: the guest is going")
        told = lifecycle.warning(
            Reference(PODS.api_version, PODS.kind, pod.namespace, pod.name, pod.uid),
            "VirtualMachineInstanceGone",
            f"VirtualMachineInstance {pod.vmi_name} was taken away while its guest was there",
            "The guest is shut down; to stop a guest, delete the VirtualMachineInstance and leave "
            "its finalizers alone.",
        )
        tell = Tell(pod.uid, "shutdown", pod.grace)
        return Plan("its VMI is gone: the guest must go", (tell, told))
    if "release" in guest.told:
        return Plan("its VMI is gone: the launcher is going")
    return Plan("its VMI is gone: the launcher may go", (Tell(pod.uid, "release"),))


# The rules, in the order in which they are asked.


def over(seen: Known) -> Plan | None:
    """The API has the guest's end: the launcher may go."""
    if seen.phase not in FINAL:
        return None
    if seen.domain_alive:
        # Somebody else wrote the end, and another guest may start from the same disks.
        if seen.can_tell("shutdown"):
            return Plan("it is over: the guest must go", (Tell(seen.pod.uid, "shutdown", 0),))
        return Plan("it is over: the guest is going")
    running = [each.uid for each in seen.holders if each.running]
    if back := _given_back(seen, running):
        return Plan("it is over: its devices go back", (back,))
    if seen.can_tell("release"):
        return Plan("it is over: the launcher may go", (Tell(seen.pod.uid, "release"),))
    return Plan("it is over")


def leaving(seen: Known) -> Plan | None:
    """Deleted, it or its pod: the guest is asked to power off, and hastened if its time is cut.

    A pod's launcher hears of it by SIGTERM as well; here it does not rest on a signal.
    """
    if not seen.deleting and not seen.pod.deleting:
        return None
    domain = seen.guest.domain
    if domain and (lifecycle.over(domain) or domain.state == "ShuttingDown"):
        return None
    given = grace(seen.typed)
    tell = Tell(seen.pod.uid, "shutdown", given)
    if seen.guest.connected and seen.guest.grace is not None and given < seen.guest.grace:
        return Plan("deleted, and its grace period is shorter now: make haste", (tell,))
    if not seen.can_tell("shutdown"):
        return None
    actions: list[Any] = [tell]
    if seen.domain_alive:
        actions.append(seen.event("ShuttingDown", "Signaled Graceful Shutdown"))
    return Plan("deleted: shut the guest down", actions)


def unprepared(seen: Known) -> Plan | None:
    """As soon as the launcher listens, before the API says Scheduled."""
    guest = seen.guest
    if not guest.connected or guest.preparing or guest.prepared or seen.phase == "Running":
        return None
    if seen.deleting or seen.pod.deleting:
        return None
    if guest.domain and (guest.domain.started or lifecycle.over(guest.domain)):
        return None
    if seen.phase not in ON_NODE and not claims.noted(seen.typed):
        # What was read of it before virt-controller's word on its claims came: wait for the next.
        return Plan("its claims are not noted yet")
    sev = attestation(seen.vmi)
    if sev and not sev.get("session"):
        # The API must say Scheduled first: then its owner may send what the start rests on.
        return None if seen.phase not in ON_NODE else Plan("its owner's session is awaited")
    if seen.predecessor:
        return Plan("a launcher of before still lives here", again_in=1.0)
    if guest.failure and (wait := _due(guest.failure) - seen.now) > 0:
        return _failed_to_start(seen, guest.failure, wait)
    return Plan("the launcher listens: prepare and start", (Prepare(seen.pod.uid),))


def not_ours(seen: Known) -> Plan | None:
    if seen.phase not in ON_NODE:
        return Plan("virt-controller's turn")
    return None


def ended(seen: Known) -> Plan | None:
    """The guest is gone: say how it ended."""
    phase = _end(seen)
    if phase is None:
        return None
    domain, events = seen.guest.domain, []
    by_node = seen.guest.stopping and not seen.deleting and not seen.pod.deleting
    if by_node and not seen.pod.final and not seen.guest.lost:
        # Why, the kubelet says only when the launcher has gone.
        actions = (Tell(seen.pod.uid, "release"),) if seen.can_tell("release") else ()
        return Plan("its node ends it: the launcher goes first", actions)
    if by_node:
        unsaid = not seen.pod.final
    else:
        unsaid = seen.pod.ended is None and not (domain and lifecycle.over(domain))
    if unsaid and (wait := seen.guest.lost_at + KUBELET_WITHIN - seen.now) > 0:
        return Plan("the launcher is gone: the kubelet is about to say why", again_in=wait)
    if domain and domain.reason == "Panicked":
        told = domain.message or "The guest's kernel panicked"
        remedy = "The guest's console and its crash dump, if it writes one, tell the cause."
        events.append(seen.warning("GuestPanicked", told, remedy))
    if phase == "Succeeded" and seen.pod.ousted:
        what = f"The VirtualMachineInstance was shut down by its node: {seen.pod.end}"
        remedy = "Look at the node; a VirtualMachine that shall always run starts anew."
        events.append(seen.warning("Stopped", what, remedy))
    elif phase == "Succeeded":
        events.append(seen.event("Stopped", "The VirtualMachineInstance was shut down."))
    else:
        events.append(seen.warning("Stopped", *_crash(seen)))
    return node_status.written(f"the guest is gone: {phase}", seen, seen.enter(phase), events)


def cannot_start(seen: Known) -> Plan | None:
    """Tell the user why; another try is under way."""
    if seen.phase != "Scheduled" or seen.guest.failure is None or seen.guest.prepared:
        return None
    return _failed_to_start(seen, seen.guest.failure)


def running(seen: Known) -> Plan | None:
    """Scheduled and the guest runs: one patch with everything that is known by now."""
    domain = seen.domain_alive
    if seen.phase != "Scheduled" or domain is None:
        return None
    if not seen.pod.running or not seen.pod.ips:
        return Plan("the guest runs; the pod's own status is on its way")
    wanted = node_status.own_conditions(seen, domain)
    if seen.pod.ready:
        wanted["Ready"] = conditions.new("Ready", "True")
    changes = (
        seen.enter("Running")
        | node_status.observed(seen, domain)
        | node_status.with_conditions(seen, wanted)
    )
    started = seen.event("Started", "VirtualMachineInstance started.")
    told = [started, *node_status.pause_events(seen, domain), *node_status.device_events(seen)]
    return node_status.written("the guest runs", seen, changes, told)


def alters(seen: Known) -> Plan | None:
    """Something of the guest's is to come, to go, or to grow."""
    for why, work, failure in _alterations(seen):
        if failure is None or failure.of != work or _due(failure) <= seen.now:
            return Plan(why, (work,))
    return None


def _alterations(seen: Known) -> Iterator[tuple[str, Any, Failure | None]]:
    """What is to be done with a guest that runs and is not under way, and why it failed the last
    time."""
    guest, domain, pod = seen.guest, seen.domain_alive, seen.pod
    if seen.phase != "Running" or domain is None or not guest.connected:
        return
    found: list[tuple[str, Any, Failure | None]] = []
    if guest.there is not None and not guest.replugging:
        work = node_hotplug.work(seen.vmi, pod.uid, guest.there, node_status.filled(domain))
        found.append(("volumes come or go", work, guest.unplugged))
    if domain.interfaces and not guest.rewiring:
        links = [attached.interface for attached in pod.networks]
        wire = node_nics.work(seen.typed, pod.uid, links, domain.interfaces)
        found.append(("network cards or cables come or go", wire, guest.unwired))
    if guest.lent is not None and not guest.plugging:
        has = domain.host_devices
        back = _given_back(seen, node_plug.idle(seen.vmi, seen.holders, guest.lent, has))
        found.append(("devices go back to the node", back, None))
        plug = node_plug.work(seen.vmi, pod.uid, seen.holders, guest.lent, has)
        found.append(("devices come or go", plug, guest.unlent))
    sizes = claims.sizes(seen.vmi)
    if sizes and sizes != guest.sizes and not guest.growing and not guest.replugging:
        found.append(("claims are larger", Grow(pod.uid), guest.ungrown))
    yield from (each for each in found if each[1] is not None)


def dumps(seen: Known) -> Plan | None:
    """The guest's memory is to be written down."""
    guest = seen.guest
    if seen.phase != "Running" or seen.domain_alive is None or guest.there is None:
        return None
    if guest.dumping or not guest.connected:
        return None
    work = node_hotplug.due(seen.vmi, seen.pod.uid, guest.dumped.keys())
    if work is None or work.volume not in guest.there:
        return None
    return Plan("the guest's memory is to be written down", (work,))


def changed(seen: Known) -> Plan | None:
    """Running: what the domain shows is what the status says, and nothing is written otherwise."""
    domain = seen.domain_alive
    if seen.phase != "Running" or domain is None:
        return None
    changes = node_status.observed(seen, domain) | node_status.with_conditions(
        seen, node_status.own_conditions(seen, domain)
    )
    changes |= node_status.moving(seen, domain)
    waits = [_due(failure) - seen.now for _, _, failure in _alterations(seen) if failure]
    again_in = min(waits, default=None)
    if not changes:
        return Plan("a device could not change: wait", again_in=again_in) if again_in else None
    why = f"the domain shows other {', '.join(sorted(changes))}"
    told = node_status.news(seen, domain, changes)
    return node_status.written(why, seen, changes, told, again_in)


RULES: tuple[Callable[[Known], Plan | None], ...] = (
    over,
    leaving,
    unprepared,
    not_ours,
    ended,
    cannot_start,
    running,
    alters,
    dumps,
    changed,
)


# What the rules ask.


def _given_back(seen: Known, pods: Sequence[str]) -> node_plug.GiveBack | None:
    """Each is told to end once."""
    untold = tuple(each for each in pods if each not in seen.guest.returned)
    return node_plug.GiveBack(seen.pod.uid, untold) if untold else None


def _due(failure: Failure) -> float:
    """When a failed start is tried again."""
    if failure.final:
        return failure.at + LONGEST_PAUSE
    return failure.at + min(FIRST_PAUSE * 2.0 ** min(failure.times - 1, 10), LONGEST_PAUSE)


def _end(seen: Known) -> str | None:
    """The final phase, None while the guest is not known to be gone."""
    domain, pod = seen.guest.domain, seen.pod
    if domain and lifecycle.over(domain):
        # Whether its ACPI event could have reached it, and it had time to heed it.
        could_be_asked = acpi(seen.typed) and grace(seen.typed) > 0
        return lifecycle.ending(domain, could_be_asked=could_be_asked)
    if pod.ended is not None:
        # We were not there when it ended: the launcher ends with 0 after its guest's good end, and
        # where it was told to go before it had one.
        never = seen.phase == "Scheduled" and domain is None and pod.deleting
        return "Succeeded" if pod.ended == 0 and not never else "Failed"
    return "Failed" if seen.guest.lost else None


def _crash(seen: Known) -> tuple[str, str]:
    """What the event of a bad end says, and what to do about it."""
    crashed, domain = "The VirtualMachineInstance crashed", seen.guest.domain
    looks = "Its pod's log is kept until the VirtualMachineInstance is deleted."
    said = domain.message if domain and lifecycle.over(domain) else ""
    if "OOMKilled" in seen.pod.end or "OOMKilled" in said:
        more = "Give the guest's overhead more room: spec.domain.memory, or resources.limits.memory"
        return f"{crashed}: {said or seen.pod.end}", f"{more}."
    if domain and domain.reason == "Destroyed":
        late = f"{crashed}: it did not power off within its grace period and was ended"
        return late, "Raise terminationGracePeriodSeconds, or let the guest heed its power button."
    told = said or seen.pod.end
    if not told and domain:
        told = {"Failed": "QEMU was killed or failed", "Panicked": "its kernel panicked"}.get(
            domain.reason, ""
        )
    if not told and seen.guest.lost:
        told = "virt-launcher was killed, and the guest with it"
    return f"{crashed}: {told}" if told else crashed, looks


def _failed_to_start(seen: Known, failure: Failure, again_in: float | None = None) -> Plan:
    """Tell the user, once, and try again later; before Scheduled the VMI is not ours to write."""
    if again_in is None and not seen.guest.preparing:  # a try under way wakes us when it ends
        again_in = max(_due(failure) - seen.now, 0.0)
    waiting = Plan("the guest could not be started: wait", again_in=again_in)
    if seen.phase not in ON_NODE:
        return waiting
    told = conditions.new("Synchronized", "False", failure.reason, failure.message)
    before = conditions.find(conditions.of(seen.vmi), "Synchronized")
    changes = node_status.with_conditions(
        seen, {"Synchronized": told, **node_status.device_conditions(seen)}
    )
    if not changes:
        return waiting
    events = node_status.device_events(seen)
    if before is None or not conditions.same(before, told):
        again = "It is tried again each minute" if failure.final else "It is tried again soon"
        events.append(seen.warning("SyncFailed", failure.message, f"{again}; mend what it names."))
    return node_status.written("the guest could not be started", seen, changes, events, again_in)
