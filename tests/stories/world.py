"""A cluster in memory, in which controllers decide and the others are played.

Each decision that does something is a line of the story. `random` shuffles who decides when, and
lets caches lag behind the truth, as they do; what a controller wrote itself it always sees.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from tests.kube.fake import Answer, json_patch, merge, strategic
from virtpod.controllers import conditions, launcher_pod, replicaset, revision, vm, vmi
from virtpod.controllers.conditions import stamp
from virtpod.controllers.revision import Revise
from virtpod.domain.facts import Cluster
from virtpod.kube.plan import Create, Delete, Event, Patch, Plan
from virtpod.kube.resources import PODS, VMIRS, VMIS, VMS, Key, Obj, Resource, key_of, owner_of
from virtpod.render import admit

SETTLES_WITHIN = 60
"""Decisions that do something, until all are content."""
CLUSTER = Cluster(launcher_image="registry.example/virt-launcher:1")
NAMESPACE = "default"
IDENTITY = "5d307ca9-b3ef-428c-8861-06e72d69f223"
BEGIN = 1_800_000_000.0
NAMES = {VMS: "vm", VMIS: "vmi", PODS: "pod", VMIRS: "set"}
Place = tuple[Resource, Key]


class Refused(Exception):
    """The API server does not take it."""


class Stale(Exception):
    """A conflict: the writer's picture is an old one."""


