"""What a VirtualMachine wants, and who wants it so; and what is simply on its way."""

from __future__ import annotations

from virtpod.controllers.why import guest, launcher
from virtpod.controllers.why.case import Case, Found, Rule, ended, line, rule, seconds
from virtpod.kube.resources import Obj, owner_of

PATIENCE = 30.0
"""Seconds in which virt-controller may take notice of something new."""
LATE = 60.0
"""Seconds beyond its grace period after which a deletion is stuck."""
STOPPERS = {"virt-api": "virtctl stop, or the stop subresource"}
"""Field managers whose name says less than what was done."""


def strategy(vm: Obj) -> str:
    spec = vm.get("spec") or {}
    return str(spec.get("runStrategy") or ("Always" if spec.get("running") else "Halted"))


def _wants(case: Case) -> bool:
    """There is no VMI, and the VM wants one."""
    return case.seen.vm is not None and case.vmi is None


@rule("NotFound", "broken", "Look for its name: kubectl get vm,vmi.")
def not_found(case: Case) -> Found | None:
    """There is neither a VirtualMachine nor a VirtualMachineInstance of that name."""
    if case.seen.vm is not None or case.vmi is not None:
        return None
    return Found("There is no VirtualMachine and no VirtualMachineInstance of that name.")


@rule(
    "NameTaken",
    "broken",
    "Delete the other one, or give the VirtualMachine another name.",
)
def name_taken(case: Case) -> Found | None:
    """A VirtualMachineInstance of the VM's name belongs to somebody else."""
    if case.seen.vm is None or case.vmi is None:
        return None
    owner = owner_of(case.vmi)
    if owner is None or owner["uid"] == case.seen.vm["metadata"]["uid"]:
        return None
    sentence = f"A VirtualMachineInstance of its name belongs to {owner['kind']} {owner['name']}."
    return Found(sentence, "", (), case.vmi_reference())


@rule(
    "DeletionStuck",
    "broken",
    "Whoever set the finalizer takes it away once its work is done: look at its logs. For "
    "Virtpod's own: virt-controller and, while the guest is there, virt-handler on its node.",
)
def deletion_stuck(case: Case) -> Found | None:
    """It is being deleted, and that takes longer than it should."""
    for obj in (case.vmi, case.seen.vm):
        since = seconds(((obj or {}).get("metadata") or {}).get("deletionTimestamp"))
        if obj is None or since is None:
            continue
        allowed = _grace(case) + LATE
        if case.seen.now - since <= allowed:
            return None
        held = ", ".join(obj["metadata"].get("finalizers") or []) or "none"
        pods = [pod["metadata"]["name"] for pod in case.seen.pods]
        left = f"; its pod {pods[0]} is still there" if pods else ""
        sentence = f"Its deletion was asked for at {_stamp(obj)} and is not done{left}."
        return Found(sentence, "", (f"finalizers: {held}",), case.vmi_reference())
    return None


def _grace(case: Case) -> float:
    source = case.vmi or ((case.seen.vm or {}).get("spec") or {}).get("template") or {}
    grace = (source.get("spec") or {}).get("terminationGracePeriodSeconds")
    return float(30 if grace is None else grace)


def _stamp(obj: Obj) -> str:
    return str(obj["metadata"]["deletionTimestamp"])


@rule("Deleting", "halted")
def deleting(case: Case) -> Found | None:
    """It is being deleted."""
    for obj, what in ((case.seen.vm, "VirtualMachine"), (case.vmi, "VirtualMachineInstance")):
        if obj is not None and obj["metadata"].get("deletionTimestamp"):
            again = ""
            if what == "VirtualMachineInstance" and case.seen.vm is not None:
                again = {"Always": " Another follows."}.get(strategy(case.seen.vm), "")
            return Found(f"The {what} is being deleted since {_stamp(obj)}.{again}")
    return None


@rule(
    "CrashLoopBackOff",
    "broken",
    "Mend what it names; virtctl start tries at once.",
)
def crash_loop(case: Case) -> Found | None:
    """It failed to start, again and again; the next try is later."""
    vm = case.seen.vm
    failure = ((vm or {}).get("status") or {}).get("startFailure") or {}
    if vm is None or not failure or not (case.vmi is None or case.over):
        return None
    if strategy(vm) == "Halted":
        return None
    count = int(failure.get("consecutiveFailCount") or 1)
    again = failure.get("retryAfterTimestamp")
    due = f" The next try is at {again}." if again else ""
    last, evidence, remedy = _last_failure(case)
    times = "once" if count == 1 else f"{count} times in a row"
    sentence = ended(f"It failed to start {times}{': ' + last if last else ''}")
    return Found(f"{sentence}{due}", remedy, evidence, case.vm_reference())


def _last_failure(case: Case) -> tuple[str, tuple[str, ...], str]:
    """Why the last try failed: from what is left of it, or else from what was told then."""
    if case.over:
        for each in (*launcher.POD, *guest.ENDS):
            if (found := each(case)) and found.state == "broken":
                return found.sentence, found.evidence, found.remedy
    if found := guest.guest_panicked(case):
        return found.sentence, found.evidence, found.remedy
    warnings = [event for event in case.life_events() if event.get("type") == "Warning"]
    if not warnings:
        return "", (), ""
    said = str(warnings[0].get("message") or warnings[0].get("reason") or "")
    what, _, remedy = said.partition(". ")
    return what, tuple(line(event) for event in warnings[:3]), remedy


