"""A VirtualMachine and the instance that its run strategy wants.

What a strategy does: https://kubevirt.io/user-guide/compute/run_strategies/ . A VM's status is
written by nobody but this controller, apart from `stateChangeRequests`, which virt-api adds: so a
patch that takes one away carries the version it was read at.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from virtpod.controllers import (
    conditions,
    instancetype,
    lifecycle,
    memory_dump,
    revision,
    vm_addresses,
    vm_devices,
    vm_interfaces,
    vm_volumes,
)
from virtpod.controllers import vmi as instances
from virtpod.controllers.conditions import Condition
from virtpod.controllers.lifecycle import FINAL
from virtpod.controllers.lifecycle import MACHINE_FINALIZER as FINALIZER
from virtpod.controllers.lifecycle import phase_of as phase
from virtpod.domain.facts import Cluster
from virtpod.kube.plan import Create, Delete, Event, Patch, Plan, Reference
from virtpod.kube.plan import tests as tested
from virtpod.kube.resources import VMIS, VMS, Obj, going, key_of, owner_of

ORPHAN = "orphan"
RECEIVER = "kubevirt.io/create-migration-target"
SLOWEST = 300.0
"""Seconds between two starts of a VM that crashes every time."""
LEGACY_IDENTITY = uuid.UUID("6a1a24a1-4061-4607-8bf4-a3963d0c5895")
"""The name space that a firmware's uuid is made in where the VM has none."""
UNCOPIED = ("Ready", "Failure", "RestartRequired", "ManualRecoveryRequired")
"""Conditions whose meaning on a VM is its own."""


@dataclass(frozen=True)
class Seen:
    vm: Obj
    vmi: Obj | None
    """The instance of the VM's name, whoever owns it; None: none is seen."""
    now: float
    vmi_gone: bool = False
    """There is no instance, and that is more than a cache's silence."""
    refusal: str = ""
    """Why the API server does not take the instance."""
    revision: Obj | None = None
    """What the instance was started from, where the VM has changed since."""
    chosen: instancetype.Chosen = field(default_factory=instancetype.Chosen)
    cluster: Cluster = field(default_factory=Cluster)

    @property
    def ours(self) -> Obj | None:
        """The instance, if it is this VM's."""
        if self.vmi is None:
            return None
        owner = owner_of(self.vmi)
        return self.vmi if owner and owner["uid"] == self.vm["metadata"]["uid"] else None

    @property
    def deleting(self) -> bool:
        return going(self.vm)


@dataclass(frozen=True)
class Decision:
    """What to do, and what the status shall say of it."""

    why: str
    actions: tuple[Any, ...] = ()
    requests: tuple[Obj, ...] = ()
    failure: Obj | None = None
    creating: bool = False
    deleting: bool = False
    again_in: float | None = None
    error: tuple[str, str] | None = None
    """Reason and message of the condition Failure."""
    unstarted: bool = False
    """A start waits, or cannot be: the status goes on with the strategy of before, so that this is
    not taken for a guest that has ended."""


@dataclass(frozen=True)
class State:
    """What the strategies look at."""

    seen: Seen
    vmi: Obj | None
    requests: tuple[Obj, ...]
    failure: Obj | None = field(default=None)

    @property
    def over(self) -> bool:
        return self.vmi is not None and phase(self.vmi) in FINAL

    @property
    def going(self) -> bool:
        return self.vmi is not None and going(self.vmi)

    @property
    def start_asked(self) -> bool:
        return bool(self.requests) and self.requests[0].get("action") == "Start"

    @property
    def stop_asked(self) -> bool:
        """For this instance, and not for one before it."""
        if not self.requests or self.vmi is None:
            return False
        first = self.requests[0]
        return first.get("action") == "Stop" and first.get("uid") == self.vmi["metadata"]["uid"]


