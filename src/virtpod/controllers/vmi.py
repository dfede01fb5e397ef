"""A VirtualMachineInstance and its launcher pod.

Until the VMI is Scheduled, virt-controller owns it; from then on virt-handler does, and what is
written here are JSON patches that `test` what they rest on. A pod that the cache does not show is
not a pod that is gone: `Seen.pod_gone` is true only where that was proved.

The phases: https://kubevirt.io/user-guide/user_workloads/lifecycle/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from virtpod.api.base import decode
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.controllers import (
    attached_devices,
    claims,
    conditions,
    hotplug,
    lifecycle,
    networks,
    obstruction,
)
from virtpod.controllers.conditions import Condition
from virtpod.controllers.launcher_pod import end_of, ended, outlived, running, waiting
from virtpod.controllers.lifecycle import CONTROLLER, FINAL, MACHINE_FINALIZER, ON_NODE
from virtpod.controllers.node import ALARM, REMEDY, Standing, drain
from virtpod.controllers.why import OBSTRUCTED
from virtpod.domain.facts import Cluster
from virtpod.features.machine import state
from virtpod.features.network.multus import NETWORKS
from virtpod.kube.plan import Create, Delete, Event, Patch, Plan, Reference, pointer
from virtpod.kube.plan import tests as tested
from virtpod.kube.resources import PODS, PVCS, VMIS, Key, Obj, going, key_of, owner_of
from virtpod.render import pod as rendered
from virtpod.render.attachment import NODE_LABEL

FINALIZER = "kubevirt.io/foregroundDeleteVirtualMachine"
RECEIVER = "kubevirt.io/create-migration-target"
"""Annotation of a VMI whose guest moves in from elsewhere."""
WAITS = ("", "Pending", "WaitingForSync")
SILENT = "NodeUnresponsive"
RECHECK = 10.0
"""Seconds until a doubt is looked into again, should no change tell of its end."""
UNNOTICED = 60.0
"""Seconds after a pod's end in which virt-handler, who knows more, may say how the guest ended."""
NETWORK_AGAIN = 5.0
"""Seconds after which a missing network is looked for: nobody watches them."""
LOOK_AGAIN = 60.0
"""Seconds after which a claim is looked for that nobody told us of."""
LEAVE = conditions.new(
    "EvictionRequested", "True", "EvictionRequested", "VMI is marked for eviction"
)
NOT_YET = conditions.new("Ready", "False", "GuestNotRunning", "The guest is not running.")


@dataclass(frozen=True)
class Seen:
    """A VMI as it was read, and the pods that its uid controls."""

    vmi: Obj
    pods: Sequence[Obj]
    cluster: Cluster
    now: float
    pod_gone: bool = False
    """No pod is there, and that is more than a cache's silence."""
    machine_gone: bool = False
    """The VM that holds it with a finalizer is not there any more."""
    refusal: str = ""
    """Why the API server does not take the pod, or the claim that goes with it."""
    refused: str = ""
    """The resource that this is of."""
    claims: Mapping[str, Obj] = field(default_factory=dict)
    """Of a VMI that has no pod yet, or whose volumes come and go: what is known of each claim it
    names that is there."""
    holders: Mapping[str, str] = field(default_factory=dict)
    """Claims that another VMI has, and its name."""
    attached: Mapping[str, str] = field(default_factory=dict)
    """Claims whose volume is attached to a node that is lost, and its name."""
    networks: Mapping[Key, Obj | None] = field(default_factory=dict)
    """Of a VMI that has no pod yet: each NetworkAttachmentDefinition that it names, None where it
    is not there."""
    ended_for: float = 0.0
    """Seconds since the pod was first seen to have ended, by this process's own clock: a node's
    clock may be minutes away."""
    node: Standing | None = None
    """The node that its pod is or was on, where that is known."""
    doubt: str = ""
    """Why its guest may run though its pod is gone: `node.doubt`."""
    cid: int = 0
    """The vsock context ID that it may have, where it is to have one."""
    lost_pod: str = ""
    """The uid of the pod that was seen to vanish."""
    attachments: Sequence[Obj] = ()
    """The pods that its launcher's pod owns: they hold volumes and devices that come and go."""
    around: obstruction.Around = field(default_factory=obstruction.Around)
    """Of a VMI that does not get on."""

    @property
    def phase(self) -> str:
        return lifecycle.phase_of(self.vmi)

    @property
    def deleting(self) -> bool:
        return going(self.vmi)

    @property
    def final(self) -> bool:
        return self.phase in FINAL

    @property
    def pod(self) -> Obj | None:
        """The pod that matters: one that is still good for something before one that is not."""
        return min(self.pods, key=lambda pod: (ended(pod), going(pod)), default=None)


