"""The caches, and the loops that decide on what they show.

Gathering `Seen` is all that happens here: a pod's absence is proved here (by its deletion, or by
asking the API server), and the clock is read here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from virtpod.api.base import decode
from virtpod.api.kubevirt import KubeVirt
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.controller.claims import Claims
from virtpod.controller.held import Held, HeldNode, project_node
from virtpod.controllers import node, obstruction, replicaset, revision, vm, vmi
from virtpod.controllers.lifecycle import MACHINE_FINALIZER
from virtpod.controllers.revision import Revise
from virtpod.controllers.why import claims_of
from virtpod.installation import Installation, project
from virtpod.kube import errors
from virtpod.kube.client import Client
from virtpod.kube.events import Recorder
from virtpod.kube.loop import Acts, Loop
from virtpod.kube.plan import Create, Plan, Written
from virtpod.kube.resources import (
    CONTROLLER_REVISIONS,
    EVENTS,
    KUBEVIRTS,
    NODES,
    PODS,
    PVCS,
    VMIRS,
    VMIS,
    VMS,
    Key,
    Obj,
    key_of,
    owner_of,
)
from virtpod.kube.store import Informer
from virtpod.render.pod import pod_name

log = logging.getLogger(__name__)

REMEMBERED = 10_000
"""VMIs of whose pod's end we remember that it was seen."""
REVISIONS = 100
"""Of changed VMs, that are remembered."""
NO_CR_WITHIN = 60.0
"""Seconds for the first lists; the kubelet starts us anew after that."""


@dataclass(frozen=True)
class Refusal:
    """Why an object is not taken, as a cause."""

    field: str
    reason: str
    message: str


class Creates(Acts):
    """Acts, except that what no retry will mend is a refusal, which the user gets to see."""

    async def __call__(self, action: Any) -> Written | None:
        if isinstance(action, Revise):
            await self._revise(action)
            return None
        try:
            return await super().__call__(action)
        except (errors.Forbidden, errors.Invalid, errors.BadRequest) as error:
            if not isinstance(action, Create):
                raise
            raise errors.Refused([Refusal("", error.reason, error.message)]) from error

    async def _revise(self, action: Revise) -> None:
        with contextlib.suppress(errors.AlreadyExists):
            await self.client.create(CONTROLLER_REVISIONS, action.body)
        labels = f"{revision.OF}={action.vm_uid}"
        found = await self.client.list(
            CONTROLLER_REVISIONS, namespace=action.key.namespace, labels=labels
        )
        for other in found.items:
            if key_of(other) != action.key:
                with contextlib.suppress(errors.NotFound):
                    await self.client.delete(CONTROLLER_REVISIONS, key_of(other))


@dataclass(frozen=True, slots=True)
class Grave:
    """What was known of a pod when it vanished."""

    node: str
    ended: bool


