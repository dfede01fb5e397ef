"""All that virt-controller watches, and what it asks the API server where a cache proves nothing.

A pod's absence is proved here: by its deletion, or by asking.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from virtpod.api.base import decode
from virtpod.api.kubevirt import KubeVirt
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.controller.cids import Cids
from virtpod.controller.claims import Claims
from virtpod.controller.held import Held, HeldNode, project_node
from virtpod.controllers import (
    instancetype,
    launcher_pod,
    networks,
    node,
    obstruction,
    unattended,
)
from virtpod.controllers.why import claims_of
from virtpod.domain.facts import Cluster
from virtpod.domain.selector import selects
from virtpod.installation import Installation, project
from virtpod.kube import errors
from virtpod.kube.client import Client
from virtpod.kube.resources import (
    CONTROLLER_REVISIONS,
    EVENTS,
    KUBEVIRTS,
    NAMESPACES,
    NETWORK_DEFINITIONS,
    NODES,
    PODS,
    PVCS,
    VMIRS,
    VMIS,
    VMS,
    Key,
    Obj,
    Resource,
    owner_of,
)
from virtpod.kube.store import Informer
from virtpod.render import attachment
from virtpod.render.pod import pod_name

REMEMBERED = 10_000
"""VMIs of whose pod's end we remember that it was seen."""
REVISIONS = 100
"""Of changed VMs, that are remembered."""
FIRST_LISTS = 60.0
"""Seconds for them; the kubelet starts us anew after that."""


@dataclass(frozen=True, slots=True)
class Grave:
    """What was known of a pod when it vanished."""

    uid: str
    node: str
    ended: bool


class Caches:
    """All that is watched."""

    def __init__(self, client: Client, namespace: str, installation: Installation) -> None:
        self.client = client
        self._installation = installation
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
            labels=f"kubevirt.io in (virt-launcher,{attachment.LABEL},{attachment.DEVICE_LABEL})",
            project=Held.project,
            indices=owners,
        )
        self.sets: Informer[Held] = Informer(client, VMIRS, project=Held.project)
        self.nodes: Informer[HeldNode] = Informer(client, NODES, project=project_node)
        self.unattended: dict[Resource, Informer[Held]] = {
            resource: Informer(client, resource, project=Held.project)
            for resource in unattended.TOLD
        }
        self.claims = Claims(client, self.vmis, self.pods, self.nodes)
        self.cids = Cids(self.vmis)
        self._buried: OrderedDict[str, Grave] = OrderedDict()
        self._ended: dict[str, float] = {}
        self._silent: dict[str, float] = {}
        self._revisions: OrderedDict[Key, Obj] = OrderedDict()
        self.pods.on_change(self._bury)
        self.nodes.on_change(self._silence)

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
            self.claims.attachments,
            *self.unattended.values(),
        )

    async def wait_synced(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for each in self.all:
                tasks.create_task(each.wait_synced(FIRST_LISTS))

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

    async def chosen(self, vm: Obj) -> instancetype.Chosen:
        """The instance type and the preference that a VM takes."""
        found: dict[str, Obj | None] = {}
        for which, (resource, key) in instancetype.wanted(vm).items():
            found[which] = await (
                self.revision(key)
                if resource == CONTROLLER_REVISIONS
                else self._read(resource, key)
            )
        return instancetype.choose(vm, found)

    async def revision(self, key: Key) -> Obj | None:
        """A revision never changes: each is read once."""
        if key not in self._revisions:
            found = await self._read(CONTROLLER_REVISIONS, key)
            if found is None:
                return None
            self._revisions[key] = found
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
        now = time.monotonic()
        return node.Standing(
            name,
            ready=held.ready,
            out_of_service=held.tainted(node.OUT_OF_SERVICE),
            draining=held.tainted(node.drain(self._installation.cluster.config), "NoSchedule"),
            silent_for=now - self._silent.get(name, now),
        )

    def _silence(self, key: Key, old: HeldNode | None, new: HeldNode | None) -> None:
        """Since when a node is not heard, by our own clock."""
        if new is None or new.ready:
            self._silent.pop(key.name, None)
        else:
            self._silent.setdefault(key.name, time.monotonic())

    def lost_pod(self, uid: str) -> str:
        """The uid of the pod of this VMI that vanished."""
        grave = self._buried.get(uid)
        return grave.uid if grave else ""

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
                claims[name] = await self._read(PVCS, Key(namespace, name))
        return obstruction.Around(nodes, events, claims)

    async def networks(self, vmi: Obj, cluster: Cluster) -> dict[Key, Obj | None]:
        """The NetworkAttachmentDefinitions that it names; none is there where their kind is not."""
        wanted = networks.wanted(vmi, cluster)
        return {key: await self._read(NETWORK_DEFINITIONS, key) for key in wanted}

    async def limits_cpu(self, namespace: str, cluster: Cluster) -> bool:
        """Whether guests there get a CPU limit: asked of the namespace where that is configured."""
        selector = cluster.config.auto_cpu_limit_namespace_label_selector
        if selector is None:
            return False
        found = await self._read(NAMESPACES, Key("", namespace))
        labels = (found or {}).get("metadata", {}).get("labels") or {}
        return selects(selector, labels)

    async def _read(self, resource: Resource, key: Key) -> Obj | None:
        try:
            return await self.client.get(resource, key)
        except errors.NotFound:
            return None

    def ended_for(self, pods: Sequence[Obj]) -> float:
        """Seconds since the first of these pods that has ended was first seen so."""
        now = time.monotonic()
        over = [pod["metadata"]["uid"] for pod in pods if launcher_pod.ended(pod)]
        return max((now - self._ended.setdefault(uid, now) for uid in over), default=0.0)

    def _bury(self, key: Key, old: Held | None, new: Held | None) -> None:
        """A pod's deletion was told, or a whole list lacks it: that is proof."""
        if new is not None:
            self._buried.pop(new.owner_uid, None)
        elif old is not None and old.owner_uid:
            self._ended.pop(old.uid, None)
            self._buried[old.owner_uid] = Grave(old.uid, old.node, launcher_pod.ended(old.object))
            if len(self._buried) > REMEMBERED:
                self._buried.popitem(last=False)


def _owner(key: Key, held: Held) -> list[str]:
    return [held.owner_uid] if held.owner_uid else []


def _on_node(key: Key, held: Held) -> list[str]:
    return [held.node] if held.node else []


def _claims(key: Key, held: Held) -> list[Key]:
    return [Key(key.namespace, name) for name in held.claims]
