"""Somebody who breaks things: a world in which every part acts when it likes, and much goes wrong.

The controllers' decisions are the real ones, virt-handler's too; played are the API server's faults
(conflicts, answers that are lost after the write was done), stale caches, restarts, a leader that
wakes up with an old picture, the kubelet, launchers, guests, and users who change their minds.

What must hold at every moment: no two guests of one name, no phase that goes back, no VMI that goes
while its pod is there. And when all is left in peace: what shall run runs, what shall not does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import msgspec

from tests.stories import lives
from tests.stories.world import NAMESPACE, Place, Stale, World
from virtpod.controllers import conditions, launcher_pod, node, node_seen, node_vmi, vm, vmi
from virtpod.controllers.conditions import stamp
from virtpod.controllers.lifecycle import FINAL, PHASES, phase_of
from virtpod.kube.plan import Patch, Plan
from virtpod.kube.resources import PODS, VMIS, VMS, Key, Obj, Resource, key_of, owner_of
from virtpod.node import pods
from virtpod.wire.messages import DomainChanged

NAME = "demo"
NODES = ("node1", "node2")
ORDER = [phase.name for phase in PHASES]
STEPS = 150
CALMS_WITHIN = 400
"""Turns of everybody, without faults."""


class Lost(Exception):
    """The write was done, and its answer got lost."""


@dataclass
class Launcher:
    """A launcher's process: it outlives its pod's object where that is taken away by force."""

    pod: Obj
    guest: node_seen.Guest
    """What virt-handler sees; begun anew when virt-handler is."""
    node: str = ""
    told_to_stop: bool = False
    alive: bool = True
    truth: DomainChanged | None = None
    """What libvirt has."""
    attended: bool = False
    """virt-handler has its process, and sees it end."""

    @property
    def runs(self) -> bool:
        """Whether QEMU is there."""
        return self.alive and self.truth is not None and self.truth.state == "Running"

    def domain(self, state: Any, reason: str) -> None:
        started = self.truth is not None or state == "Running"
        self.truth = DomainChanged(seq=1, state=state, reason=reason, started=started)
        if self.guest.connected:
            self.guest = replace(self.guest, domain=self.truth)


class Broken(World):
    """Its API server fails now and then."""

    faults = 0.0

    def __init__(self, random: Random) -> None:
        super().__init__(random)
        self.last: dict[str, Obj] = {}
        """Pods as they were when they vanished, as a watch tells it, by their owners' uids."""
        self.buried: dict[str, tuple[str, bool, str]] = {}
        """What virt-controller has seen vanish: node, whether it was over, the pod's uid."""

    def _remove(self, resource: Resource, key: Key) -> None:
        gone = self.objects[resource, key]
        super()._remove(resource, key)
        if resource == PODS:
            self.last[gone["metadata"]["uid"]] = gone

    def _show(self, place: Place) -> None:
        before, now = self.shown.get(place), self.objects.get(place)
        super()._show(place)
        if place[0] != PODS or before is None:
            return
        uid = before["metadata"]["uid"]
        if now is None or now["metadata"]["uid"] != uid:
            last = self.last[uid]
            owner = str((owner_of(last) or {}).get("uid"))
            self.buried[owner] = (
                str(last["spec"].get("nodeName") or ""),
                launcher_pod.ended(last),
                uid,
            )

    def look(self) -> None:
        """The caches show all that there is."""
        for place in {**self.objects, **self.shown}:
            self._show(place)

    def _seen(self, resource: Resource, obj: Obj) -> tuple[Any, Callable[[Any], Any]]:
        """With what `caches.standing`, `end_seen` and `loops` make of it."""
        seen, decide = super()._seen(resource, obj)
        if resource != VMIS:
            return seen, decide
        grave = self.buried.get(obj["metadata"]["uid"])
        placed = [pod["spec"]["nodeName"] for pod in seen.pods if pod["spec"].get("nodeName")]
        name = next(iter(placed), "") or (grave[0] if grave else "")
        name = name or (obj.get("status") or {}).get("nodeName")
        standing = node.Standing(name) if name else None
        seen = replace(seen, node=standing, lost_pod=grave[2] if grave else "")
        if seen.pod_gone and not seen.pods:
            over = grave is not None and (grave[1] or not grave[0])
            seen = replace(seen, doubt=node.doubt(seen.phase, standing, end_seen=over))
        return seen, decide

    def _patch(self, patch: Patch) -> None:
        self._perhaps(lambda: super(Broken, self)._patch(patch), (patch.resource, patch.key))

    def _create(self, resource: Any, obj: Obj) -> None:
        create = super()._create
        self._perhaps(lambda: create(resource, obj), (resource, key_of(obj)))

    def _perhaps(self, write: Callable[[], None], place: Place) -> None:
        assert self.random is not None
        if self.random.random() < self.faults:
            raise Stale
        before = self.shown.get(place)
        write()
        if self.random.random() < self.faults:
            if before is None:
                self.shown.pop(place, None)
            else:
                self.shown[place] = before
            raise Lost