Rule = Callable[[Seen], Plan | None]


def decide(seen: Seen) -> Plan:
    """What the first rule says whose situation this is."""
    for rule in RULES:
        if plan := rule(seen):
            return plan
    return Plan("nothing to do")


def owns(vmi: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    """By uid: labels and names can be forged, and a name can be had again."""
    owner = owner_of(pod)
    return owner is not None and owner["uid"] == vmi["metadata"]["uid"]


# The rules, in the order in which they are asked.


def deleted_with_pods(seen: Seen) -> Plan | None:
    """The VMI goes: so do its pods; the launcher hands the pod's termination on to the guest."""
    if not seen.deleting or not seen.pods:
        return None
    standing = [pod for pod in seen.pods if not going(pod)]
    if not standing:
        # Nobody waits for the readiness of a guest that is going: no write for it.
        return Plan("its pod is terminating")
    actions: list[Any] = []
    for pod in standing:
        name = pod["metadata"]["name"]
        actions.append(Delete(PODS, key_of(pod), uid=pod["metadata"]["uid"]))
        actions.append(_event(seen, "SuccessfulDelete", f"Deleted virtual machine pod {name}"))
    return Plan("the VMI is being deleted: its pod goes first", actions)


def guest_may_run(seen: Seen) -> Plan | None:
    """The API has forgotten the pod, which a node that is cut off has not: nothing ends here, so
    that nothing starts elsewhere."""
    if seen.pods or not seen.pod_gone or not seen.doubt:
        return None
    changes = _Changes(seen)
    changes.condition(_readiness(seen))
    told: list[Event] = []
    if seen.phase == "Scheduling" and seen.node and seen.lost_pod:
        _on_node(changes, seen.node.name, seen.lost_pod)  # whose virt-handler will have the word
    if seen.node and seen.node.alarming:
        told = _tell_silence(changes, seen.doubt)
    # Else its kubelet is at it, and virt-handler has the word within seconds: no cause for alarm.
    return changes.plan("its guest may still run", told, again_in=RECHECK)


def deleted_without_pods(seen: Seen) -> Plan | None:
    """The VMI goes and nothing of it is left: let it go."""
    if not seen.deleting or not seen.pod_gone:
        return None
    changes = _Changes(seen)
    if not seen.final:
        changes.phase("Failed")
    changes.release()
    return changes.plan("the VMI is being deleted and no pod is left")


def final(seen: Seen) -> Plan | None:
    """Its life is over; the pod stays for its log until somebody deletes the VMI, unless
    containers go on in it that serve a disk to nobody."""
    if not seen.final:
        return None
    changes = _Changes(seen)
    held = [pod for pod in seen.attachments if not going(pod)]
    if held:
        # Nobody uses what they hold: they need no time.
        actions = [Delete(PODS, key_of(pod), uid=pod["metadata"]["uid"], grace=1) for pod in held]
        return changes.plan("the guest's life is over, and pods still hold what it had", actions)
    left = [pod for pod in seen.pods if ended(pod) and outlived(pod) and not going(pod)]
    if left:
        uids = [(key_of(pod), pod["metadata"]["uid"]) for pod in left]
        actions = [Delete(PODS, key, uid=uid) for key, uid in uids]
        return changes.plan("the guest's life is over, and its side-cars go on", actions)
    if not seen.pods and seen.pod_gone:
        changes.release()
    if conditions.status(changes.conditions, "Ready") == "True":
        changes.condition(_readiness(seen))
    settles = obstruction.settles_in(seen.vmi, seen.now)
    if settles == 0:
        changes.obstruction()
    return changes.plan("the guest's life is over", again_in=settles or None)


def refused_pod(seen: Seen) -> Plan | None:
    """The API server does not take the pod: a quota, a policy. Say so and try again later."""
    if not seen.refusal or seen.pods or seen.deleting:
        return None
    changes = _Changes(seen)
    problem = conditions.new("Synchronized", "False", "FailedCreate", seen.refusal)
    before = conditions.find(changes.conditions, "Synchronized")
    if before and conditions.same(before, problem):
        return Plan("the pod is refused, as has been said", again_in=30.0)
    changes.condition(problem)
    changes.obstruction()
    reason, what = "FailedCreate", "virtual machine pod"
    if seen.refused == PVCS.plural:
        reason, what = "FailedBackendStorageCreate", "the claim of what TPM and EFI remember"
    event = _warning(
        seen,
        reason,
        f"Error creating {what}: {seen.refusal}",
        "Make room for it, or have the policy changed that forbids it: it is tried again.",
    )
    return changes.plan("the pod is refused", [event], again_in=30.0)


def waits_for_claims(seen: Seen) -> Plan | None:
    """A disk's claim is not there, or somebody else has it: no pod before that has changed."""
    if seen.phase not in ("", "Pending") or seen.pods or seen.deleting:
        return None
    problem = claims.problem(seen.vmi, seen.claims, seen.holders, seen.attached)
    if problem is None:
        return None
    reason, what, remedy = problem
    why = claims.WHY[reason]
    changes = _Changes(seen)
    told = conditions.new("Synchronized", "False", reason, what)
    before = conditions.find(changes.conditions, "Synchronized")
    if before and conditions.same(before, told) and seen.phase:
        return Plan(f"{why}, as has been said", again_in=LOOK_AGAIN)
    if not seen.phase:
        changes.phase("Pending")
    changes.condition(told)
    changes.condition(conditions.new("PodScheduled", "False", "Unschedulable", what))
    if ready := claims.data_volumes(seen.vmi, seen.claims):
        changes.condition(ready)
    changes.obstruction()
    event = _warning(seen, reason, what, remedy)
    return changes.plan(why, [event], again_in=LOOK_AGAIN)


def needs_cid(seen: Seen) -> Plan | None:
    """Written before there is a pod: its launcher starts the guest as soon as it sees it."""
    had = (seen.vmi.get("status") or {}).get("VSOCKCID")
    if not seen.cid or had or seen.phase not in ("", "Pending") or seen.pods or seen.deleting:
        return None
    changes = _Changes(seen)
    changes.set("/status/VSOCKCID", seen.cid)
    return changes.plan("its guest is given a vsock context ID")


def waits_for_networks(seen: Seen) -> Plan | None:
    """A NetworkAttachmentDefinition is not there: no pod before it is."""
    if seen.phase not in ("", "Pending") or seen.pods or seen.deleting:
        return None
    what = networks.problem(seen.vmi, seen.networks)
    if not what:
        return None
    changes = _Changes(seen)
    told = conditions.new("Synchronized", "False", networks.MISSING, what)
    before = conditions.find(changes.conditions, "Synchronized")
    if before and conditions.same(before, told) and seen.phase:
        return Plan("a network is missing, as has been said", again_in=NETWORK_AGAIN)
    if not seen.phase:
        changes.phase("Pending")
    changes.condition(told)
    changes.obstruction()
    event = _warning(seen, networks.MISSING, what, networks.REMEDY)
    return changes.plan("a network is missing", [event], again_in=NETWORK_AGAIN)


def needs_pod(seen: Seen) -> Plan | None:
    """New: make the pod, say that its gate is open, and enter Scheduling."""
    if seen.phase not in ("", "Pending") or seen.pods or seen.deleting:
        return None
    disks = claims.volume_status(seen.vmi, seen.claims)
    known = {**(seen.vmi.get("status") or {}), "volumeStatus": disks}
    vmi = decode({**seen.vmi, "status": known}, VirtualMachineInstance)
    manifest = rendered.pod(vmi, replace(seen.cluster, networks=networks.resources(seen.networks)))
    kept = [state.claim(vmi, seen.cluster)] if state.asked(vmi) else []
    name = manifest["metadata"]["name"]
    changes = _scheduling(seen)
    return changes.plan(
        "a new VMI needs its pod",
        [
            *(Create(PVCS, claim, unless_there=True) for claim in kept),
            Create(PODS, manifest),
            _event(seen, "SuccessfulCreate", f"Created virtual machine pod {name}"),
        ],
        after=[_gate(key_of(manifest), open=True)],
    )


def has_pod_already(seen: Seen) -> Plan | None:
    """The pod was made, but nobody came to say so: adopt it."""
    if seen.phase not in ("", "Pending") or not seen.pods or seen.deleting:
        return None
    return _scheduling(seen).plan("its pod is there already")


def _scheduling(seen: Seen) -> _Changes:
    changes = _Changes(seen)
    changes.phase("Scheduling")
    changes.drop("Synchronized", "PodScheduled", OBSTRUCTED)
    changes.condition(NOT_YET)
    if disks := claims.volume_status(seen.vmi, seen.claims):
        changes.set("/status/volumeStatus", disks)
    if ready := claims.data_volumes(seen.vmi, seen.claims):
        changes.condition(ready)
    return changes


def receives(seen: Seen) -> Plan | None:
    """Its guest runs elsewhere and is to move in: its pod is made when the move begins."""
    annotations = seen.vmi["metadata"].get("annotations") or {}
    if seen.pods or seen.deleting or annotations.get(RECEIVER) != "true":
        return None
    changes = _Changes(seen)
    if seen.phase in ("", "Pending"):
        changes.phase("WaitingForSync")
        changes.condition(NOT_YET)
    return changes.plan("a guest is to move in") if seen.phase in WAITS else None


def pod_gone(seen: Seen) -> Plan | None:
    """The pod vanished under a VMI that had one: nothing runs any more."""
    if seen.pods or not seen.pod_gone or seen.deleting:
        return None
    changes = _Changes(seen)
    changes.phase("Failed")
    changes.condition(conditions.new("Ready", "False", "PodNotExists", "The pod does not exist."))
    changes.obstruction()
    if seen.node and seen.node.fenced:
        changes.drop("Synchronized")
        changes.set("/status/reason", SILENT)
        event = _warning(
            seen,
            SILENT,
            f"virt-handler on node {seen.node.name} is not responsive, marking VMI as failed: the "
            "node is out of service or deleted, and the pod is gone",
            "A VirtualMachine that shall run starts elsewhere; without one, create it again.",
        )
        return changes.plan("its node is fenced and its pod is gone", [event])
    event = _warning(
        seen,
        "Stopped",
        "The virtual machine's pod is gone from the API, and the guest with it",
        "A VirtualMachine that shall run starts it anew; without one, create it again.",
    )
    return changes.plan("its pod is gone", [event])


def pod_unknown(seen: Seen) -> Plan | None:
    """No pod in sight, which proves nothing."""
    if seen.pods:
        return None
    return Plan("no pod is seen, which is no proof that there is none", again_in=1.0)


def pod_failed_early(seen: Seen) -> Plan | None:
    """The pod ended, or is going to, before a guest could start in it."""
    pod = seen.pod
    if seen.phase != "Scheduling" or pod is None or not (ended(pod) or going(pod)):
        return None
    changes = _Changes(seen)
    changes.phase("Failed")
    changes.condition(_readiness(seen))
    why = end_of(pod)
    changes.condition(conditions.new("Synchronized", "False", "PodFailed", why))
    changes.obstruction()
    event = _warning(
        seen,
        "Stopped",
        f"The pod ended before the guest started: {why}",
        "Mend what it names; its log is kept until the VirtualMachineInstance is deleted.",
    )
    return changes.plan("its pod ended before a guest started", [event])


def pod_ended_unnoticed(seen: Seen) -> Plan | None:
    """The pod's containers are dead, and virt-handler has not said how the guest ended."""
    pod = seen.pod
    if seen.phase not in ON_NODE or pod is None or not ended(pod):
        return None
    left = UNNOTICED - seen.ended_for
    if left <= 0:
        changes = _Changes(seen)
        changes.phase("Failed")
        changes.condition(_readiness(seen))
        changes.obstruction()
        event = _warning(
            seen,
            "Stopped",
            f"The pod has ended: {end_of(pod)}",
            "Its node has not said how the guest did: look whether virt-handler runs there.",
        )
        return changes.plan("its pod ended and its node says nothing", [event])
    plan = _mirror(seen, "its pod has ended; virt-handler will say how the guest did")
    return Plan(plan.why, plan.actions, plan.status, again_in=min(max(left, 1.0), UNNOTICED))


def pod_starts(seen: Seen) -> Plan | None:
    """On the way to a node: tell what holds it up, and hand over once `compute` runs."""
    pod = seen.pod
    if seen.phase != "Scheduling" or pod is None:
        return None
    changes = _Changes(seen)
    if running(pod):
        return _hand_over(changes, pod)
    unschedulable = conditions.find(conditions.of(pod), "PodScheduled")
    if unschedulable and unschedulable.get("status") == "False":
        changes.condition(
            conditions.new(
                "PodScheduled",
                "False",
                unschedulable.get("reason") or "",
                unschedulable.get("message") or "",
            )
        )
    else:
        changes.drop("PodScheduled")
    if problem := waiting(pod):
        changes.condition(conditions.new("Synchronized", "False", *problem))
    elif pod["spec"].get("nodeName"):
        changes.drop("Synchronized")
    changes.obstruction()
    again = obstruction.look_in(seen.vmi, seen.now)
    return changes.plan("its pod is starting", _pod_actions(seen, pod), again_in=again)


def runs(seen: Seen) -> Plan | None:
    """virt-handler has it: mirror whether it is ready, and whether it is paused."""
    pod = seen.pod
    if seen.phase not in ON_NODE or pod is None:
        return None
    return _mirror(seen, "virt-handler has it", obstructed=True)


RULES: tuple[Rule, ...] = (
    deleted_with_pods,
    guest_may_run,
    deleted_without_pods,
    final,
    refused_pod,
    receives,
    waits_for_claims,
    waits_for_networks,
    needs_cid,
    needs_pod,
    has_pod_already,
    pod_gone,
    pod_unknown,
    pod_failed_early,
    pod_ended_unnoticed,
    pod_starts,
    runs,
)


# What is written.


class _Changes:
    """One JSON patch in the making, and what it rests on."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen
        self.conditions = self._before = conditions.of(seen.vmi)
        self._phase = seen.phase
        self._ops: list[Obj] = []
        self._tests: list[str] = []

    def phase(self, phase: str) -> None:
        self._tests.append("/status/phase")
        self._phase = phase
        for name, value in lifecycle.enter(self.seen.vmi, phase, CONTROLLER, self.seen.now).items():
            self.set(f"/status/{name}", value)

    def rest_on(self, path: str) -> None:
        self._tests.append(path)

    def set(self, path: str, value: Any) -> None:
        self._ops.append({"op": "add", "path": path, "value": value})

    def condition(self, condition: Condition) -> None:
        self.conditions = conditions.put(self.conditions, condition, self.seen.now)

    def drop(self, *types: str) -> None:
        self.conditions = conditions.without(self.conditions, *types)

    def obstruction(self) -> None:
        """What keeps it from running, as things will stand; a guest that runs is not obstructed."""
        seen = self.seen
        status = {**(seen.vmi.get("status") or {}), "phase": self._phase}
        vmi = {**seen.vmi, "status": {**status, "conditions": self.conditions}}
        told = obstruction.told(vmi, seen.pods, seen.around, seen.now, seen.refusal)
        if told is None or self._phase == "Running":
            self.drop(OBSTRUCTED)
        else:
            self.condition(told)

    def release(self) -> None:
        """Take our finalizer away, if it is there, and that of a VM that cannot do it itself."""
        finalizers = self.seen.vmi["metadata"].get("finalizers") or []
        done = {FINALIZER, MACHINE_FINALIZER} if self.seen.machine_gone else {FINALIZER}
        if done.intersection(finalizers):
            self._tests.append("/metadata/finalizers")
            self.set("/metadata/finalizers", [name for name in finalizers if name not in done])

    def plan(
        self,
        why: str,
        actions: Sequence[Any] = (),
        *,
        after: Sequence[Any] = (),
        again_in: float | None = None,
    ) -> Plan:
        """`actions`, then the patch, then `after`."""
        if self.conditions != self._before:
            self._tests.append("/status/conditions")
            self.set("/status/conditions", self.conditions)
        if not self._ops:
            return Plan(why, [*actions, *after], again_in=again_in)
        vmi = self.seen.vmi
        body = tested(vmi, "/metadata/uid", *self._tests)
        if vmi.get("status") is None:
            body.append({"op": "add", "path": "/status", "value": {}})
        body += self._ops
        patch = Patch(VMIS, key_of(vmi), body, "json")
        return Plan(why, [*actions, patch, *after], again_in=again_in)


def _hand_over(changes: _Changes, pod: Obj) -> Plan:
    node = pod["spec"]["nodeName"]
    _on_node(changes, node, pod["metadata"]["uid"])
    if qos := (pod.get("status") or {}).get("qosClass"):
        changes.set("/status/qosClass", qos)
    image = next(
        (each.get("image") for each in pod["spec"]["containers"] if each["name"] == "compute"), None
    )
    if image:
        changes.set("/status/launcherContainerImageVersion", image)
    changes.drop("PodScheduled", "Synchronized", OBSTRUCTED)
    _note_addresses(changes, pod)
    return changes.plan("compute runs: over to virt-handler", after=_pod_actions(changes.seen, pod))


def _on_node(changes: _Changes, node: str, pod_uid: str) -> None:
    """From now on virt-handler of this node owns the status."""
    vmi = changes.seen.vmi
    changes.phase("Scheduled")
    changes.set("/status/nodeName", node)
    pods = (vmi.get("status") or {}).get("activePods") or {}
    changes.set("/status/activePods", {**pods, pod_uid: node})
    if vmi["metadata"].get("labels") is None:
        changes.set("/metadata/labels", {NODE_LABEL: node})
    else:
        changes.set(pointer("metadata", "labels", NODE_LABEL), node)


def _mirror(seen: Seen, why: str, *, obstructed: bool = False) -> Plan:
    """The Ready condition after the pod's, and the pod's gate after the Paused condition."""
    changes = _Changes(seen)
    wanted = _readiness(seen)
    have = conditions.find(changes.conditions, "Ready")
    said = have is not None and have.get("status") == wanted["status"]
    if wanted["status"] == "False":
        said = said and (have or {}).get("reason") == wanted.get("reason")
    if not said and (have is not None or seen.phase == "Running"):
        changes.condition(wanted)
    told: list[Event] = _asked_to_leave(changes)
    again_in = None
    if seen.node and seen.node.silent and not seen.node.alarming:
        again_in = ALARM - seen.node.silent_for
    elif seen.node and seen.node.silent:
        what = f"Node {seen.node.name} is silent; the guest may go on, so no other is started"
        told += _tell_silence(changes, what)
    elif (conditions.find(changes.conditions, "Synchronized") or {}).get("reason") == SILENT:
        changes.drop("Synchronized")
    if obstructed:
        changes.obstruction()
    gate = _pod_actions(seen, seen.pod) if seen.pod else []
    if seen.pod and not ended(seen.pod):
        _note_addresses(changes, seen.pod)
    return changes.plan(why, [*told, *gate, *_attach(changes)], again_in=again_in)


def _attach(changes: _Changes) -> Sequence[Any]:
    """What the volumes and devices that come and go need."""
    seen = changes.seen
    pod = seen.pod
    if pod is None or ended(pod) or going(pod) or seen.deleting:
        return ()
    held = [each for each in seen.attachments if attached_devices.holds_device(each)]
    actions = attached_devices.actions(seen.vmi, pod, held, seen.cluster)
    volumes = [each for each in seen.attachments if each not in held]
    if not hotplug.concerned(seen.vmi, volumes):
        _note_growth(changes)
        return actions
    found = hotplug.decide(seen.vmi, pod, volumes, seen.claims, seen.holders, seen.cluster)
    if found.status is not None:
        changes.rest_on("/status/volumeStatus")
        changes.set("/status/volumeStatus", found.status)
    return [*actions, *found.actions]


def _note_growth(changes: _Changes) -> None:
    """What a running guest's claims are by now: virt-handler makes its disks as large."""
    status = claims.larger(changes.seen.vmi, changes.seen.claims)
    if status is not None:
        changes.rest_on("/status/volumeStatus")
        changes.set("/status/volumeStatus", status)


def _note_addresses(changes: _Changes, pod: Obj) -> None:
    """What its networks gave, for a VM that is to keep it."""
    if told := networks.noted(changes.seen.vmi, pod):
        changes.set(pointer("metadata", "annotations", networks.GIVEN), told)


def _asked_to_leave(changes: _Changes) -> list[Event]:
    """By an eviction, of which virt-api tells, or by the taint of the whole node."""
    seen = changes.seen
    drained = seen.node is not None and seen.node.draining and _is_to_move(seen.vmi)
    if not drained and not (seen.vmi.get("status") or {}).get("evacuationNodeName"):
        changes.drop(LEAVE["type"])
        return []
    said = conditions.find(changes.conditions, LEAVE["type"])
    changes.condition(LEAVE)
    if said or not drained or seen.node is None:
        return []
    taint = drain(seen.cluster.config)
    what = f"Node {seen.node.name} is tainted {taint}, and this guest cannot be moved: it stays"
    remedy = "Shut it down to let its node be drained, or give it evictionStrategy None."
    return [_warning(seen, "EvictionRefused", what, remedy)]


def _is_to_move(vmi: Obj) -> bool:
    return vmi["spec"].get("evictionStrategy") in ("LiveMigrate", "LiveMigrateIfPossible")


def _tell_silence(changes: _Changes, what: str) -> list[Event]:
    """A condition for as long as it lasts, and an event when the words are new."""
    wanted = conditions.new("Synchronized", "False", SILENT, f"{what}. {REMEDY}")
    have = conditions.find(changes.conditions, "Synchronized")
    if have and conditions.same(have, wanted):
        return []
    changes.condition(wanted)
    return [_warning(changes.seen, SILENT, what, REMEDY)]


def _readiness(seen: Seen) -> Condition:
    pod = seen.pod
    if pod is None:
        return conditions.new("Ready", "False", "PodNotExists", "The pod does not exist.")
    if going(pod) or ended(pod):
        return conditions.new("Ready", "False", "PodTerminating", "The pod is terminating.")
    if seen.phase != "Running":
        return NOT_YET
    found = conditions.find(conditions.of(pod), "Ready")
    if found is None:
        return conditions.new(
            "Ready", "False", "PodConditionMissing", "The pod does not say whether it is ready."
        )
    return conditions.new(
        "Ready", found["status"], found.get("reason") or "", found.get("message") or ""
    )


def _pod_actions(seen: Seen, pod: Obj) -> list[Patch]:
    """Its gate, the networks that it asks for, and what side-cars of network bindings read of its
    devices."""
    if going(pod) or ended(pod):
        return []
    return [*_gate_actions(seen, pod), *_pod_networks(seen, pod)]


def _pod_networks(seen: Seen, pod: Obj) -> list[Patch]:
    changes = {}
    have = pod["metadata"].get("annotations") or {}
    if asked := networks.selection(seen.vmi, pod, seen.cluster):
        changes[NETWORKS] = asked
    told = networks.info(seen.vmi, pod, seen.cluster)
    if told and told != have.get(networks.INFO):
        changes[networks.INFO] = told
    return [Patch(PODS, key_of(pod), {"metadata": {"annotations": changes}})] if changes else []


def _gate_actions(seen: Seen, pod: Obj) -> list[Patch]:
    """The pod's gate: shut while the guest is paused."""
    paused = conditions.status(conditions.of(seen.vmi), "Paused") == "True"
    have = conditions.status(conditions.of(pod), rendered.READINESS_GATE)
    wanted = "False" if paused else "True"
    return [] if have == wanted else [_gate(key_of(pod), open=not paused)]


def _gate(pod: Key, *, open: bool) -> Patch:
    condition = {"type": rendered.READINESS_GATE, "status": "True" if open else "False"}
    return Patch(PODS, pod, {"status": {"conditions": [condition]}}, "strategic", "status")


def _event(seen: Seen, reason: str, message: str) -> Event:
    return Event(Reference.to(seen.vmi, VMIS), "Normal", reason, message)


def _warning(seen: Seen, reason: str, what: str, remedy: str) -> Event:
    return lifecycle.warning(Reference.to(seen.vmi, VMIS), reason, what, remedy)