class Caches:
    """All that is watched."""

    def __init__(self, client: Client, namespace: str, installation: Installation) -> None:
        self.client = client
        self.kubevirts: Informer[KubeVirt | None] = Informer(
            client, KUBEVIRTS, namespace=namespace, project=project
        )
        self.kubevirts.on_change(lambda _key, _old, new: installation.changed(new))
        self.vms: Informer[Held] = Informer(client, VMS, project=Held.project)
        owners = {"owner": _owner}
        self.vmis: Informer[Held] = Informer(
            client,
            VMIS,
            project=Held.project_vmi,
            indices={**owners, "claim": _claims, "node": _on_node},
        )
        self.pods: Informer[Held] = Informer(
            client,
            PODS,
            labels="kubevirt.io=virt-launcher",
            project=Held.project,
            indices=owners,
        )
        self.sets: Informer[Held] = Informer(client, VMIRS, project=Held.project)
        self.nodes: Informer[HeldNode] = Informer(client, NODES, project=project_node)
        self.claims = Claims(client, self.vmis, self.pods)
        self._buried: OrderedDict[str, Grave] = OrderedDict()
        self._ended: dict[str, float] = {}
        self._revisions: OrderedDict[Key, Obj] = OrderedDict()
        self.pods.on_change(self._bury)

    @property
    def all(self) -> tuple[Informer[Any], ...]:
        return (
            self.kubevirts,
            self.vms,
            self.vmis,
            self.pods,
            self.sets,
            self.nodes,
            self.claims.known,
        )

    async def wait_synced(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for each in self.all:
                tasks.create_task(each.wait_synced(NO_CR_WITHIN))

    async def pod_gone(self, vmi: Obj) -> bool:
        """Whether it is proved that this VMI has no pod."""
        uid = vmi["metadata"]["uid"]
        if uid in self._buried:
            return True
        typed = decode(vmi, VirtualMachineInstance)
        try:
            pod = await self.client.get(PODS, Key(vmi["metadata"]["namespace"], pod_name(typed)))
        except errors.NotFound:
            return True
        owner = owner_of(pod)
        return owner is None or owner["uid"] != uid

    async def machine_gone(self, key: Key, vmi: Obj) -> bool:
        """Whether it is proved that the VM of this VMI is not there any more."""
        uid = (owner_of(vmi) or {}).get("uid")
        held = self.vms.get(key)
        if held is not None and held.uid == uid:
            return False
        try:
            found = await self.client.get(VMS, key)
        except errors.NotFound:
            return True
        return bool(found["metadata"]["uid"] != uid)

    async def revision(self, key: Key) -> Obj | None:
        """A revision never changes: each is read once."""
        if key not in self._revisions:
            try:
                self._revisions[key] = await self.client.get(CONTROLLER_REVISIONS, key)
            except errors.NotFound:
                return None
            if len(self._revisions) > REVISIONS:
                self._revisions.popitem(last=False)
        return self._revisions[key]

    async def standing(self, instance: Obj) -> node.Standing | None:
        """Of the node that its pod is or was on; None where it had none, as far as is known."""
        uid, status = instance["metadata"]["uid"], instance.get("status") or {}
        grave = self._buried.get(uid)
        placed = [pod.node for pod in self.pods.by("owner", uid) if pod.node]
        name = next(iter(placed), "") or (grave.node if grave else "") or status.get("nodeName")
        if not name:
            return None
        held = self.nodes.get(Key("", name))
        if held is None:
            try:  # a cache's silence fences nothing
                await self.client.get(NODES, Key("", name))
            except errors.NotFound:
                return node.Standing(name, there=False)
            return node.Standing(name, ready=False)
        return node.Standing(
            name,
            ready=held.ready,
            out_of_service=held.tainted(node.OUT_OF_SERVICE),
            draining=held.tainted(node.DRAIN, "NoSchedule"),
        )

    def end_seen(self, uid: str) -> bool:
        """Whether the pod of this VMI was over when it vanished, or had never got to a node."""
        grave = self._buried.get(uid)
        return grave is not None and (grave.ended or not grave.node)

    async def vmi_gone(self, key: Key) -> bool:
        try:
            await self.client.get(VMIS, key)
        except errors.NotFound:
            return True
        return False

    async def around(self, vmi: Obj, pods: Sequence[Obj], now: float) -> obstruction.Around:
        """As much of it as the VMI's state is worth."""
        needs = obstruction.needs(vmi, pods, now)
        if needs == "nothing":
            return obstruction.Around()
        nodes = [held.fact(key.name) for key, held in self.nodes.items()]
        if needs == "nodes":
            return obstruction.Around(nodes)
        namespace = vmi["metadata"]["namespace"]
        events: list[Obj] = []
        claims: dict[str, Obj | None] = {}
        # A diagnosis with less to go on is better than none.
        with contextlib.suppress(errors.ApiError):
            for each in (vmi, *pods):
                fields = f"involvedObject.uid={each['metadata']['uid']}"
                listed = await self.client.list(EVENTS, namespace=namespace, fields=fields)
                events += listed.items
            for name in claims_of(vmi):
                claims[name] = await self._claim(Key(namespace, name))
        return obstruction.Around(nodes, events, claims)

    async def _claim(self, key: Key) -> Obj | None:
        try:
            return await self.client.get(PVCS, key)
        except errors.NotFound:
            return None

    def ended_for(self, pods: Sequence[Obj]) -> float:
        """Seconds since the first of these pods that has ended was first seen so."""
        now = time.monotonic()
        over = [pod["metadata"]["uid"] for pod in pods if vmi.ended(pod)]
        return max((now - self._ended.setdefault(uid, now) for uid in over), default=0.0)

    def _bury(self, key: Key, old: Held | None, new: Held | None) -> None:
        """A pod's deletion was told, or a whole list lacks it: that is proof."""
        if new is not None:
            self._buried.pop(new.owner_uid, None)
        elif old is not None and old.owner_uid:
            self._ended.pop(old.uid, None)
            self._buried[old.owner_uid] = Grave(old.node, vmi.ended(old.object))
            if len(self._buried) > REMEMBERED:
                self._buried.popitem(last=False)


def _owner(key: Key, held: Held) -> list[str]:
    return [held.owner_uid] if held.owner_uid else []


def _on_node(key: Key, held: Held) -> list[str]:
    return [held.node] if held.node else []


def _claims(key: Key, held: Held) -> list[Key]:
    return [Key(key.namespace, name) for name in held.claims]


class Loops:
    """One loop per kind."""

    def __init__(
        self,
        caches: Caches,
        writer: Client,
        recorder: Recorder,
        installation: Installation,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.caches = caches
        self.installation = installation
        self.clock = clock
        self._beats: dict[str, tuple[str, float]] = {}
        act = Creates(writer, recorder)
        self.act = act
        self.vmis: Loop[Key, vmi.Seen] = Loop(
            "virt-controller-vmi",
            self._vmi,
            vmi.decide,
            act,
            stores=[caches.vmis, caches.pods],
            workers=10,
            on_refused=self._vmi_refused,
        )
        self.vms: Loop[Key, vm.Seen] = Loop(
            "virt-controller-vm",
            self._vm,
            vm.decide,
            act,
            stores=[caches.vms, caches.vmis],
            workers=10,
            on_refused=self._vm_refused,
        )
        self.sets: Loop[Key, replicaset.Seen] = Loop(
            "virt-controller-replicaset",
            self._set,
            replicaset.decide,
            act,
            stores=[caches.sets, caches.vmis],
            on_refused=self._set_refused,
        )
        self.nodes: Loop[Key, node.Seen] = Loop(
            "virt-controller-node", self._node, node.decide, act, stores=[caches.nodes], workers=1
        )

    @property
    def all(self) -> tuple[Loop[Any, Any], ...]:
        return (self.vmis, self.vms, self.sets, self.nodes)

    def decisions(self) -> dict[str, Any]:
        """For /debug/decisions."""
        return {loop.name: loop.decisions() for loop in self.all}

    async def run(self) -> None:
        """As the leader: everything is looked at once, then what changes."""
        caches = self.caches
        caches.claims.again = self.vmis.add
        caches.pods.on_change(self._pod_changed)
        caches.vmis.on_change(self._vmi_changed)
        caches.vms.on_change(lambda key, _old, _new: self.vms.add(key))
        caches.sets.on_change(lambda key, _old, _new: self.sets.add(key))
        caches.nodes.on_change(self._node_changed)
        async with asyncio.TaskGroup() as tasks:
            for loop in self.all:
                tasks.create_task(loop.run())

    def _pod_changed(self, key: Key, old: Held | None, new: Held | None) -> None:
        held = new or old
        if held is not None and held.owner_kind == VMIS.kind:
            self.vmis.add(Key(key.namespace, held.owner_name))

    def _node_changed(self, key: Key, old: HeldNode | None, new: HeldNode | None) -> None:
        """Its guests are looked at when what they rest on changes, not at each heartbeat."""
        self.nodes.add(key)
        if old is None or new is None or (old.ready, old.spec) != (new.ready, new.spec):
            for instance in self.caches.vmis.keys_by("node", key.name):
                self.vmis.add(instance)

    def _vmi_changed(self, key: Key, old: Held | None, new: Held | None) -> None:
        self.vmis.add(key)
        held = new or old
        if held is not None and held.owner_kind == VMIRS.kind:
            self.sets.add(Key(key.namespace, held.owner_name))
        if key in self.caches.vms:
            self.vms.add(key)

    async def _vmi(self, key: Key) -> vmi.Seen | None:
        held = self.caches.vmis.get(key)
        if held is None:
            return None
        obj = held.object
        pods = [pod.object for pod in self.caches.pods.by("owner", held.uid)]
        now = self.clock()
        seen = vmi.Seen(
            obj,
            pods,
            self.installation.cluster,
            now,
            ended_for=self.caches.ended_for(pods),
            around=await self.caches.around(obj, pods, now),
        )
        if not pods and (seen.deleting or seen.phase not in ("", "Pending")):
            seen = replace(seen, pod_gone=await self.caches.pod_gone(obj))
        seen = replace(seen, node=await self.caches.standing(obj))
        if seen.pod_gone:
            end_seen = self.caches.end_seen(held.uid)
            seen = replace(seen, doubt=node.doubt(seen.phase, seen.node, end_seen=end_seen))
        if seen.deleting and MACHINE_FINALIZER in (obj["metadata"].get("finalizers") or ()):
            seen = replace(seen, machine_gone=await self.caches.machine_gone(key, obj))
        if held.claims and not seen.deleting and seen.phase in ("", "Pending"):
            claims, holders = await self.caches.claims.seen(key, obj)
            seen = replace(seen, claims=claims, holders=holders)
        return seen

    async def _vm(self, key: Key) -> vm.Seen | None:
        held = self.caches.vms.get(key)
        if held is None:
            return None
        instance = self.caches.vmis.get(key)
        seen = vm.Seen(held.object, instance.object if instance else None, self.clock())
        if instance is None and seen.deleting:
            seen = replace(seen, vmi_gone=await self.caches.vmi_gone(key))
        if (start := revision.started_from(seen.vm, seen.ours)) is not None:
            seen = replace(seen, revision=await self.caches.revision(start))
        return seen

    def _set(self, key: Key) -> replicaset.Seen | None:
        held = self.caches.sets.get(key)
        if held is None:
            return None
        instances = [each.object for each in self.caches.vmis.by("owner", held.uid)]
        return replicaset.Seen(held.object, instances, self.clock())

    def _node(self, key: Key) -> node.Seen | None:
        held = self.caches.nodes.get(key)
        if held is None:
            return None
        metadata = held.metadata
        return node.Seen(
            name=key.name,
            uid=metadata.uid,
            resource_version=metadata.resource_version,
            schedulable=metadata.labels.get(node.SCHEDULABLE) == "true",
            heartbeat=self._heard(key.name, metadata.annotations.get(node.HEARTBEAT)),
            now=self.clock(),
            ready=held.ready,
        )

    def _heard(self, name: str, beat: str | None) -> float | None:
        """When we first saw this heartbeat, by our clock: its own stamp is by the node's, which
        may be minutes away."""
        if not beat:
            return None
        known, since = self._beats.get(name, ("", 0.0))
        if known != beat:
            since = self.clock()
            self._beats[name] = (beat, since)
        return since

    async def _vmi_refused(self, key: Key, refused: errors.Refused) -> None:
        seen = await self._vmi(key)
        if seen is not None:
            self.caches.claims.give_back(key, seen.vmi)
            plan = vmi.decide(replace(seen, refusal=_words(refused)))
            await self._say(self.vmis, key, plan)

    async def _vm_refused(self, key: Key, refused: errors.Refused) -> None:
        seen = await self._vm(key)
        if seen is not None:
            plan = vm.decide(replace(seen, refusal=_words(refused)))
            await self._say(self.vms, key, plan)

    async def _set_refused(self, key: Key, refused: errors.Refused) -> None:
        seen = self._set(key)
        if seen is not None:
            plan = replicaset.decide(replace(seen, refusal=_words(refused)))
            await self._say(self.sets, key, plan)

    async def _say(self, loop: Loop[Key, Any], key: Key, plan: Plan) -> None:
        for action in (*plan.actions, *([plan.status] if plan.status else ())):
            await self.act(action)
        loop.add_after(key, plan.again_in or NO_CR_WITHIN)


def _words(refused: errors.Refused) -> str:
    return "; ".join(cause.message for cause in refused.causes)