def decide(seen: Seen) -> Plan:
    """The strategy's decision, with one status patch, or none where nothing changed."""
    vm = seen.vm
    if seen.deleting:
        return _deleted(seen)
    if seen.vmi is not None and seen.ours is None:
        return _foreign(seen)
    if instancetype.inlined(vm, seen.chosen, seen.cluster):
        return _inline(seen)
    if seen.chosen.renamed:
        return _rename(seen)
    state = State(seen, seen.ours, _pending_requests(seen), _failure(seen))
    decision = STRATEGIES.get(strategy(vm), _unknown)(state)
    actions = [*seen.chosen.copies, *decision.actions]
    if not decision.actions:
        actions += vm_volumes.actions(vm, state.vmi, seen.cluster.gates)
        actions += memory_dump.actions(vm, state.vmi, seen.cluster.gates)
        rollout = seen.cluster.config.vm_rollout_strategy
        actions += vm_interfaces.actions(vm, state.vmi, rollout)
        actions += vm_devices.actions(vm, state.vmi, rollout)
        actions += vm_addresses.actions(vm, state.vmi)
    actions += vm_addresses.events(vm, state.vmi)
    if state.going and state.over and state.vmi is not None and _holds(state.vmi):
        actions.append(_let_go(state.vmi))
    if FINALIZER not in (vm["metadata"].get("finalizers") or []):
        actions.append(_finalizers(vm, add=True))
    return Plan(
        decision.why, actions, _status_patch(seen, state.vmi, decision), again_in=decision.again_in
    )


def _inline(seen: Seen) -> Plan:
    """The cluster's policy is that VMs do not go on referring to what they were made from."""
    vm = seen.vm
    spec = instancetype.owned(vm, seen.chosen, seen.cluster)
    body = {"metadata": {"resourceVersion": vm["metadata"]["resourceVersion"]}, "spec": spec}
    return Plan("what the VM takes becomes its own", [Patch(VMS, key_of(vm), body)])


def _rename(seen: Seen) -> Plan:
    """Its user named a copy that is kept in an older version of the API."""
    vm, renamed = seen.vm, seen.chosen.renamed
    body = {
        "metadata": {"resourceVersion": vm["metadata"]["resourceVersion"]},
        "spec": {which: {"revisionName": name} for which, name in renamed.items()},
    }
    told = ", ".join(f"{which} {name}" for which, name in renamed.items())
    return Plan(
        "a copy that the VM names is upgraded",
        [
            *seen.chosen.copies,
            Patch(VMS, key_of(vm), body),
            _event(vm, "RevisionUpgraded", f"The VM is made from an upgraded copy: {told}"),
        ],
    )


def strategy(vm: Mapping[str, Any]) -> str:
    """The run strategy, also where the deprecated `running` says it."""
    spec = vm["spec"]
    return str(spec.get("runStrategy") or ("Always" if spec.get("running") else "Halted"))


# What each strategy does.


def _always(state: State) -> Decision:
    if state.vmi is None:
        return _start_when_due(state, "the VM shall run")
    if state.going:
        return _wait(state, "its instance is going; another follows")
    if state.over:
        return _stop(state, "its instance ended and shall be replaced")
    if state.stop_asked:
        return _stop(state, "a restart was asked for")
    return _wait(state, "its instance is there")


def _halted(state: State) -> Decision:
    idle = replace(state, failure=None)
    if state.vmi is None and state.start_asked:
        vm = state.seen.vm
        change = {"runStrategy": "Always"} if "runStrategy" in vm["spec"] else {"running": True}
        version = {"resourceVersion": vm["metadata"]["resourceVersion"]}
        turn_on = Patch(VMS, key_of(vm), {"metadata": version, "spec": change})
        return Decision("a start was asked for: it shall run", (turn_on,), state.requests)
    if state.vmi is None:
        return _wait(idle, "the VM is halted")
    if state.going:
        return _wait(idle, "its instance is going")
    return _stop(idle, "the VM shall be halted")


def _manual(state: State) -> Decision:
    idle = replace(state, failure=None)
    if state.vmi is None:
        if state.start_asked:
            return _start(idle, "a start was asked for")
        return _wait(idle, "nobody asked for a start")
    if state.going:
        return _wait(idle, "its instance is going")
    if state.stop_asked:
        return _stop(idle, "a stop was asked for")
    return _wait(idle, "its instance is left to its user")


def _rerun_on_failure(state: State) -> Decision:
    if state.vmi is None:
        seen_before = (state.seen.vm.get("status") or {}).get("runStrategy")
        if state.start_asked or seen_before != "RerunOnFailure":
            decision = _start_when_due(state, "the VM shall run until it ends well")
            return replace(decision, unstarted=not decision.creating)
        # A start that failed before was the last one, and nothing waits for another.
        return _wait(replace(state, failure=None), "its guest ended well")
    if state.going:
        return _wait(state, "its instance is going")
    if state.over and phase(state.vmi) == "Failed":
        again: tuple[Obj, ...] = state.requests if state.start_asked else ({"action": "Start"},)
        return _stop(replace(state, requests=again), "its guest failed: another try follows")
    if state.over:
        return _stop(state, "its guest ended well")
    if state.stop_asked:
        return _stop(state, "a stop was asked for")
    return _wait(state, "its instance is there")


