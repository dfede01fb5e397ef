"""A VMI on its node, virt-handler's part: from the launcher's socket to the guest's end.

Rules in order; the first that has something to do decides, and every rule looks at what is, never
at what happened. virt-handler writes a VMI from Scheduled on, in patches that test what they rest
on, because virt-controller writes conditions of its own into the same object.

Absence proves nothing here: a launcher that does not answer is only dead when its process has been
seen to end (`Guest.lost`) or the kubelet says so (`Pod.ended`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from virtpod.api.access import AccessCredential
from virtpod.api.base import decode
from virtpod.api.traits import acpi, grace
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.controllers import (
    claims,
    conditions,
    lifecycle,
    node_devices,
    node_hotplug,
    node_nics,
    node_plug,
    targets,
)
from virtpod.controllers.conditions import Condition
from virtpod.controllers.lifecycle import FINAL, HANDLER, ON_NODE
from virtpod.controllers.node_devices import Ailing
from virtpod.controllers.why import OBSTRUCTED
from virtpod.domain.network_status import Attached
from virtpod.features.guest import access_credentials
from virtpod.kube.plan import Event, Patch, Plan, Reference, tests
from virtpod.kube.resources import PODS, VMIS, Key
from virtpod.render.observe import blocks_migration, observe
from virtpod.wire.messages import DomainChanged

Json = dict[str, Any]

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
"""Seconds before a start that failed is tried again, doubled each time."""
KUBELET_WITHIN = 2.0
"""Seconds in which the kubelet tells why a launcher ended that said nothing itself."""
LOOK_AGAIN = 2.0
"""Seconds; the kubelet clears away the folders of pods that are no more every two."""
SYNCHRONIZED = "AccessCredentialsSynchronized"
WHOLE = ("interfaces",)
"""Lists of the status that are ours alone: what the domain shows no more is taken out."""
ANNOTATIONS = "/metadata/annotations"
"""The one change that is none of the status."""
IMMOBILE = "Live migration is not supported by this version."


CREDENTIALS = {"guest-ssh-add-authorized-keys": "keys", "guest-set-user-password": "password"}
"""Commands of the guest's agent that only access credentials need."""


@dataclass(frozen=True)
class Pod:
    """The VMI's pod on this node. `ended`: the compute container's exit code once it is over."""

    uid: str
    name: str
    namespace: str
    vmi_name: str = ""
    vmi_uid: str = ""
    ips: tuple[str, ...] = ()
    ready: bool = False
    running: bool = False
    ended: int | None = None
    deleting: bool = False
    kvm: bool = False
    locks: bool = False
    """QEMU may lock all of its memory."""
    grace: int = 30
    """Seconds that the guest has to power off, where no VMI tells."""
    end: str = ""
    """Why the compute container ended, as the kubelet and the launcher put it."""
    final: bool = False
    """All its containers are over: the kubelet has said what it has to say."""
    networks: tuple[Attached, ...] = ()
    """What Multus noted of them."""
    claims: Mapping[str, str] = field(default_factory=dict)
    """ResourceClaims that were made for it from templates, by the name that its spec has."""
    ousted: bool = False
    """The kubelet took it off the node, which ran short or goes down; `end` says why."""


@dataclass(frozen=True)
class Failure:
    """Why something could not be done, in words for users. `final`: no use in trying soon."""

    reason: str
    message: str
    final: bool = False
    at: float = 0.0
    times: int = 1
    of: object = None
    """The action that failed: another one need not wait."""


