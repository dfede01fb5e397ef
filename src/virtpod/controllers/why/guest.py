"""What is wrong with the guest: not started, crashed, paused, without a device, not ready; or it is
well."""

from __future__ import annotations

from collections.abc import Callable

from virtpod.controllers import node_plug
from virtpod.controllers.why import placing
from virtpod.controllers.why.case import Case, Found, Rule, ended, line, rule, seconds
from virtpod.domain.moving import TARGETS
from virtpod.features.guest import access_credentials
from virtpod.kube.resources import Obj


def _start_failure(reason: str) -> Callable[[Case], str]:
    def message(case: Case) -> str:
        told = case.not_synchronized
        if not case.starting or told.get("reason") != reason:
            return ""
        return str(told.get("message") or reason)

    return message


def _told(case: Case, sentence: str) -> Found:
    events = tuple(line(event) for event in case.life_events("SyncFailed")[:2])
    log = tuple(f"log: {text}" for text in case.seen.log.strip().splitlines()[-8:])
    return Found(ended(sentence), "", (*events, *log), case.vmi_reference())


@rule(
    "ContainerDiskInvalid",
    "broken",
    "An image for a disk holds exactly one file, raw or qcow2, in /disk, readable by uid 107; or "
    "name it in containerDisk.path.",
)
def container_disk_invalid(case: Case) -> Found | None:
    """An image that shall be a disk holds none that can be used."""
    text = _start_failure("ContainerDiskInvalid")(case)
    return _told(case, f"A container disk cannot be used: {text}") if text else None


@rule(
    "ClaimInvalid",
    "broken",
    "A claim for a disk is a block device, or holds the one file disk.img, readable and writable "
    "by group 107.",
)
def claim_invalid(case: Case) -> Found | None:
    """A claim's volume holds no disk that can be used."""
    text = _start_failure("ClaimInvalid")(case)
    return _told(case, f"A claim cannot be used as a disk: {text}") if text else None


@rule(
    "DomainRefused",
    "broken",
    "libvirt's words name the device or the setting: correct it in the VM's spec. What was asked "
    "of libvirt: virtctl explain --only domain.",
)
def domain_refused(case: Case) -> Found | None:
    """libvirt or QEMU does not start the domain."""
    text = _start_failure("DomainRefused")(case)
    return _told(case, f"libvirt does not start the guest: {text}") if text else None


@rule("PreparationFailed", "broken", "Mend what it names; it is tried again by itself.")
def preparation_failed(case: Case) -> Found | None:
    """The launcher cannot make what the guest needs: an overlay, an ISO image."""
    text = _start_failure("PreparationFailed")(case)
    return _told(case, f"The guest's disks cannot be prepared: {text}") if text else None


@rule(
    "NetworkFailed",
    "broken",
    "Look at virt-handler's log on that node; it is tried again by itself.",
)
def network_failed(case: Case) -> Found | None:
    """virt-handler cannot connect the guest to the pod's network."""
    text = _start_failure("NetworkFailed")(case)
    return _told(case, text[:1].upper() + text[1:]) if text else None


@rule(
    "HookFailed",
    "broken",
    "Mend the side-car (its log: kubectl logs POD -c hook-sidecar-0), or take it out of the "
    "annotation hooks.kubevirt.io/hookSidecars; it is asked again by itself.",
)
def hook_failed(case: Case) -> Found | None:
    """A hook side-car does not answer, or refuses."""
    text = _start_failure("HookFailed")(case)
    return _told(case, f"A hook side-car holds the guest up: {text}") if text else None


@rule(
    "StartTimeout",
    "broken",
    "Look at the node's load and at the launcher's log; it is tried again by itself.",
)
def start_timeout(case: Case) -> Found | None:
    """The guest did not start in time."""
    text = _start_failure("StartTimeout")(case)
    return _told(case, text[:1].upper() + text[1:]) if text else None


ELSEWHERE = (
    "FailedCreate",
    "FailedPvcNotFound",
    "FailedNetworkNotFound",
    "VolumeInUse",
    "FailedAttachVolume",
)
"""Reasons that other rules read, and that may be out of date where those found nothing."""


