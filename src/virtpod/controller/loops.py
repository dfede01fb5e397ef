"""The loops that decide on what the caches show.

Gathering `Seen` is all that happens here, and the clock is read here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from virtpod.api.kubevirt import KubeVirtWorkloadUpdateStrategy
from virtpod.controller import cids
from virtpod.controller.acts import Creates
from virtpod.controller.caches import Caches
from virtpod.controller.held import Held, HeldNode
from virtpod.controllers import (
    hotplug,
    instancetype,
    node,
    replicaset,
    revision,
    targets,
    unattended,
    updating,
    vm,
    vmi,
)
from virtpod.controllers.lifecycle import FINAL, MACHINE_FINALIZER, ON_NODE
from virtpod.installation import Installation
from virtpod.kube import errors
from virtpod.kube.client import Client
from virtpod.kube.events import Recorder
from virtpod.kube.loop import Loop
from virtpod.kube.plan import Plan
from virtpod.kube.resources import PODS, VMIRS, VMIS, Key, Resource

log = logging.getLogger(__name__)

SOON = 1.0
"""Seconds: what comes in numbers is looked at once."""
REFUSED_AGAIN = 60.0
"""Seconds until what the API server refused is tried again."""


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
        self._last_batch: float | None = None
        act = Creates(writer, recorder, {updating.Batch: self._evicted})
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

        self.updates: Loop[Key, updating.Seen] = Loop(
            "virt-controller-workload-update",
            self._update,
            updating.decide,
            act,
            stores=[caches.vmis],
            workers=1,
        )
        self.targets: Loop[Key, targets.Seen] = Loop(
            "virt-controller-targets",
            self._target,
            targets.decide,
            act,
            stores=[caches.vmis],
            workers=1,
        )
        self.unattended: Loop[tuple[Resource, Key], unattended.Seen] = Loop(
            "virt-controller-unattended",
            self._unattended,
            unattended.decide,
            act,
            stores=list(caches.unattended.values()),
            workers=1,
        )

    @property
    def all(self) -> tuple[Loop[Any, Any], ...]:
        return (
            self.vmis,
            self.vms,
            self.sets,
            self.nodes,
            self.unattended,
            self.updates,
            self.targets,
        )

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
        caches.kubevirts.on_change(lambda key, _old, _new: self.updates.add(key))
        for resource, store in caches.unattended.items():
            store.on_change(partial(self._unattended_changed, resource))
        async with asyncio.TaskGroup() as tasks:
            for loop in self.all:
                tasks.create_task(loop.run())

    def _pod_changed(self, key: Key, old: Held | None, new: Held | None) -> None:
        held = new or old
        if held is not None and held.owner_kind == VMIS.kind:
            self.vmis.add(Key(key.namespace, held.owner_name))
        elif held is not None and held.owner_kind == PODS.kind:
            launcher = self.caches.pods.get(Key(key.namespace, held.owner_name))
            if launcher is not None and launcher.owner_kind == VMIS.kind:
                self.vmis.add(Key(key.namespace, launcher.owner_name))

    def _node_changed(self, key: Key, old: HeldNode | None, new: HeldNode | None) -> None:
        """Its guests are looked at when what they rest on changes, not at each heartbeat."""
        self.nodes.add(key)
        if old is None or new is None or (old.ready, old.spec) != (new.ready, new.spec):
            for instance in self.caches.vmis.keys_by("node", key.name):
                self.vmis.add(instance)
        if old is None or new is None or old.target != new.target:
            for instance, held in self.caches.vmis.items():
                if held.moves:
                    self.targets.add(instance)

    def _vmi_changed(self, key: Key, old: Held | None, new: Held | None) -> None:
        self.vmis.add(key)
        if new is not None and (new.moves or (old is not None and old.moves)):
            self.targets.add(key)
        # A launcher's image stays what it is: guests are out of date when we are new, and go.
        if old is not None and old.outdated and new is None:
            self._look_for_outdated()
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
            doubt = node.doubt(seen.phase, seen.node, end_seen=end_seen)
            seen = replace(seen, doubt=doubt, lost_pod=self.caches.lost_pod(held.uid))
        if seen.deleting and MACHINE_FINALIZER in (obj["metadata"].get("finalizers") or ()):
            seen = replace(seen, machine_gone=await self.caches.machine_gone(key, obj))
        if held.claims and not seen.deleting and seen.phase in ("", "Pending"):
            found = await self.caches.claims.seen(key, obj, hotplug=False)
            seen = replace(seen, claims=found.known, holders=found.holders, attached=found.attached)
        if not pods and not seen.deleting and cids.wanted(held.raw):
            seen = replace(seen, cid=self.caches.cids.of(held.uid))
        if not pods and not seen.deleting and seen.phase in ("", "Pending"):
            limited = await self.caches.limits_cpu(key.namespace, seen.cluster)
            seen = replace(seen, cluster=replace(seen.cluster, limits_cpu=limited))
            seen = replace(seen, networks=await self.caches.networks(obj, seen.cluster))
        if pods:
            seen = await self._with_attachments(key, seen)
        return seen

    async def _with_attachments(self, key: Key, seen: vmi.Seen) -> vmi.Seen:
        """And of its volumes and devices that come and go."""
        owners = [pod["metadata"]["uid"] for pod in seen.pods]
        held = [pod.object for uid in owners for pod in self.caches.pods.by("owner", uid)]
        seen = replace(seen, attachments=held)
        if seen.deleting or seen.phase not in ON_NODE:
            return seen
        if not hotplug.wanted(seen.vmi):
            return replace(seen, claims=self.caches.claims.noted(key, seen.vmi))
        found = await self.caches.claims.seen(key, seen.vmi, hotplug=True)
        return replace(seen, claims=found.known, holders=found.holders)

    async def _vm(self, key: Key) -> vm.Seen | None:
        held = self.caches.vms.get(key)
        if held is None:
            return None
        instance = self.caches.vmis.get(key)
        seen = vm.Seen(
            held.object,
            instance.object if instance else None,
            self.clock(),
            cluster=self.installation.cluster,
        )
        if instance is None and seen.deleting:
            seen = replace(seen, vmi_gone=await self.caches.vmi_gone(key))
        if not seen.deleting and instancetype.matters(seen.vm, starts=instance is None):
            chosen = await self.caches.chosen(seen.vm)
            seen = replace(seen, chosen=chosen)
        if (start := revision.started_from(seen.vm, seen.ours)) is not None:
            seen = replace(seen, revision=await self.caches.revision(start))
        return seen

    def _look_for_outdated(self) -> None:
        names = self.caches.kubevirts.keys()
        for kubevirt in names:
            self.updates.add_after(kubevirt, SOON)

    def _update(self, key: Key) -> updating.Seen | None:
        kubevirt = self.caches.kubevirts.get(key)
        if kubevirt is None or kubevirt.metadata.deletion_timestamp:
            return None
        image = self.installation.cluster.launcher_image
        return updating.Seen(
            kubevirt=key,
            told=kubevirt.status.outdated_virtual_machine_instance_workloads,
            image=image,
            now=self.clock(),
            workloads=list(self._workloads(image)) if image else [],
            strategy=kubevirt.spec.workload_update_strategy or KubeVirtWorkloadUpdateStrategy(),
            last=self._last_batch,
        )

    def _workloads(self, image: str) -> Iterator[updating.Workload]:
        """Of guests whose launcher is of another image, or that are labelled so: objects are made
        of these alone."""
        pods, vmis = self.caches.pods, self.caches.vmis
        keys = {Key(key.namespace, p.owner_name) for key, p in pods.items() if p.image != image}
        keys |= {key for key, held in vmis.items() if held.outdated}
        for key in sorted(keys):
            held = vmis.get(key)
            if held is None:
                continue
            phase = (held.object.get("status") or {}).get("phase") or ""
            if phase in FINAL:
                continue
            for pod in pods.by("owner", held.uid):
                metadata = pod.object["metadata"]
                yield updating.Workload(
                    vmi=held.object,
                    pod=Key(metadata["namespace"], metadata["name"]),
                    pod_uid=metadata["uid"],
                    image=pod.image,
                    leaving=bool(metadata.get("deletionTimestamp")),
                    runs=phase == "Running",
                )

    def _target(self, key: Key) -> targets.Seen | None:
        held = self.caches.vmis.get(key)
        if held is None:
            return None
        nodes = [node.fact(key.name) for key, node in self.caches.nodes.items()]
        return targets.Seen(held.object, nodes, self.clock())

    async def _evicted(self, batch: updating.Batch) -> None:
        self._last_batch = batch.at

    def _set(self, key: Key) -> replicaset.Seen | None:
        held = self.caches.sets.get(key)
        if held is None:
            return None
        instances = [each.object for each in self.caches.vmis.by("owner", held.uid)]
        return replicaset.Seen(held.object, instances, self.clock())

    def _unattended_changed(
        self, resource: Resource, key: Key, _old: Held | None, _new: Held | None
    ) -> None:
        self.unattended.add((resource, key))

    def _unattended(self, key: tuple[Resource, Key]) -> unattended.Seen | None:
        resource, name = key
        held = self.caches.unattended[resource].get(name)
        if held is None:
            return None
        return unattended.Seen(resource, held.object, self.clock())

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
            of = refused.causes[0].field
            plan = vmi.decide(replace(seen, refusal=_words(refused), refused=of))
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
        loop.add_after(key, plan.again_in or REFUSED_AGAIN)


def _words(refused: errors.Refused) -> str:
    return "; ".join(cause.message for cause in refused.causes)