class Nemesis:
    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.world = Broken(self.random)
        self.launchers: dict[str, Launcher] = {}
        self.phases: dict[str, str] = {}
        self.snapshots: list[dict[Place, Obj]] = []
        self.held: set[str] = set()
        self.orphans: set[str] = set()
        """Launchers of which virt-handler saw that they outlive their pods."""

    def run(self) -> None:
        world = self.world
        strategy = self.random.choice(["Always", "RerunOnFailure", "Manual", "Once", "Halted"])
        world.says(f"user creates a VM, {strategy}")
        world._create(VMS, lives.machine(strategy))
        world.faults = 0.15
        for _ in range(STEPS):
            self.step()
            self.check()
        world.faults = 0.0
        self.calm()

    def step(self) -> None:
        weighed: list[tuple[int, Callable[[], None]]] = [
            (12, self.controllers),
            (8, self.node),
            (6, self.caches),
            (6, self.kubelet),
            (8, self.guests),
            (1, self.user),
            (1, self.accident),
            (1, self.restart),
            (1, self.handler_restart),
            (1, self.old_leader),
            (1, self.clock),
        ]
        (act,) = self.random.choices(
            [act for _, act in weighed], weights=[weight for weight, _ in weighed]
        )
        act()

    # Those who decide.

    def controllers(self) -> None:
        places = [place for place in self.world.shown if place[0] in (VMS, VMIS)]
        if places:
            self.turn(self.random.choice(places))

    def turn(self, place: Place) -> bool:
        try:
            return self.world._turn(place)
        except Lost:
            self.world.says("    (the answer got lost)")
            return True

    def caches(self) -> None:
        for place in {**self.world.objects, **self.world.shown}:
            if self.random.random() < 0.4:
                self.world._show(place)

    def restart(self) -> None:
        self.world.says("virt-controller begins anew")
        self.world.shown = dict(self.world.objects)
        self.world.buried.clear()

    def handler_restart(self) -> None:
        name = self.random.choice(NODES)
        self.world.says(f"virt-handler on {name} begins anew")
        for uid, launcher in self.launchers.items():
            if launcher.node == name:
                launcher.guest = node_seen.Guest()
                launcher.attended = False
                self.orphans.discard(uid)

    def old_leader(self) -> None:
        """One decision on a picture of some time ago, by somebody who still thinks he leads."""
        self.snapshots.append(dict(self.world.shown))
        old = self.random.choice(self.snapshots[-5:])
        self.world.says("an old leader wakes up")
        now, self.world.shown = self.world.shown, dict(old)
        self.controllers()
        self.world.shown = now

    def node(self) -> None:
        """virt-handler, of one of its launchers."""
        for launcher in self.some(list(self.launchers.values())):
            self.handle(launcher)
        for name in NODES:
            self.podless(name)

    def podless(self, name: str) -> bool:
        """virt-handler, of a VMI that is said to be here and has no pod."""
        world = self.world
        shown = world.objects.get((VMIS, Key(NAMESPACE, NAME)))
        if shown is None or any(vmi.owns(shown, pod) for pod in self.pods()):
            return False
        active = ((shown.get("status") or {}).get("activePods") or {}).items()
        here = [uid for uid, where in active if where == name]
        left = [uid for uid in here if uid in self.launchers and self.launchers[uid].alive]
        seen = node_vmi.Seen(name, world.now, shown, no_trace=bool(here) and not left)
        return self.perform(node_vmi.decide(seen), None)

    def handle(self, launcher: Launcher) -> bool:
        world = self.world
        pod = world.objects.get((PODS, key_of(launcher.pod)))
        if pod is None or pod["metadata"]["uid"] != launcher.pod["metadata"]["uid"]:
            if launcher.alive and launcher.attended:
                self.orphans.add(launcher.pod["metadata"]["uid"])
            return False
        projected = pods.project(msgspec.json.encode(pod))
        shown = world.objects.get((VMIS, Key(NAMESPACE, projected.vmi_name)))
        if shown is not None and shown["metadata"]["uid"] != projected.vmi_uid:
            shown = None
        predecessor = any(
            other.alive and other.node == launcher.node and uid in self.orphans
            for uid, other in self.launchers.items()
        )
        seen = node_vmi.Seen(
            launcher.node,
            world.now,
            shown,
            projected,
            launcher.guest,
            vmi_gone=shown is None,
            predecessor=predecessor,
        )
        return self.perform(node_vmi.decide(seen), launcher)

    def perform(self, plan: Plan, launcher: Launcher | None) -> bool:
        world = self.world
        if plan.actions:
            world.says(f"  virt-handler: {plan.why}")
        try:
            for action in plan.actions:
                match action:
                    case node_vmi.Prepare() if launcher:
                        launcher.guest = replace(launcher.guest, prepared=True)
                    case node_vmi.Tell(what=what) if launcher:
                        told = launcher.guest.told | {what}
                        launcher.guest = replace(launcher.guest, told=told)
                        launcher.told_to_stop |= what == "shutdown"
                    case Patch():
                        world._patch(action)
        except (Stale, Lost):
            return True
        return bool(plan.actions)

    # Those who act.

    def kubelet(self) -> None:
        for pod in self.some(self.pods()):
            self.collect(pod)
            self.sync(pod)

    def collect(self, pod: Obj) -> bool:
        """Kubernetes' garbage collector: an owner that is not there has no pods."""
        if launcher_pod.going(pod) or (owner_of(pod) or {}).get("uid") in self.known():
            return False
        self.world._delete(PODS, key_of(pod))
        return True

    def sync(self, pod: Obj) -> bool:
        world, uid = self.world, pod["metadata"]["uid"]
        launcher = self.launchers.get(uid)
        going = launcher_pod.going(pod)
        if launcher is None:
            if going:
                pod["metadata"].pop("finalizers", None)
                world._remove(PODS, key_of(pod))
                return True
            self.launchers[uid] = Launcher(pod, node_seen.Guest(), self.random.choice(NODES))
            pod["spec"]["nodeName"] = self.launchers[uid].node
            self.world.says(f"the pod is on {self.launchers[uid].node}, its launcher lives")
            self.world._put(PODS, pod)
            return True
        if launcher.alive and not (pod.get("status") or {}).get("containerStatuses"):
            # The kubelet looks once a second: the launcher was there before it is told.
            self.status(pod, {"running": {"startedAt": stamp(world.now)}}, "Running")
            return True
        if launcher.alive:
            if going and not launcher.told_to_stop:
                launcher.told_to_stop = True
                return True
            return False
        if not launcher_pod.ended(pod):
            domain = launcher.truth
            well = domain is not None and domain.reason == "Shutdown"
            over = {"exitCode": 0 if well else 1, "finishedAt": stamp(world.now)}
            self.status(pod, {"terminated": over}, "Succeeded" if well else "Failed")
            return True
        if going:
            pod["metadata"].pop("finalizers", None)
            world._remove(PODS, key_of(pod))
            return True
        return False

    def status(self, pod: Obj, state: Obj, phase: str) -> None:
        told = conditions.of(pod)
        for type in ("PodScheduled", "Ready"):
            ready = "True" if phase == "Running" else "False"
            told = conditions.put(told, conditions.new(type, ready), self.world.now)
        pod["status"] = {
            "phase": phase,
            "qosClass": "Burstable",
            "podIPs": [{"ip": "10.0.0.7"}],
            "containerStatuses": [{"name": "compute", "state": state}],
            "conditions": told,
        }
        self.world.says(f"kubelet: the pod is {phase}")
        self.world._put(PODS, pod)

    def guests(self) -> None:
        for launcher in self.some(list(self.launchers.values())):
            self.go_on(launcher)

    def go_on(self, launcher: Launcher) -> bool:
        """One step of a launcher's life."""
        guest, domain = launcher.guest, launcher.truth
        if not launcher.alive:
            if not guest.lost and launcher.attended:
                launcher.guest = replace(guest, connected=False, lost=True)
                return True
            return False
        if self.orphan(launcher):
            # The kubelet ends what has no pod, within the guest's grace period.
            launcher.alive = self.random.random() < 0.8
        elif not guest.connected:
            launcher.attended = True
            launcher.guest = replace(guest, connected=True, domain=domain)
        elif domain is None and launcher.told_to_stop:
            launcher.alive = False
        elif domain is None and guest.prepared:
            launcher.domain("Running", "Unknown")
        elif launcher.runs and launcher.told_to_stop:
            launcher.domain("Shutoff", self.random.choice(["Shutdown", "Destroyed"]))
        elif domain is not None and domain.state != "Running":
            launcher.alive = False
        else:
            return False
        return True

    def accident(self) -> None:
        alive = [each for each in self.launchers.values() if each.alive]
        for launcher in self.some(alive):
            match self.random.choice(["QEMU", "power", "launcher", "pod", "cut"]):
                case "QEMU" if launcher.runs:
                    self.world.says("QEMU is killed")
                    launcher.domain("Shutoff", "Failed")
                case "power" if launcher.runs:
                    self.world.says("the guest powers off")
                    launcher.domain("Shutoff", "Shutdown")
                case "launcher":
                    self.world.says("a launcher is killed")
                    launcher.alive = False
                case "pod":
                    self.world.says("somebody deletes a pod")
                    self.world._delete(PODS, key_of(launcher.pod))
                case "cut" if not self.orphan(launcher):
                    self.world.says("somebody deletes a pod by force")
                    self.world._remove(PODS, key_of(launcher.pod))

    def user(self) -> None:
        world = self.world
        found = world.objects.get((VMS, Key(NAMESPACE, NAME)))
        if found is None:
            return
        match self.random.choice(["switch", "delete VMI", "start", "restart"]):
            case "switch":
                spec = {"runStrategy": self.random.choice(["Always", "Halted", "RerunOnFailure"])}
                world.says(f"user switches to {spec['runStrategy']}")
                world._put(VMS, {**found, "spec": {**found["spec"], **spec}})
            case "delete VMI":
                world.says("user deletes the VMI")
                world._delete(VMIS, Key(NAMESPACE, NAME))
            case what:
                wishes: list[Obj] = [{"action": "Start"}]
                instance = world.objects.get((VMIS, Key(NAMESPACE, NAME)))
                if what == "restart" and instance is not None:
                    uid = instance["metadata"]["uid"]
                    wishes = [{"action": "Stop", "uid": uid}, *wishes]
                world.says(f"user asks for a {what}")
                status = {**(found.get("status") or {}), "stateChangeRequests": wishes}
                world._put(VMS, {**found, "status": status})

    def clock(self) -> None:
        self.world.now += self.random.choice([1.0, 30.0, 400.0])

    # In peace.

    def calm(self) -> None:
        """Everybody does what is to be done, until nothing is."""
        world = self.world
        world.says("all is calm")
        for _ in range(CALMS_WITHIN):
            world.look()
            places = [place for place in world.shown if place[0] in (VMS, VMIS)]
            launchers = list(self.launchers.values())
            did = [self.turn(place) for place in places]
            did += [self.collect(pod) for pod in self.pods()]
            did += [self.sync(pod) for pod in self.pods()]
            did += [self.go_on(each) for each in launchers]
            did += [self.handle(each) for each in launchers]
            did += [self.podless(name) for name in NODES]
            world.now += 10.0
            self.check()
            if not any(did) and self.settled():
                return
        raise AssertionError(f"it does not come to rest:\n{self.tail()}")

    def settled(self) -> bool:
        """What shall run runs, what shall not does not, and nothing is left of what was."""
        instance = self.world.objects.get((VMIS, Key(NAMESPACE, NAME)))
        phase = phase_of(instance) if instance else ""
        owned = {pod["metadata"]["uid"] for pod in self.pods()}
        if any(each.alive for uid, each in self.launchers.items() if uid not in owned):
            return False
        match vm.strategy(self.world.get(VMS, NAME)):
            case "Always":
                return phase == "Running"
            case "Halted":
                return instance is None and not owned
            case _:
                return phase in ("", "Running", *FINAL)

    # What must hold.

    def check(self) -> None:
        running = [each for each in self.launchers.values() if each.runs]
        assert len(running) <= 1, f"two guests at once:\n{self.tail()}"
        for (resource, _), obj in self.world.objects.items():
            if resource != VMIS:
                continue
            uid, phase = obj["metadata"]["uid"], phase_of(obj)
            before = self.phases.get(uid, "")
            assert ORDER.index(phase) >= ORDER.index(before), f"{before} to {phase}:\n{self.tail()}"
            if before in FINAL:
                assert phase == before, f"{before} to {phase}:\n{self.tail()}"
            self.phases[uid] = phase
        held = {
            str(obj["metadata"]["uid"])
            for (resource, _), obj in self.world.objects.items()
            if resource == VMIS and vmi.FINALIZER in (obj["metadata"].get("finalizers") or [])
        }
        owners = {str((owner_of(pod) or {}).get("uid")) for pod in self.pods()}
        assert not (self.held - held) & owners, f"a VMI let go before its pod:\n{self.tail()}"
        self.held = held

    def known(self) -> set[str]:
        return {
            str(obj["metadata"]["uid"])
            for (resource, _), obj in self.world.objects.items()
            if resource == VMIS
        }

    def pods(self) -> list[Obj]:
        return self.world._all(PODS, self.world.objects)

    def orphan(self, launcher: Launcher) -> bool:
        """Whether its pod's object is gone."""
        pod = self.world.objects.get((PODS, key_of(launcher.pod)))
        return pod is None or pod["metadata"]["uid"] != launcher.pod["metadata"]["uid"]

    def some(self, choices: list[Any]) -> list[Any]:
        return [self.random.choice(choices)] if choices else []

    def tail(self) -> str:
        return "\n".join([*self.world.lines[-60:], *self.world.end()])