@rule("StartFailed", "broken", "Mend what it names; it is tried again by itself.")
def start_failed(case: Case) -> Found | None:
    """The guest could not be started, for another reason."""
    told = case.not_synchronized
    if not case.starting or not told.get("message") or told.get("reason") in ELSEWHERE:
        return None
    if case.scheduling and case.pod is not None:
        return None  # of a pod on its way the rules above say all
    return _told(case, f"It cannot be started: {told['message']}")


# Ends.


def _stopped(case: Case) -> Obj | None:
    """The event that tells a bad end."""
    found = [event for event in case.life_events("Stopped") if event.get("type") == "Warning"]
    return found[0] if found else None


def _after(case: Case) -> str:
    """How long the guest had run."""
    stamps = ((case.vmi or {}).get("status") or {}).get("phaseTransitionTimestamps") or []
    at = {each.get("phase"): seconds(each.get("phaseTransitionTimestamp")) for each in stamps}
    began, over = at.get("Running"), at.get("Failed") or at.get("Succeeded")
    if began is None or over is None:
        return ""
    took = max(over - began, 0)
    return f" {took:.0f} s after its start" if took < 600 else f" after {took / 60:.0f} minutes"


@rule(
    "GuestPanicked",
    "broken",
    "What it says on its console at its next start tells the cause (virtctl console): often the "
    "kernel found no root disk, or the wrong one.",
)
def guest_panicked(case: Case) -> Found | None:
    """The guest's kernel panicked."""
    if case.vmi is not None and not case.over:
        return None
    events = case.life_events("GuestPanicked")
    if not events or (case.vmi is None and not _is_last(case, events[0])):
        return None
    return Found(
        f"The guest's kernel panicked{_after(case)}.",
        "",
        tuple(line(event) for event in events[:2]),
        case.vmi_reference(),
    )


def _is_last(case: Case, event: Obj) -> bool:
    """Of the warnings about VMIs of this name: those of an earlier life do not count."""
    last = [each for each in case.life_events() if _bad(each)]
    return bool(last) and last[0].get("reason") in (event.get("reason"), "Stopped")


def _bad(event: Obj) -> bool:
    return event.get("type") == "Warning"


@rule(
    "GraceExceeded",
    "halted",
    "Raise terminationGracePeriodSeconds, or let the guest heed its power button.",
)
def grace_exceeded(case: Case) -> Found | None:
    """The guest was asked to power off, did not within its grace period, and was ended."""
    event = _stopped(case)
    if case.phase != "Failed" or event is None or "grace period" not in event.get("message", ""):
        return None
    sentence = "It was asked to power off, did not within its grace period, and was ended."
    return Found(sentence, "", (line(event),), case.vmi_reference())


@rule(
    "GuestCrashed",
    "broken",
    "The launcher's log tells more, and is kept until the VMI is deleted: "
    "kubectl logs POD -c compute.",
)
def guest_crashed(case: Case) -> Found | None:
    """The guest ended badly: QEMU crashed or was killed, or the launcher with it."""
    if case.phase != "Failed":
        return None
    event = _stopped(case)
    text = str((event or {}).get("message") or "").partition(". ")[0]
    because = text.rpartition("crashed: ")[2] if "crashed: " in text else text
    tail = f": {because}" if because and because != "The VirtualMachineInstance crashed" else ""
    evidence = [line(event)] if event else []
    over = (case.compute.get("state") or {}).get("terminated") or {}
    said = str(over.get("message") or case.seen.log or "").strip().splitlines()[-8:]
    evidence += [f"log: {text}" for text in said]
    sentence = f"The guest ended badly{_after(case)}{tail}"
    return Found(ended(sentence), "", tuple(evidence), case.vmi_reference())


@rule("GuestShutDown", "halted", "Start it again: virtctl start.")
def guest_shut_down(case: Case) -> Found | None:
    """The guest shut itself down, in order, and its run strategy leaves it so."""
    if case.phase != "Succeeded":
        return None
    return Found(f"The guest shut down{_after(case)}, in order.", "", (), case.vmi_reference())