def _once(state: State) -> Decision:
    if state.vmi is None:
        return _start_when_due(state, "the VM shall run once")
    return _wait(state, "it runs, or has run, once")


def _wait_as_receiver(state: State) -> Decision:
    """A guest moves in from another cluster; its VM here only makes room for it."""
    if state.vmi is None:
        return _start_when_due(state, "the VM shall receive a guest")
    if state.stop_asked and not state.going:
        return _stop(state, "a stop was asked for")
    return _wait(state, "its instance is there")


def _unknown(state: State) -> Decision:
    return _wait(state, f"the run strategy {strategy(state.seen.vm)} is not known here")


STRATEGIES: dict[str, Callable[[State], Decision]] = {
    "Always": _always,
    "Halted": _halted,
    "Manual": _manual,
    "RerunOnFailure": _rerun_on_failure,
    "Once": _once,
    "WaitAsReceiver": _wait_as_receiver,
}


def _wait(state: State, why: str) -> Decision:
    return Decision(why, (), state.requests, state.failure)


def _stop(state: State, why: str) -> Decision:
    assert state.vmi is not None
    uid = state.vmi["metadata"]["uid"]
    message = f"Stopped the virtual machine by deleting the virtual machine instance {uid}"
    actions = (
        Delete(VMIS, key_of(state.vmi), uid=uid),
        _event(state.seen.vm, "SuccessfulDelete", message),
    )
    return Decision(why, actions, state.requests, state.failure, deleting=True)


def _start_when_due(state: State, why: str) -> Decision:
    retry = conditions.seconds((state.failure or {}).get("retryAfterTimestamp"))
    left = (retry or 0.0) - state.seen.now
    if left > 0 and not state.start_asked:
        return replace(
            _wait(state, "it crashed at its start: the next try is later"), again_in=left
        )
    return _start(state, why)


def _start(state: State, why: str) -> Decision:
    seen = state.seen
    name = seen.vm["metadata"]["name"]
    if seen.chosen.missing:
        return _misses(state)
    if seen.refusal:
        message = f"Error starting the virtual machine instance: {seen.refusal}"
        return _cannot(state, "FailedCreate", message, "Mend what it names.")
    paused = state.start_asked and (state.requests[0].get("data") or {}).get("paused") == "true"
    try:
        made = instancetype.expanded(seen.chosen, instance(seen.vm, paused=paused), seen.cluster)
    except ValueError as error:
        return _cannot(state, "FailedExpand", str(error), "Choose others that fit together.")
    message = f"Started the virtual machine by creating the new virtual machine instance {name}"
    actions = (
        revision.of(seen.vm),
        Create(VMIS, made),
        _event(seen.vm, "SuccessfulCreate", message),
    )
    left = state.requests[1:] if state.start_asked else state.requests
    return Decision(why, actions, left, state.failure, creating=True)


def _misses(state: State) -> Decision:
    """What its instance is to be made from is not there."""
    which, what = next(iter(state.seen.chosen.missing.items()))
    remedy = "Create it, or name another one in the VM."
    return _cannot(state, f"FailedFind{which.capitalize()}", what, remedy)


def _cannot(state: State, reason: str, what: str, remedy: str) -> Decision:
    """The start is not possible for now: said once, tried again each half minute."""
    vm = state.seen.vm
    failure = conditions.find(conditions.of(vm), "Failure")
    told = lifecycle.warning(Reference.to(vm, VMS), reason, what, f"{remedy} It is tried again.")
    return Decision(
        "it cannot be started now",
        () if failure and failure.get("message") == what else (told,),
        state.requests,
        state.failure,
        again_in=30.0,
        error=(reason, what),
    )