class World:
    def __init__(self, random: Random | None = None) -> None:
        self.objects: dict[Place, Obj] = {}
        self.shown: dict[Place, Obj] = {}
        self.lines: list[str] = []
        self.writes: list[str] = []
        self.now = BEGIN
        self.random = random
        self.quota = ""
        """Why pods are refused."""
        self.revisions: dict[str, Obj] = {}
        self._version = 0
        self._uids: dict[str, int] = {}
        self._ended: dict[str, float] = {}

    # What people and other components do.

    def says(self, line: str) -> None:
        self.lines.append(line)

    def apply(self, obj: Obj) -> None:
        resource = {"VirtualMachine": VMS, "VirtualMachineInstanceReplicaSet": VMIRS}.get(
            obj["kind"], VMIS
        )
        self.says(f"user creates {NAMES[resource]} {obj['metadata']['name']}")
        self._create(resource, copy.deepcopy(obj))
        self.settle()

    def edit(self, resource: Resource, name: str, change: Obj, saying: str) -> None:
        self.says(saying)
        self._put(resource, merge(self.get(resource, name), change))
        self.settle()

    def delete(self, resource: Resource, name: str, saying: str = "") -> None:
        self.says(saying or f"user deletes {NAMES[resource]} {name}")
        self._delete(resource, Key(NAMESPACE, name))
        self.settle()

    def time_passes(self, seconds: float) -> None:
        self.says(f"{seconds:g} s pass")
        self.now += seconds
        self.settle()

    def kubelet(self, saying: str, status: Obj, name: str = "", node: str = "") -> None:
        """Of the pod, or of the one of that VMI."""
        pod = self.pod(name)
        self.says(f"kubelet: {saying}")
        spec = {"nodeName": node} if node else {}
        self._put(PODS, merge(pod, {"spec": spec, "status": status}))
        self.settle()

    def compute_runs(self, name: str = "") -> None:
        running = {"name": "compute", "state": {"running": {"startedAt": stamp(self.now)}}}
        told = conditions.of(self.pod(name))
        for type in ("PodScheduled", "Ready"):
            told = conditions.put(told, conditions.new(type, "True"), self.now)
        status = {
            "phase": "Running",
            "qosClass": "Burstable",
            "containerStatuses": [running],
            "conditions": told,
        }
        self.kubelet("compute runs on node1", status, name, node="node1")

    def pod_is_gone(self, name: str = "") -> None:
        pod = self.pod(name)
        self.says("kubelet: the pod is gone")
        pod["metadata"].pop("finalizers", None)
        self._remove(PODS, key_of(pod))
        self.settle()

    def guest_runs(self, name: str) -> None:
        self.says("virt-handler: the guest runs")
        ready = conditions.new("Ready", "True")
        self._phase(name, "Running", ready)

    def guest_ends(self, name: str, phase: str) -> None:
        self.says(f"virt-handler: the guest ended, {phase}")
        ready = conditions.new("Ready", "False", "GuestNotRunning", "The guest is not running.")
        self._phase(name, phase, ready)
        pod = self.pod(name)
        ended = {"terminated": {"exitCode": 0, "finishedAt": stamp(self.now)}}
        status = {
            "phase": "Succeeded",
            "containerStatuses": [{"name": "compute", "state": ended}],
        }
        self.kubelet("the launcher has exited", status, name)
        if pod["metadata"].get("deletionTimestamp"):
            self.pod_is_gone(name)

    def _phase(self, name: str, phase: str, ready: Obj) -> None:
        obj = self.get(VMIS, name)
        status = obj["status"]
        entry = {"phase": phase, "phaseTransitionTimestamp": stamp(self.now)}
        stamps = [*(status.get("phaseTransitionTimestamps") or []), entry]
        told = conditions.put(status.get("conditions") or [], ready, self.now)
        change = {"phase": phase, "phaseTransitionTimestamps": stamps, "conditions": told}
        self._put(VMIS, merge(obj, {"status": change}))
        self.settle()

    # What there is.

    def get(self, resource: Resource, name: str) -> Obj:
        return copy.deepcopy(self.objects[resource, Key(NAMESPACE, name)])

    def pod(self, vmi_name: str = "") -> Obj:
        """The one of that VMI, or the only one."""
        for pod in self._all(PODS, self.objects):
            owner = owner_of(pod)
            if not vmi_name or (owner and owner["name"] == vmi_name):
                return copy.deepcopy(pod)
        raise LookupError(f"there is no pod of {vmi_name or 'anybody'}")

    def end(self) -> list[str]:
        """The state of the world, as lines."""
        lines = []
        for (resource, key), obj in sorted(
            self.objects.items(), key=lambda item: (item[0][0].plural, item[0][1])
        ):
            status = obj.get("status") or {}
            told = [
                f"{each['type']}={each['status']}"
                + (f"({each['reason']})" if "reason" in each else "")
                for each in conditions.of(obj)
            ]
            words = [status.get("printableStatus"), status.get("phase"), *sorted(told)]
            if obj["metadata"].get("deletionTimestamp"):
                words.append("going")
            lines.append(f"{NAMES[resource]} {key.name}: " + " ".join(filter(None, words)))
        return lines

    def text(self) -> str:
        return (
            "\n".join([*self.lines, "", "in the end", *(f"    {line}" for line in self.end())])
            + "\n"
        )

    # The controllers.

    def settle(self) -> None:
        """Until nobody does anything any more."""
        for _ in range(SETTLES_WITHIN):
            if self.random is None:
                self.shown = dict(self.objects)
            all_seen = self.shown == self.objects
            if not any(self._turn(place) for place in self._order()):
                if all_seen:
                    return
                self.shown = dict(self.objects)
        raise AssertionError("the controllers do not come to rest:\n" + "\n".join(self.lines[-30:]))

    def _order(self) -> list[Place]:
        places = [place for place in self.shown if place[0] != PODS]
        places.sort(key=lambda place: (place[0].plural, place[1]))
        if self.random is not None:
            self.random.shuffle(places)
            for place in list({**self.objects, **self.shown}):
                if self.random.random() < 0.5:
                    self._show(place)
        return places

    def _turn(self, place: Place) -> bool:
        """One decision; whether it did something."""
        resource, key = place
        obj = self.shown.get(place)
        if obj is None:
            return False
        seen, decide = self._seen(resource, copy.deepcopy(obj))
        plan = decide(seen)
        if not plan.actions and plan.status is None:
            return False
        self.says(f"  {NAMES[resource]} {key.name}: {plan.why}")
        try:
            self._perform(plan)
        except Stale:
            self.says("    (an old picture: look again)")
            for each in {**self.objects, **self.shown}:
                self._show(each)
        except Refused as refused:
            self.says(f"    (refused: {refused})")
            if resource == VMIS:
                told = vmi.decide(
                    vmi.Seen(seen.vmi, seen.pods, CLUSTER, self.now, refusal=str(refused))
                )
                if not told.actions:
                    return False
                self._perform(told)
        return True

    def _seen(self, resource: Resource, obj: Obj) -> tuple[Any, Callable[[Any], Plan]]:
        uid = obj["metadata"]["uid"]
        if resource == VMIS:
            pods = [pod for pod in self._all(PODS, self.shown) if vmi.owns(obj, pod)]
            truly = [pod for pod in self._all(PODS, self.objects) if vmi.owns(obj, pod)]
            ended = [
                self._ended.setdefault(_uid(pod), self.now)
                for pod in pods
                if launcher_pod.ended(pod)
            ]
            ended_for = max((self.now - since for since in ended), default=0.0)
            seen = vmi.Seen(obj, pods, CLUSTER, self.now, pod_gone=not truly, ended_for=ended_for)
            return seen, vmi.decide
        if resource == VMS:
            place = (VMIS, key_of(obj))
            instance = copy.deepcopy(self.shown.get(place))
            gone = place not in self.objects
            seen = vm.Seen(obj, instance, self.now, vmi_gone=gone)
            start = revision.started_from(obj, seen.ours)
            kept = self.revisions.get(start.name) if start else None
            return replace(seen, revision=kept), vm.decide
        owned = [
            instance
            for instance in self._all(VMIS, self.shown)
            if (owner_of(instance) or {}).get("uid") == uid
        ]
        return replicaset.Seen(obj, owned, self.now), replicaset.decide

    def _perform(self, plan: Plan) -> None:
        for action in (*plan.actions, *([plan.status] if plan.status else ())):
            match action:
                case Create(resource, body):
                    self._note(f"create {NAMES[resource]} {body['metadata']['name']}")
                    self._create(resource, copy.deepcopy(body))
                    self._show((resource, key_of(body)))
                case Delete(resource, key, uid):
                    self._note(f"delete {NAMES[resource]} {key.name}")
                    found = self.objects.get((resource, key))
                    if found is not None and found["metadata"]["uid"] != uid:
                        raise Stale
                    self._delete(resource, key)
                    self._show((resource, key))
                case Patch():
                    self._patch(action)
                case Revise(key):
                    self._note(f"keep revision {key.name}")
                    self.revisions[key.name] = copy.deepcopy(action.body)
                case Event():
                    self._note(f"event {action.type} {action.reason}: {action.message}")

    def _note(self, line: str) -> None:
        self.writes.append(line)
        self.says(f"    {line}")

    def _patch(self, patch: Patch) -> None:
        place = (patch.resource, patch.key)
        before = self.objects.get(place)
        where = f"{NAMES[patch.resource]} {patch.key.name}" + (
            f"/{patch.subresource}" if patch.subresource else ""
        )
        if before is None:
            raise Stale
        if patch.type == "json":
            changes = [
                f"{op['path']}={_short(op['value'])}" for op in patch.body if op["op"] != "test"
            ]
            try:
                after = json_patch(copy.deepcopy(before), patch.body)
            except Answer:
                raise Stale from None
        else:
            version = (patch.body.get("metadata") or {}).get("resourceVersion")
            if version and version != before["metadata"]["resourceVersion"]:
                raise Stale
            apply = merge if patch.type == "merge" else strategic
            after = apply(copy.deepcopy(before), patch.body)
            told = patch.body.get("status") or {
                name: value for name, value in patch.body.items() if name != "metadata"
            }
            changes = [f"{name}={_short(value)}" for name, value in told.items()]
        self._note(f"patch {where}: {' '.join(changes)}")
        self._put(patch.resource, after)
        self._show(place)

    # The store.

    def _create(self, resource: Resource, obj: Obj) -> None:
        place = (resource, key_of(obj))
        if place in self.objects:
            raise Stale
        if resource == PODS and self.quota:
            raise Refused(self.quota)
        kind, name = NAMES[resource], obj["metadata"]["name"]
        count = self._uids[name] = self._uids.get(name, 0) + 1
        metadata = obj["metadata"]
        metadata["uid"] = f"{kind}-{name}-{count}"
        metadata["creationTimestamp"] = stamp(self.now)
        metadata["generation"] = 1
        if resource == VMIS:
            admitted = admit.vmi(obj, CLUSTER, now=stamp(self.now), uuid=IDENTITY)
            assert admitted.causes == []
            obj = json_patch(obj, admitted.patch)
        self._put(resource, obj)

    def _put(self, resource: Resource, obj: Obj) -> None:
        place = (resource, key_of(obj))
        before = self.objects.get(place)
        if before is not None and before["spec"] != obj["spec"]:
            obj["metadata"]["generation"] = before["metadata"]["generation"] + 1
        self._version += 1
        obj["metadata"]["resourceVersion"] = str(self._version)
        if obj["metadata"].get("deletionTimestamp") and not obj["metadata"].get("finalizers"):
            self._remove(*place)
            return
        self.objects[place] = obj

    def _delete(self, resource: Resource, key: Key) -> None:
        obj = copy.deepcopy(self.objects.get((resource, key)))
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            return
        obj["metadata"]["deletionTimestamp"] = stamp(self.now)
        if resource == PODS and not launcher_pod.lies(obj) and obj["spec"].get("nodeName"):
            # As long as the kubelet is at it.
            obj["metadata"]["finalizers"] = ["kubelet"]
        self._put(resource, obj)

    def _remove(self, resource: Resource, key: Key) -> None:
        gone = self.objects.pop((resource, key))
        for (kind, child), obj in list(self.objects.items()):
            owner = owner_of(obj)
            if owner and owner["uid"] == gone["metadata"]["uid"]:
                self._delete(kind, child)

    def _show(self, place: Place) -> None:
        if place in self.objects:
            self.shown[place] = self.objects[place]
        else:
            self.shown.pop(place, None)

    def _all(self, resource: Resource, store: dict[Place, Obj]) -> list[Obj]:
        places = sorted(key for kind, key in store if kind == resource)
        return [copy.deepcopy(store[resource, key]) for key in places]


def _uid(obj: Obj) -> str:
    return str(obj["metadata"]["uid"])


def _short(value: Any) -> str:
    """Enough of a value to read the story by."""
    if isinstance(value, list) and value and isinstance(value[0], dict) and "type" in value[0]:
        told = [
            f"{each['type']}={each['status']}" + (f"({each['reason']})" if "reason" in each else "")
            for each in value
        ]
        return "[" + ", ".join(told) + "]"
    if isinstance(value, list) and value and isinstance(value[-1], dict) and "phase" in value[-1]:
        return "[" + ", ".join(each["phase"] for each in value) + "]"
    if isinstance(value, list) and value and isinstance(value[0], dict) and "action" in value[0]:
        return "[" + ", ".join(each["action"] for each in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_short(each)}" for name, each in value.items()) + "}"
    return str(value)