@dataclass(frozen=True)
class Guest:
    """What the launcher shows. `told`: requests that it has got in this conversation."""

    connected: bool = False
    preparing: bool = False
    prepared: bool = False
    lost: bool = False
    """Its process has been seen to end."""
    lost_at: float = 0.0
    stopping: bool = False
    """Its launcher was told to end: by its node, where nobody deleted the pod."""
    domain: DomainChanged | None = None
    failure: Failure | None = None
    told: frozenset[str] = frozenset()
    grace: int | None = None
    """Seconds that the guest was given with `shutdown`."""
    there: frozenset[str] | None = None
    """Volumes that come and go and are in its container; None: not known, or it has none."""
    replugging: bool = False
    """They are being brought, plugged and taken away."""
    unplugged: Failure | None = None
    """Why that failed the last time."""
    rewiring: bool = False
    """The same of network cards."""
    unwired: Failure | None = None
    """Why that failed the last time."""
    sizes: Mapping[str, str] | None = None
    """What the launcher was told in this conversation that each claim holds."""
    growing: bool = False
    """It is being told."""
    ungrown: Failure | None = None
    """Why that failed the last time."""
    lent: frozenset[str] | None = None
    """Devices of the node that came while it runs and are in its container; None: not known, or it
    has none."""
    plugging: bool = False
    """They are being brought, plugged and taken away."""
    unlent: Failure | None = None
    """Why that failed the last time."""
    returned: frozenset[str] = frozenset()
    """Pods that held devices and were told to end."""
    dumping: bool = False
    """Its memory is being written down."""
    dumped: Mapping[str, str] = field(default_factory=dict)
    """By file of a memory dump that is over: what went wrong, "" where nothing did."""


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


@dataclass(frozen=True)
class Known:
    """A VMI and its pod, both there: what all rules but the first two start from."""

    vmi: Json
    pod: Pod
    guest: Guest
    now: float
    predecessor: bool = False
    ailing: tuple[Ailing, ...] | None = None
    holders: tuple[node_plug.Holder, ...] = ()

    @property
    def status(self) -> Json:
        status: Json = self.vmi.get("status") or {}
        return status

    @property
    def phase(self) -> str:
        return lifecycle.phase_of(self.vmi)

    @property
    def deleting(self) -> bool:
        return bool(self.vmi["metadata"].get("deletionTimestamp"))

    @property
    def typed(self) -> VirtualMachineInstance:
        return decode(self.vmi, VirtualMachineInstance)

    @property
    def domain_alive(self) -> DomainChanged | None:
        """The domain, if a guest is there."""
        domain = self.guest.domain
        if domain is None:
            return None
        waits = self.vmi["spec"].get("startStrategy") == "Paused" or bool(_attestation(self.vmi))
        if not lifecycle.alive(domain, starts_paused=waits):
            return None
        return domain

    def enter(self, phase: str) -> Json:
        return lifecycle.enter(self.vmi, phase, HANDLER, self.now)

    def event(self, reason: str, message: str) -> Event:
        return Event(Reference.to(self.vmi, VMIS), "Normal", reason, message)

    def warning(self, reason: str, what: str, remedy: str) -> Event:
        return lifecycle.warning(Reference.to(self.vmi, VMIS), reason, what, remedy)

    def can_tell(self, what: str) -> bool:
        return self.guest.connected and what not in self.guest.told


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
    return _written("nothing of it is left here", known, known.enter("Failed"), [event])


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
    sev = _attestation(seen.vmi)
    if sev and not sev.get("session"):
        # The API must say Scheduled first: then its owner may send what the start rests on.
        return None if seen.phase not in ON_NODE else Plan("its owner's session is awaited")
    if seen.predecessor:
        return Plan("a launcher of before still lives here", again_in=1.0)
    if guest.failure and (wait := _due(guest.failure) - seen.now) > 0:
        return _failed_to_start(seen, guest.failure, wait)
    return Plan("the launcher listens: prepare and start", (Prepare(seen.pod.uid),))


def _attestation(vmi: Json) -> Json:
    """What the spec says of AMD SEV, where its owner wants proof before the guest runs."""
    domain = vmi["spec"].get("domain") or {}
    sev: Json = (domain.get("launchSecurity") or {}).get("sev") or {}
    return sev if sev.get("attestation") is not None else {}


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
    return _written(f"the guest is gone: {phase}", seen, seen.enter(phase), events)


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
    wanted = _own_conditions(seen, domain)
    if seen.pod.ready:
        wanted["Ready"] = conditions.new("Ready", "True")
    changes = seen.enter("Running") | _observed(seen, domain) | _conditions(seen, wanted)
    started = seen.event("Started", "VirtualMachineInstance started.")
    told = [started, *_pause_events(seen, domain), *_device_events(seen)]
    return _written("the guest runs", seen, changes, told)


def moves(seen: Known) -> Plan | None:
    """Something of the guest's is to come, to go, or to grow."""
    for why, work, failure in _work(seen):
        if failure is None or failure.of != work or _due(failure) <= seen.now:
            return Plan(why, (work,))
    return None