# There, but not as one would have it.


@rule(
    "PausedIOError",
    "broken",
    "Mend the storage or make room on it; then virtctl unpause vmi.",
)
def paused_io_error(case: Case) -> Found | None:
    """A disk failed or is full, so the guest was paused before it could lose data."""
    told = case.told("Paused")
    if told.get("status") != "True" or told.get("reason") != "PausedIOError":
        return None
    text = str(told.get("message") or "an I/O error")
    events = tuple(line(event) for event in case.life_events("IOerror")[:2])
    return Found(ended(f"It is paused: {text}"), "", events, case.vmi_reference())


@rule("Paused", "halted", "Let it go on: virtctl unpause vmi.")
def paused(case: Case) -> Found | None:
    """Somebody paused it, or it was started paused."""
    told = case.told("Paused")
    if case.phase != "Running" or told.get("status") != "True":
        return None
    since = told.get("lastTransitionTime")
    text = ended(str(told.get("message") or "it was paused")).rstrip(".")
    return Found(
        f"It is paused{f' since {since}' if since else ''}: {text}.", "", (), case.vmi_reference()
    )


@rule(
    "DeviceNotPlugged",
    "broken",
    "Mend what it names; it is tried again by itself. What the template has is in the guest from "
    "its next start on: virtctl restart.",
)
def device_not_plugged(case: Case) -> Found | None:
    """A device of the node does not get into the running guest, or out of it."""
    text = _device_awaited(case, node_plug.FAILED)
    return _of_devices(case, "It runs, but a device does not get in or out", text)


@rule(
    "DeviceNotFree",
    "broken",
    "Stop what has one on that node, take the device out of the template, or restart the VM: the "
    "scheduler then looks for a node that has all its devices.",
)
def device_not_free(case: Case) -> Found | None:
    """A device that is to come into the running guest cannot be had on its node."""
    text = _device_awaited(case, node_plug.PENDING)
    text = text if placing.judged(text) else ""
    return _of_devices(case, "It runs, but its node cannot give it a device", text)


@rule(
    "DeviceComing",
    "waits",
    "Wait a little, then ask again: a guest that still boots lets no device go. What keeps a pod "
    "that it names: kubectl describe pod.",
)
def device_coming(case: Case) -> Found | None:
    """A device of the node is on its way into the running guest, or out of it."""
    text = _device_awaited(case, node_plug.PENDING, node_plug.LEAVING)
    return _of_devices(case, "It runs, and its devices are being changed", text)


def _device_awaited(case: Case, *reasons: str) -> str:
    """What is said of devices that come or go, where that is for one of the reasons."""
    told = case.told(node_plug.ALL_PLUGGED)
    if case.phase != "Running" or told.get("status") != "False":
        return ""
    return str(told.get("message") or "") if told.get("reason") in reasons else ""


def _of_devices(case: Case, sentence: str, text: str) -> Found | None:
    return Found(ended(f"{sentence}: {text}"), "", (), case.vmi_reference()) if text else None


@rule(
    "AgentMissing",
    "broken",
    "Install and start qemu-guest-agent in the guest, or take away what needs it: agent probes, "
    "accessCredentials.",
)
def agent_missing(case: Case) -> Found | None:
    """The guest agent does not answer, and something in the VM's spec needs it."""
    if case.phase != "Running" or case.told("AgentConnected").get("status") == "True":
        return None
    if not (needs := _needs_agent((case.vmi or {}).get("spec") or {})):
        return None
    return Found(
        f"The guest agent is not connected, which {needs} needs.", "", (), case.vmi_reference()
    )


def _needs_agent(spec: Obj) -> str:
    for name in ("readinessProbe", "livenessProbe"):
        probe = spec.get(name) or {}
        if "guestAgentPing" in probe or "exec" in probe:
            return f"its {name}"
    return "accessCredentials" if access_credentials.by_agent(spec) else ""