@rule("Halted", "halted", "Start it: virtctl start.")
def halted(case: Case) -> Found | None:
    """Its run strategy says that it shall not run."""
    vm = case.seen.vm
    if vm is None or case.vmi is not None or strategy(vm) != "Halted":
        return None
    who, at, field = _who(vm)
    by = f", set by {who} at {at}" if who else ""
    return Found(f"It is halted: {field}{by}.", "", (), case.vm_reference())


def _who(vm: Obj) -> tuple[str, str, str]:
    """Who last wrote the run strategy, when, and which field says it."""
    spec = vm.get("spec") or {}
    name = "runStrategy" if spec.get("runStrategy") else "running"
    field = f"runStrategy is {spec['runStrategy']}" if name == "runStrategy" else "running is false"
    entries = [
        entry
        for entry in vm["metadata"].get("managedFields") or []
        if f"f:{name}" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
    ]
    if not entries:
        return "", "", field
    last = max(entries, key=lambda entry: entry.get("time") or "")
    manager = str(last.get("manager") or "somebody")
    if manager.startswith("virt-api"):
        manager = STOPPERS["virt-api"]
    return manager, str(last.get("time") or ""), field


@rule("NotAsked", "halted", "Start it: virtctl start.")
def not_asked(case: Case) -> Found | None:
    """Its run strategy leaves it to its user whether it runs, and nobody asked for it."""
    vm = case.seen.vm
    if vm is None or case.vmi is not None or strategy(vm) != "Manual":
        return None
    if (vm.get("status") or {}).get("stateChangeRequests"):
        return None
    return Found("Its run strategy is Manual, and nobody asked for a start.")


@rule("Done", "halted", "Start it again: virtctl start; or choose the run strategy Always.")
def done(case: Case) -> Found | None:
    """Its guest ended well, and its run strategy starts none after that."""
    vm = case.seen.vm
    if vm is None or case.vmi is not None or strategy(vm) not in ("RerunOnFailure", "Once"):
        return None
    status = vm.get("status") or {}
    if status.get("runStrategy") != strategy(vm) or status.get("stateChangeRequests"):
        return None
    return Found(f"Its guest ended, and the run strategy {strategy(vm)} leaves it so.")


@rule("WaitsForGuest", "waits")
def waits_for_guest(case: Case) -> Found | None:
    """It waits for a guest that is to move in from elsewhere."""
    vm = case.seen.vm
    waits = vm is not None and case.vmi is None and strategy(vm) == "WaitAsReceiver"
    if not waits and case.phase != "WaitingForSync":
        return None
    return Found("It waits for a guest that is to move in from elsewhere.")


@rule(
    "NotInstalled",
    "broken",
    "Look at the KubeVirt object's conditions and at virt-operator's log.",
)
def not_installed(case: Case) -> Found | None:
    """Virtpod itself is not there, or not ready."""
    kubevirt = case.seen.kubevirt
    phase = ((kubevirt or {}).get("status") or {}).get("phase")
    if kubevirt is None or phase == "Deployed" or not _unseen(case):
        return None
    return Found(f"Virtpod itself is not ready: the KubeVirt object is {phase or 'new'}.")


@rule(
    "ControllerSilent",
    "broken",
    "Look at the Deployment virt-controller in Virtpod's namespace and at its log.",
)
def controller_silent(case: Case) -> Found | None:
    """virt-controller has not taken notice of it."""
    if not _unseen(case):
        return None
    return Found("virt-controller has not taken notice of it.", "", (), case.vmi_reference())


def _unseen(case: Case) -> bool:
    """Whether nobody has done anything about it for a while."""
    newest = case.vmi or case.seen.vm
    if newest is None or case.phase not in ("", "Pending") or case.pod is not None:
        return False
    made = seconds(newest["metadata"].get("creationTimestamp"))
    if case.vmi is None and (newest.get("status") or {}).get("created"):
        return False
    return made is not None and case.seen.now - made > PATIENCE


@rule("Starting", "waits", "Wait a little, then ask again.")
def starting(case: Case) -> Found | None:
    """It is on its way, and nothing is known to be wrong."""
    if case.vmi is None:
        return Found("Its VirtualMachineInstance is about to be created.")
    if case.pod is None:
        return Found("Its pod is about to be created.")
    if case.phase == "Scheduled":
        return Found(f"The launcher on {case.node} starts the guest.")
    if not case.node:
        return Found("Its pod waits for the scheduler.")
    pulling = case.pod_events("Pulling")
    if pulling and not case.pod_events("Pulled", "Created"):
        return Found(ended(f"Its node pulls an image: {pulling[0].get('message', '')}"))
    return Found(f"Its pod is starting on {case.node}.")


FIRST: tuple[Rule, ...] = (not_found, name_taken, deletion_stuck, deleting, crash_loop)
WITHOUT: tuple[Rule, ...] = (halted, not_asked, done, waits_for_guest)
LAST: tuple[Rule, ...] = (not_installed, controller_silent, starting)