def _work(seen: Known) -> Iterator[tuple[str, Any, Failure | None]]:
    """What is to be done with a guest that runs and is not under way, and why it failed the last
    time."""
    guest, domain, pod = seen.guest, seen.domain_alive, seen.pod
    if seen.phase != "Running" or domain is None or not guest.connected:
        return
    found: list[tuple[str, Any, Failure | None]] = []
    if guest.there is not None and not guest.replugging:
        work = node_hotplug.work(seen.vmi, pod.uid, guest.there, _filled(domain))
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
    changes = _observed(seen, domain) | _conditions(seen, _own_conditions(seen, domain))
    changes |= _moving(seen, domain)
    waits = [_due(failure) - seen.now for _, _, failure in _work(seen) if failure]
    again_in = min(waits, default=None)
    if not changes:
        return Plan("a device could not change: wait", again_in=again_in) if again_in else None
    why = f"the domain shows other {', '.join(sorted(changes))}"
    told = [
        *_pause_events(seen, domain),
        *_volume_events(seen, changes),
        *_credential_events(seen, domain),
        *_device_events(seen),
        *_plug_events(seen, domain),
    ]
    return _written(why, seen, changes, told, again_in)


RULES: tuple[Callable[[Known], Plan | None], ...] = (
    over,
    leaving,
    unprepared,
    not_ours,
    ended,
    cannot_start,
    running,
    moves,
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


# The changes below status, and the patch that makes them.


def _observed(seen: Known, domain: DomainChanged) -> Json:
    """The observed fields that differ from the status."""
    changes = {}
    for name, value in observe(seen.typed, domain, seen.pod.ips, seen.pod.networks).items():
        before = seen.status.get(name)
        after = merged(before, value)
        if name in WHOLE:
            there = {each.get("name") for each in value}
            after = [each for each in after if each.get("name") in there]
        if after != before and (after or before):
            changes[name] = after
    if seen.guest.there is not None:
        before = seen.status.get("volumeStatus") or []
        told = changes.pop("volumeStatus", before)
        failure = seen.guest.unplugged.message if seen.guest.unplugged else ""
        after = node_hotplug.status(
            seen.vmi,
            told,
            seen.guest.there,
            _filled(domain),
            failure,
            seen.guest.dumped,
            seen.now,
        )
        if after != before:
            changes["volumeStatus"] = after
    return changes


def _filled(domain: DomainChanged) -> dict[str, str]:
    """The guest's disks; of its CD-ROM drives those that have something in them."""
    return {
        name: target
        for name, target in domain.target_devices.items()
        if name not in domain.empty_drives
    }


def _volume_events(seen: Known, changes: Json) -> list[Event]:
    before = seen.status.get("volumeStatus") or []
    after = changes.get("volumeStatus") or before
    told = [seen.event(reason, message) for reason, message in node_hotplug.news(before, after)]
    failure = seen.guest.unplugged
    if failure and failure.message in _messages(after) - _messages(before):
        remedy = "It is tried again by itself; mend what it names."
        told.append(seen.warning("HotplugFailed", failure.message, remedy))
    return told


def _messages(volumes: list[Json]) -> set[str]:
    return {each.get("message") or "" for each in volumes}


def merged(before: Any, after: Any) -> Any:
    """`after`, with what others wrote into the same object or the same named items of a list."""
    if isinstance(before, dict) and isinstance(after, dict):
        return {**before, **after}
    if not isinstance(before, list) or not isinstance(after, list):
        return after
    if not any(isinstance(each, dict) and "name" in each for each in after):
        return after
    new = {each["name"]: each for each in after if "name" in each}
    kept = [{**each, **new.pop(each["name"], {})} for each in before if "name" in each]
    return [*kept, *new.values(), *(each for each in after if "name" not in each)]


def _own_conditions(seen: Known, domain: DomainChanged) -> dict[str, Condition | None]:
    """Our conditions as they should be; None: not there."""
    reasons = ". ".join([*blocks_migration(seen.typed, domain), IMMOBILE])
    return {
        "LiveMigratable": conditions.new("LiveMigratable", "False", "NotMigratable", reasons),
        "Paused": _paused(domain),
        "AgentConnected": (
            conditions.new("AgentConnected", "True") if domain.agent_connected else None
        ),
        "AgentVersionNotSupported": _old_agent(seen, domain),
        SYNCHRONIZED: _credentials(seen, domain),
        "Synchronized": None,
        OBSTRUCTED: None,
        **_devices(seen),
        node_plug.PLUGGED: _plugged(seen, domain),
    }


def _moving(seen: Known, domain: DomainChanged) -> Json:
    """Of what kinds the devices are that could move with the guest."""
    before = seen.vmi["metadata"].get("annotations") or {}
    said = targets.noted(domain.devices)
    if said == before.get(targets.NEEDS, ""):
        return {}
    others = {name: value for name, value in before.items() if name != targets.NEEDS}
    return {ANNOTATIONS: others | ({targets.NEEDS: said} if said else {})}


def _plugged(seen: Known, domain: DomainChanged) -> Condition | None:
    guest = seen.guest
    failure = guest.unlent.message if guest.unlent else ""
    lent = guest.lent or frozenset()
    return node_plug.condition(seen.vmi, seen.holders, lent, domain.host_devices, failure)


def _plug_events(seen: Known, domain: DomainChanged) -> list[Event]:
    before = conditions.find(conditions.of(seen.vmi), node_plug.PLUGGED) or {}
    after = _plugged(seen, domain) or {}
    if not after or conditions.same(before, after):
        return []
    if after["status"] == "True":
        return [seen.event("HostDevicesPlugged", f"{after['message']}.")]
    if after.get("reason") != node_plug.FAILED:
        return []
    remedy = "It is tried again by itself; mend what it names."
    return [seen.warning(node_plug.FAILED, after["message"], remedy)]


def _devices(seen: Known) -> dict[str, Condition | None]:
    """Whether the node's devices that the guest has are well, where that is known."""
    if seen.ailing is None:
        return {}
    domain = seen.guest.domain
    names = domain.host_devices if domain else {}
    found = node_devices.condition(seen.typed, seen.ailing, names)
    return {node_devices.HEALTHY: found}


def _device_events(seen: Known) -> list[Event]:
    before = conditions.find(conditions.of(seen.vmi), node_devices.HEALTHY) or {}
    after = _devices(seen).get(node_devices.HEALTHY)
    if after is None:
        return []
    if after["status"] == "False" and after.get("message") != before.get("message"):
        remedy = "The condition HostDevicesHealthy says when they are well again."
        return [seen.warning("HostDeviceUnhealthy", after["message"], remedy)]
    if after["status"] == "True" and before.get("status") == "False":
        return [seen.event("HostDeviceHealthy", "The guest's devices of the node are well again.")]
    return []


def _old_agent(seen: Known, domain: DomainChanged) -> Condition | None:
    """Its agent lacks what the API promises, or what the spec's credentials need."""
    wanted = [name for name in domain.agent_lacks if name not in CREDENTIALS]
    kinds = {kind for each in seen.typed.spec.access_credentials or () for kind in _by_agent(each)}
    wanted += [name for name, kind in CREDENTIALS.items() if kind in kinds]
    lacks = [name for name in wanted if name in domain.agent_lacks]
    if not domain.agent_connected or not lacks:
        return None
    message = (
        f"The guest agent does not know, or was told not to do: {', '.join(lacks)}. Update "
        "qemu-guest-agent in the guest, or have it allow these commands."
    )
    return conditions.new("AgentVersionNotSupported", "True", "CommandsMissing", message)


def _by_agent(credential: AccessCredential) -> Iterator[str]:
    keys, password = credential.ssh_public_key, credential.user_password
    if keys and keys.propagation_method.qemu_guest_agent:
        yield "keys"
    if password and password.propagation_method.qemu_guest_agent:
        yield "password"


def _credentials(seen: Known, domain: DomainChanged) -> Condition | None:
    """Whether the guest has the keys and passwords that its agent is to give it."""
    if not access_credentials.by_agent(seen.vmi["spec"]):
        return None
    if domain.credentials == "Synchronized":
        return conditions.new(SYNCHRONIZED, "True")
    if domain.credentials == "Failed":
        return conditions.new(SYNCHRONIZED, "False", "SyncFailed", domain.credentials_message)
    what = "The guest agent is not connected yet; what it is to be given waits"
    return conditions.new(SYNCHRONIZED, "False", "AgentNotConnected", what)


def _credential_events(seen: Known, domain: DomainChanged) -> list[Event]:
    before = conditions.find(conditions.of(seen.vmi), SYNCHRONIZED) or {}
    after = _credentials(seen, domain) or {}
    same = [before.get(each) == after.get(each) for each in ("status", "message")]
    if not domain.credentials or all(same):
        return []
    if domain.credentials == "Synchronized":
        return [seen.event("AccessCredentialsSyncSuccess", "Access credentials sync successful.")]
    what = f"Access credentials sync failed: {domain.credentials_message}"
    remedy = "It is tried again by itself; look for the users, and for a newer agent, in the guest."
    return [seen.warning("AccessCredentialsSyncFailed", what, remedy)]


def _paused(domain: DomainChanged) -> Condition | None:
    if domain.state != "Paused" or domain.reason == "Dump":
        return None  # while its memory is written down, nobody has paused it
    if domain.reason == "IOError":
        message = domain.message or "VMI was paused, an I/O error was detected"
        return conditions.new("Paused", "True", "PausedIOError", message)
    if domain.reason == "Migration":
        message = "VMI was paused by the migration monitor"
        return conditions.new("Paused", "True", "PausedByMigrationMonitor", message)
    return conditions.new("Paused", "True", "PausedByUser", "VMI was paused by user")


def _pause_events(seen: Known, domain: DomainChanged) -> list[Event]:
    wanted = _paused(domain)
    if not wanted or wanted["reason"] != "PausedIOError":
        return []
    before = conditions.find(conditions.of(seen.vmi), "Paused")
    if before and before.get("reason") == "PausedIOError":
        return []
    remedy = "Mend the storage or make room on it, then the guest can go on."
    return [seen.warning("IOerror", wanted["message"], remedy)]


def _conditions(seen: Known, wanted: Mapping[str, Condition | None]) -> Json:
    """`{"conditions": ...}` where one differs; other people's are left as they are."""
    before = after = conditions.of(seen.vmi)
    for kind, condition in wanted.items():
        if condition is None:
            after = conditions.without(after, kind)
        else:
            after = conditions.put(after, condition, seen.now)
    return {"conditions": after} if after != before else {}


def _failed_to_start(seen: Known, failure: Failure, again_in: float | None = None) -> Plan:
    """Tell the user, once, and try again later; before Scheduled the VMI is not ours to write."""
    if again_in is None and not seen.guest.preparing:  # a try under way wakes us when it ends
        again_in = max(_due(failure) - seen.now, 0.0)
    waiting = Plan("the guest could not be started: wait", again_in=again_in)
    if seen.phase not in ON_NODE:
        return waiting
    told = conditions.new("Synchronized", "False", failure.reason, failure.message)
    before = conditions.find(conditions.of(seen.vmi), "Synchronized")
    changes = _conditions(seen, {"Synchronized": told, **_devices(seen)})
    if not changes:
        return waiting
    events = _device_events(seen)
    if before is None or not conditions.same(before, told):
        again = "It is tried again each minute" if failure.final else "It is tried again soon"
        events.append(seen.warning("SyncFailed", failure.message, f"{again}; mend what it names."))
    return _written("the guest could not be started", seen, changes, events, again_in)


def _written(
    why: str, seen: Known, changes: Json, events: list[Event], again_in: float | None = None
) -> Plan:
    """The patch first: an event tells what has been written."""
    return Plan(why, [_patch(seen, changes), *events], again_in=again_in)


def _patch(seen: Known, changes: Json) -> Patch:
    """One JSON patch, of the status and annotations, which fails where what it rests on has
    changed."""
    metadata = seen.vmi["metadata"]
    rests_on = ["/metadata/uid", "/status/phase"]
    rests_on += [_path(name) for name in changes if name != "phase"]
    operations = tests(seen.vmi, *rests_on)
    for name, value in changes.items():
        path = _path(name)
        if value is None:
            operations.append({"op": "remove", "path": path})
        else:
            operations.append({"op": "add", "path": path, "value": value})
    return Patch(VMIS, Key(metadata["namespace"], metadata["name"]), operations, "json")


def _path(name: str) -> str:
    return name if name == ANNOTATIONS else f"/status/{name}"