def instance(vm: Obj, *, paused: bool = False) -> Obj:
    """The VMI of a VM: its template, its name, and what must stay the same over restarts."""
    metadata = vm["metadata"]
    name = metadata["name"]
    template = vm["spec"]["template"]
    given = template.get("metadata") or {}
    spec = dict(template.get("spec") or {})
    if spec.get("volumes"):
        spec["volumes"] = memory_dump.without(spec["volumes"])
    firmware = (spec.get("domain") or {}).get("firmware") or {}
    if not firmware.get("uuid"):
        identity = {"uuid": str(uuid.uuid5(LEGACY_IDENTITY, name))}
        spec["domain"] = {**(spec.get("domain") or {}), "firmware": {**firmware, **identity}}
    if paused:
        spec["startStrategy"] = "Paused"
    generation = str(metadata.get("generation") or 0)
    annotations = {
        **(given.get("annotations") or {}),
        **vm_addresses.asked(vm),
        revision.GENERATION: generation,
    }
    if strategy(vm) == "WaitAsReceiver":
        annotations[RECEIVER] = "true"
    return {
        "apiVersion": VMIS.api_version,
        "kind": VMIS.kind,
        "metadata": {
            "name": name,
            "namespace": metadata["namespace"],
            "labels": {**(given.get("labels") or {}), "vm.kubevirt.io/name": name[:63]},
            "annotations": annotations,
            # So that its end is not missed: how it ended tells what is to follow.
            "finalizers": [FINALIZER],
            "ownerReferences": [
                {
                    "apiVersion": VMS.api_version,
                    "kind": VMS.kind,
                    "name": name,
                    "uid": metadata["uid"],
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": spec,
        "status": {"virtualMachineRevisionName": revision.name(metadata["uid"], generation)},
    }


# A VM that goes, and an instance of its name that is not its own.


def _deleted(seen: Seen) -> Plan:
    vm, vmi = seen.vm, seen.ours
    finalizers = vm["metadata"].get("finalizers") or []
    if FINALIZER not in finalizers:
        return Plan("the VM is going, and we are done with it")
    if ORPHAN in finalizers:
        left = [_let_go(vmi)] if vmi is not None and _holds(vmi) else []
        return Plan("the VM goes and leaves its instance", [*left, _finalizers(vm, add=False)])
    decision = Decision("the VM is going", requests=_pending_requests(seen))
    if vmi is None:
        if seen.vmi is None and not seen.vmi_gone:
            return Plan("no instance is seen, which is no proof that there is none", again_in=1.0)
        return Plan("the VM is going and its instance is gone", [_finalizers(vm, add=False)])
    if not going(vmi):
        state = State(seen, vmi, decision.requests)
        decision = _stop(state, "the VM is going: its instance goes first")
    actions = list(decision.actions)
    if phase(vmi) in FINAL and _holds(vmi) and not decision.actions:
        actions.append(_let_go(vmi))
    return Plan(decision.why, actions, _status_patch(seen, vmi, decision))


def _foreign(seen: Seen) -> Plan:
    """Adopt an instance that nobody owns; wait for one that somebody does."""
    vmi = seen.vmi
    assert vmi is not None
    if owner_of(vmi) is None and not going(vmi):
        wanted = instance(seen.vm)["metadata"]["ownerReferences"]
        owners = [*(vmi["metadata"].get("ownerReferences") or []), *wanted]
        finalizers = [*(vmi["metadata"].get("finalizers") or []), FINALIZER]
        body = [
            *tested(vmi, "/metadata/uid", "/metadata/ownerReferences", "/metadata/finalizers"),
            {"op": "add", "path": "/metadata/ownerReferences", "value": owners},
            {"op": "add", "path": "/metadata/finalizers", "value": finalizers},
        ]
        return Plan(
            "an instance of its name is nobody's: adopt it",
            [Patch(VMIS, key_of(vmi), body, "json")],
        )
    message = "There is a virtual machine instance of this name that belongs to something else."
    decision = Decision(
        "an instance of its name is another's",
        requests=tuple((seen.vm.get("status") or {}).get("stateChangeRequests") or ()),
        error=("FailedCreate", message),
    )
    return Plan(decision.why, (), _status_patch(seen, None, decision))


def _holds(vmi: Obj) -> bool:
    return FINALIZER in (vmi["metadata"].get("finalizers") or [])


def _let_go(vmi: Obj) -> Patch:
    """Its end is known: the instance may go as far as we are concerned."""
    left = [name for name in vmi["metadata"]["finalizers"] if name != FINALIZER]
    body = [
        *tested(vmi, "/metadata/uid", "/metadata/finalizers"),
        {"op": "add", "path": "/metadata/finalizers", "value": left},
    ]
    return Patch(VMIS, key_of(vmi), body, "json")


def _finalizers(vm: Obj, *, add: bool) -> Patch:
    have = vm["metadata"].get("finalizers") or []
    wanted = [*have, FINALIZER] if add else [name for name in have if name != FINALIZER]
    body = [
        *tested(vm, "/metadata/uid", "/metadata/finalizers"),
        {"op": "add", "path": "/metadata/finalizers", "value": wanted},
    ]
    return Patch(VMS, key_of(vm), body, "json")


# What the status says.


def _pending_requests(seen: Seen) -> tuple[Obj, ...]:
    """Without those that are done: only the first counts, so they are trimmed from there."""
    requests = list((seen.vm.get("status") or {}).get("stateChangeRequests") or [])
    vmi = seen.ours
    live = vmi is not None and phase(vmi) not in FINAL and not going(vmi)
    uid = vmi["metadata"]["uid"] if vmi is not None else None
    while requests:
        first = requests[0]
        match first.get("action"):
            case "Stop" if vmi is None or not first.get("uid") or first["uid"] != uid:
                requests.pop(0)
            case "Start" if live:
                requests.pop(0)
            case _:
                break
    return tuple(requests)


def _failure(seen: Seen) -> Obj | None:
    """How often in a row the instance ended without ever having run."""
    have: Obj | None = (seen.vm.get("status") or {}).get("startFailure")
    vmi = seen.ours
    if vmi is None:
        return have
    uid = vmi["metadata"]["uid"]
    if lifecycle.ran(vmi):
        return None
    if phase(vmi) not in FINAL or (have or {}).get("lastFailedVMIUID") == uid:
        return have
    count = int((have or {}).get("consecutiveFailCount") or 0) + 1
    after = conditions.stamp(seen.now + _delay(count, uid))
    return {"consecutiveFailCount": count, "lastFailedVMIUID": uid, "retryAfterTimestamp": after}


def _delay(count: int, uid: str) -> float:
    """Seconds: squares of the count, and up to half as much again, so that VMs do not march."""
    delay = 10.0 * count * count
    share = int(sha256(uid.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
    return min(delay + delay / 2 * share, SLOWEST)


def _status_patch(seen: Seen, vmi: Obj | None, decision: Decision) -> Patch | None:
    vm = seen.vm
    have = vm.get("status") or {}
    wanted: Obj = {
        "created": vmi is not None or decision.creating,
        "ready": vmi is not None and conditions.status(conditions.of(vmi), "Ready") == "True",
        "printableStatus": printable(vm, vmi, decision),
        "conditions": _conditions(seen, vmi, decision),
        "stateChangeRequests": list(decision.requests) or None,
        "volumeRequests": vm_volumes.pending(vm, vmi) or None,
        "memoryDumpRequest": memory_dump.request(vm, vmi, seen.now),
        "startFailure": decision.failure,
        "runStrategy": have.get("runStrategy") if decision.unstarted else strategy(vm),
        "observedGeneration": _observed(vm, vmi, decision),
        "desiredGeneration": vm["metadata"].get("generation"),
        **{f"{which}Ref": _ref(seen, which) for which in instancetype.KINDS},
    }
    changed = {name: value for name, value in wanted.items() if have.get(name) != value}
    if not changed:
        return None
    if isinstance(changed.get("startFailure"), dict) and have.get("startFailure"):
        changed["startFailure"] = {**dict.fromkeys(have["startFailure"]), **wanted["startFailure"]}
    body: Obj = {"status": changed}
    rested_on = changed.keys() & {"stateChangeRequests", "volumeRequests", "memoryDumpRequest"}
    if rested_on and not _written_before(seen, decision):
        body["metadata"] = {"resourceVersion": vm["metadata"]["resourceVersion"]}
    return Patch(VMS, key_of(vm), body, "merge", "status")


def _ref(seen: Seen, which: str) -> Obj | None:
    """Stands while the VM names it, also where it cannot be read for now."""
    if not seen.vm["spec"].get(which):
        return None
    have: Obj | None = (seen.vm.get("status") or {}).get(f"{which}Ref")
    return seen.chosen.refs.get(which, have)


def _written_before(seen: Seen, decision: Decision) -> bool:
    """Whether this plan itself makes the version an old one before it comes to the status."""
    if FINALIZER not in (seen.vm["metadata"].get("finalizers") or []):
        return True
    return any(isinstance(action, Patch) and action.resource == VMS for action in decision.actions)


def _observed(vm: Obj, vmi: Obj | None, decision: Decision) -> int | None:
    """The generation of the VM that its instance was made from."""
    if vmi is None:
        generation: int | None = vm["metadata"].get("generation")
        return generation
    made_from = (vmi["metadata"].get("annotations") or {}).get(revision.GENERATION)
    if made_from and made_from.isdigit():
        return int(made_from)
    observed: int | None = (vm.get("status") or {}).get("observedGeneration")
    return observed


def _conditions(seen: Seen, vmi: Obj | None, decision: Decision) -> list[Condition]:
    have = conditions.of(seen.vm)
    kept = [each for each in have if each["type"] == "ManualRecoveryRequired"]
    mirrored = conditions.of(vmi) if vmi is not None else []
    ready = conditions.find(mirrored, "Ready")
    if decision.creating:
        ready = instances.NOT_YET  # as it will say itself: one write less
    elif vmi is None:
        ready = conditions.new("Ready", "False", "VMINotExists", "VMI does not exist")
    elif ready is None:
        ready = conditions.new(
            "Ready", "False", "VMIConditionMissing", "VMI does not say whether it is ready"
        )
    wanted = [_plain(ready), *(_plain(each) for each in mirrored if each["type"] not in UNCOPIED)]
    if addresses := vm_addresses.condition(seen.vm, vmi):
        wanted.append(addresses)
    if decision.error:
        wanted.append(conditions.new("Failure", "True", *decision.error))
    if vmi is not None and seen.revision is not None and not decision.creating:
        rollout = seen.cluster.config.vm_rollout_strategy
        changed = revision.restart_required(seen.vm, seen.revision, rollout)
        wanted += [changed] if changed else []
    result = have
    for condition in wanted:
        result = conditions.put(result, condition, seen.now)
    names = {condition["type"] for condition in (*wanted, *kept)}
    return [condition for condition in result if condition["type"] in names]


def _plain(condition: Condition) -> Condition:
    return conditions.new(
        condition["type"],
        condition["status"],
        condition.get("reason") or "",
        condition.get("message") or "",
    )


def printable(vm: Obj, vmi: Obj | None, decision: Decision) -> str:
    """One word for people; the first that fits."""
    told = conditions.of(vmi) if vmi is not None else []
    now = phase(vmi) if vmi is not None else ""
    over = vmi is None or now in FINAL
    ends = vmi is not None and going(vmi)
    synchronized = conditions.find(told, "Synchronized") or {}
    broken = synchronized.get("reason") if synchronized.get("status") == "False" else None
    scheduled = conditions.find(told, "PodScheduled") or {}
    if going(vm):
        return "Terminating"
    if (ends or decision.deleting) and not over:
        return "Stopping"
    if now == "Running" and _migrating(vmi):
        return "Migrating"
    if now == "Running":
        return "Paused" if conditions.status(told, "Paused") == "True" else "Running"
    if not over and broken == "FailedPvcNotFound":
        return "ErrorPvcNotFound"
    if not over and (scheduled.get("status"), scheduled.get("reason")) == (
        "False",
        "Unschedulable",
    ):
        return "ErrorUnschedulable"
    volumes = conditions.find(told, "DataVolumesReady") or {}
    if not over and volumes.get("reason") == "Failed":
        return "DataVolumeError"
    if not over and conditions.status(told, "Provisioning") == "True":
        return "Provisioning"
    if now in ("Pending", "Scheduling") and _waits_for_volumes(vmi):
        return "WaitingForVolumeBinding"
    if not over and broken in ("ErrImagePull", "ImagePullBackOff"):
        return str(broken)
    if now == "WaitingForSync":
        return "WaitingForReceiver"
    if decision.creating or (not over and now in ("", "Pending", "Scheduling", "Scheduled")):
        return "Starting"
    if over and decision.failure and strategy(vm) in ("Always", "RerunOnFailure", "Once"):
        return "CrashLoopBackOff"
    if over:
        return "Stopped"
    return "Unknown"


def _waits_for_volumes(vmi: Obj | None) -> bool:
    """Whether one of its claims is not bound: it has no capacity then."""
    volumes = ((vmi or {}).get("status") or {}).get("volumeStatus") or ()
    claims = [each.get("persistentVolumeClaimInfo") for each in volumes]
    return any(claim and not claim.get("capacity") for claim in claims)


def _migrating(vmi: Obj | None) -> bool:
    migration = ((vmi or {}).get("status") or {}).get("migrationState") or {}
    return bool(migration.get("startTimestamp") and not migration.get("endTimestamp"))


def _event(vm: Obj, reason: str, message: str) -> Event:
    return Event(Reference.to(vm, VMS), "Normal", reason, message)