@rule(
    "PodTerminating",
    "broken",
    "To stop a guest, stop its VirtualMachine; a VirtualMachine that shall run starts anew.",
)
def pod_terminating(case: Case) -> Found | None:
    """Its pod was deleted, and the guest is shut down."""
    if case.phase != "Running" or case.pod is None:
        return None
    since = case.pod["metadata"].get("deletionTimestamp")
    if not since:
        return None
    return Found(
        f"Its pod is deleted and the guest shut down, by {since} at last.",
        "",
        (),
        case.pod_reference(),
    )


@rule(
    "NotReady",
    "broken",
    "Look into the guest: virtctl console. A probe asks for what its readinessProbe says.",
)
def not_ready(case: Case) -> Found | None:
    """The guest runs, but its readiness probe does not succeed."""
    told = case.told("Ready")
    if case.phase != "Running" or told.get("status") != "False":
        return None
    events = case.pod_events("Unhealthy")
    text = str((events[0] if events else told).get("message") or told.get("reason") or "no word")
    return Found(
        ended(f"It runs, but is not ready: {text}"),
        "",
        tuple(line(event) for event in events[:2]),
        case.pod_reference(),
    )


@rule("Running", "runs")
def runs(case: Case) -> Found | None:
    """All is well."""
    if case.phase != "Running" or case.vmi is None:
        return None
    status = case.vmi["status"]
    stamps = status.get("phaseTransitionTimestamps") or []
    at = {each.get("phase"): each.get("phaseTransitionTimestamp") for each in stamps}
    since = f" since {at['Running']}" if at.get("Running") else ""
    where = f" on {case.node}" if case.node else ""
    ready = case.told("Ready").get("status") == "True"
    agent = case.told("AgentConnected").get("status") == "True"
    evidence = [] if agent else ["the guest agent is not connected; nothing in its spec needs it"]
    if _is_to_move(case):
        evidence += [
            f"{what}: {told}" for kind, what in MOVING.items() if (told := _no(case, kind))
        ]
    waits = case.told("RestartRequired", case.seen.vm or {})
    if waits.get("status") == "True":
        evidence.append(f"its template has changed: {waits.get('message') or 'restart the VM'}")
    evidence += [f"an instance before this one: {line(event)}" for event in _before(case)[:2]]
    said = f"It runs{since}{where}, its readiness is not known."
    if ready:
        said = f"All is well: it runs{since}{where}, ready."
    return Found(said, "", tuple(evidence), case.vmi_reference())


MOVING = {
    "LiveMigratable": "it cannot be migrated",
    TARGETS: "no other node could take it",
}
"""Conditions of a guest that is to move, and what it means where they do not hold."""


def _is_to_move(case: Case) -> bool:
    """Whether it was asked to leave its node, or its or the cluster's evictionStrategy says that it
    moves when it is."""
    if case.vmi is None:
        return False
    asked = (case.vmi.get("status") or {}).get("evacuationNodeName")
    default = ((case.seen.kubevirt or {}).get("spec") or {}).get("configuration") or {}
    strategy = case.vmi["spec"].get("evictionStrategy") or default.get("evictionStrategy") or "None"
    return bool(asked) or strategy != "None"


def _no(case: Case, kind: str) -> str:
    """Why a condition does not hold."""
    told = case.told(kind)
    if told.get("status") != "False":
        return ""
    return str(told.get("message") or told.get("reason") or "no word")


def _before(case: Case) -> list[Obj]:
    """Warnings about earlier instances of its name: why it had to start anew."""
    uid = case.vmi["metadata"].get("uid") if case.vmi else None
    warnings = [event for event in case.events(kind="VirtualMachineInstance") if _bad(event)]
    return [event for event in warnings if event["involvedObject"].get("uid") not in (None, uid)]


START: tuple[Rule, ...] = (
    container_disk_invalid,
    claim_invalid,
    domain_refused,
    preparation_failed,
    network_failed,
    hook_failed,
    start_timeout,
    start_failed,
)
ENDS: tuple[Rule, ...] = (guest_panicked, grace_exceeded, guest_crashed, guest_shut_down)
THERE: tuple[Rule, ...] = (
    paused_io_error,
    pod_terminating,
    paused,
    device_not_plugged,
    device_not_free,
    agent_missing,
    not_ready,
    device_coming,
    runs,
)
