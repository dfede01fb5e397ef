"""Carries out what `decide` says: applies, counts, probes, removes."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from virtpod.kube import apply, errors
from virtpod.kube.client import Client
from virtpod.kube.plan import Written
from virtpod.kube.resources import (
    API_SERVICES,
    CLUSTER_INSTANCETYPES,
    CLUSTER_PREFERENCES,
    CONFIGMAPS,
    DAEMONSETS,
    DEPLOYMENTS,
    KUBEVIRTS,
    MIGRATIONS,
    NODES,
    PODS,
    PROMETHEUS_RULES,
    SECRETS,
    SERVICE_MONITORS,
    SERVICES,
    VMIRS,
    VMIS,
    VMS,
    Key,
    Obj,
    Resource,
    key_of,
)
from virtpod.kube.store import Informer
from virtpod.operator import certificates, record
from virtpod.operator.decide import Install, Remove, Workload, daemon_set_lacks, deployment_lacks
from virtpod.render import common_instancetypes
from virtpod.render.common_instancetypes import OF_SET
from virtpod.render.customize import idle
from virtpod.render.install import CA_MAP, OPERATOR, Options, Site, chosen, components, stamped
from virtpod.render.patches import Unfit

log = logging.getLogger(__name__)

MANAGER = "virt-operator"
LOOK_AGAIN = 1800.0
"""Seconds after which everything is compared once more, for what no watch tells: an installation
at rest shall be quiet."""
TRY_AGAIN = 5.0
GUESTS = (VMS, VMIRS, VMIS, MIGRATIONS)
"""What runs on an installation, in the order in which it is taken away."""
WORKLOADS = (
    (DEPLOYMENTS, "virt-api"),
    (DEPLOYMENTS, "virt-controller"),
    (DAEMONSETS, "virt-handler"),
)
COMMON = (CLUSTER_INSTANCETYPES, CLUSTER_PREFERENCES)
MOUNTS_IMAGES = {"containerd": (2, 1), "cri-o": (1, 33)}
"""Runtimes, and since which version they mount images as volumes."""

OURS = re.compile(r"([a-z0-9-]+\.)*kubevirt\.io/")
"""Labels and annotations of nodes that virt-handler writes, and no other."""


class _Info(msgspec.Struct, rename="camel"):
    architecture: str = "amd64"
    container_runtime_version: str = ""


class _NodeStatus(msgspec.Struct, rename="camel"):
    node_info: _Info = msgspec.field(default_factory=_Info)


class _Taint(msgspec.Struct):
    key: str = ""
    effect: str = ""


class _NodeSpec(msgspec.Struct):
    unschedulable: bool = False
    taints: list[_Taint] = msgspec.field(default_factory=list)


class Node(msgspec.Struct, frozen=True):
    """Of a node: what decides on replicas and on image volumes."""

    spec: _NodeSpec = msgspec.field(default_factory=_NodeSpec)
    status: _NodeStatus = msgspec.field(default_factory=_NodeStatus)

    @property
    def takes_pods(self) -> bool:
        closed = ("NoSchedule", "NoExecute")
        return not self.spec.unschedulable and not any(
            taint.effect in closed for taint in self.spec.taints
        )


@dataclass(frozen=True)
class Done:
    """The last complete pass: for which wishes, and until when it is good."""

    wish: str
    until: float


class Installer:
    """Caches of what is installed, and the deeds."""

    def __init__(self, client: Client, writer: Client, options: Options) -> None:
        self.client = client
        self.writer = writer
        self.options = options
        namespace = options.namespace
        ours = "app.kubernetes.io/managed-by=virt-operator"
        self.nodes: Informer[Node] = Informer(
            client, NODES, project=msgspec.json.Decoder(Node).decode
        )
        self.workloads = {
            resource: Informer(client, resource, namespace=namespace, labels=ours)
            for resource in (DEPLOYMENTS, DAEMONSETS)
        }
        self.others = [
            Informer(client, resource, namespace=namespace, labels=ours, project=lambda _raw: True)
            for resource in (SECRETS, CONFIGMAPS, SERVICES)
        ]
        self.late = [
            Informer(client, resource, labels=OF_SET, project=lambda _raw: True)
            for resource in COMMON
        ]
        """Of kinds that are not there before the first pass: nothing may wait for these."""
        self.problem = ""
        self.done: Done | None = None
        self.dirty = True
        self._record: list[record.Entry] | None = None
        """What we wrote last: the cache may not show it yet."""
        self._images_mount: tuple[frozenset[str], bool] | None = None

    @property
    def informers(self) -> tuple[Informer[Any], ...]:
        return (self.nodes, *self.workloads.values(), *self.others)

    # What is seen.

    def wish(self, cr: Obj) -> str:
        """A hash of all that a pass depends on, certificates apart."""
        parts = [
            cr["spec"],
            chosen(cr, self.options),
            self._takers(),
            sorted(self._runtimes()),
        ]
        return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:40]

    def due(self, cr: Obj, now: float) -> bool:
        return (
            self.dirty
            or self.done is None
            or self.done.wish != self.wish(cr)
            or now >= self.done.until
        )

    def architecture(self) -> str:
        """That of most nodes."""
        told = [node.status.node_info.architecture for node in self.nodes.values()]
        found = [each for each in told if each]
        return max(sorted(set(found)), key=found.count, default="amd64")

    def lacking(self) -> tuple[Workload, ...]:
        """The workloads, and what each has not got yet."""
        return tuple(self._workload(resource, name) for resource, name in WORKLOADS)

    def _workload(self, resource: Resource, name: str) -> Workload:
        obj = self.workloads[resource].get(Key(self.options.namespace, name))
        if obj is None:
            return Workload(name, "not there yet")
        look = deployment_lacks if resource == DEPLOYMENTS else daemon_set_lacks
        return Workload(name, look(obj))

    async def answers(self) -> str:
        """What is wrong with virt-api's answers: a pod that is ready may still be out of reach."""
        body = {
            "apiVersion": VMIS.api_version,
            "kind": VMIS.kind,
            "metadata": {"name": "virt-operator-asks", "namespace": self.options.namespace},
            "spec": {"domain": {"devices": {}, "memory": {"guest": "64Mi"}}},
        }
        try:
            await self.writer.create(VMIS, body, dry_run=True)
        except (errors.Invalid, errors.BadRequest, errors.AlreadyExists):
            pass  # an answer
        except errors.ApiError as error:
            return f"virt-api's webhooks do not answer yet: {error.message}"
        try:
            service = await self.client.get(API_SERVICES, ("", "v1.subresources.kubevirt.io"))
        except errors.ApiError as error:
            return f"the aggregated API is not known yet: {error.message}"
        for condition in (service.get("status") or {}).get("conditions") or ():
            if condition["type"] == "Available" and condition["status"] == "True":
                return ""
        return "the aggregated API is not available yet"

    async def guests(self) -> int:
        """How many VMs, VMIs and the like there are."""
        return sum([len(await self._listed(resource)) for resource in GUESTS])

    # What is done.

    async def install(self, action: Install) -> Written | None:
        """One pass; what fails is kept as `problem` and tried again."""
        cr, now = action.cr, time.time()
        wish = self.wish(cr)
        self.dirty = False
        try:
            kept = await self._certificates(cr, now)
            site = await self._site(kept.bundle)
            manifests = [stamped(secret, cr["spec"]) for secret in kept.secrets]
            manifests += components(cr, self.options, site)
            wanted = record.of_manifests(manifests)
            await self._recorded(cr, record.announced(cr, wanted))
            if unmet := idle(manifests, cr["spec"].get("customizeComponents") or {}):
                log.warning("patches of the KubeVirt object name nothing", extra={"of": unmet})
            first = [each for each in manifests if apply.rank(each) < apply.RANK["APIService"]]
            applied = await apply.all(self.writer, first, MANAGER)
            wait = await self._keep_common(cr)
            rest = [each for each in manifests if each not in first]
            applied += await apply.all(self.writer, rest, MANAGER)
            kept_back = await self._prune(record.stale(cr, wanted))
            made = [((each.resource, each.key), each.generation) for each in applied]
            await self._recorded(cr, record.entries([*made, *((each, 0) for each in kept_back)]))
        except (errors.ApiError, TimeoutError, Unfit) as error:
            self.problem = str(error) or type(error).__name__
            self.done = None
            log.warning("cannot apply everything", extra={"error": self.problem})
            raise errors.NotYet(self.problem, TRY_AGAIN) from error
        changed = [str(each.key) for each in applied if each.changed]
        log.info("applied", extra={"objects": len(applied), "changed": changed})
        self.problem = ""
        self.done = Done(wish, now + min(kept.again_in, wait))
        return None

    async def _keep_common(self, cr: Obj) -> float:
        """The common instance types and preferences are there, or are not, as the CR wants it.

        When to look again, in seconds. Webhooks look at them: the first time they come before
        those; and where nobody answers them, nothing of what brings virt-api back waits for it.
        """
        try:
            await apply.all(self.writer, map(stamped, common_instancetypes.objects(cr)), MANAGER)
            if not common_instancetypes.wanted(cr):
                found = [
                    {"apiVersion": resource.api_version, "kind": resource.kind, **each}
                    for resource in COMMON
                    for each in (await self.client.list(resource, labels=OF_SET)).items
                ]
                surplus = common_instancetypes.surplus(cr, found)
                await apply.delete_all(self.writer, surplus, 50.0)
        except (errors.ApiError, TimeoutError) as error:
            log.warning("cannot apply the common instance types", extra={"error": str(error)})
            return TRY_AGAIN
        return LOOK_AGAIN

    async def _recorded(self, cr: Obj, entries: list[record.Entry] | None) -> None:
        """Writes what is made, where that is not what the object says."""
        key = key_of(cr)
        if entries is None or entries == (self._record or _said(cr)):
            return
        body = {"metadata": {"uid": cr["metadata"]["uid"]}, "status": {"generations": entries}}
        await self.writer.patch(KUBEVIRTS, key, body, "merge", subresource="status")
        self._record = entries

    async def _prune(self, stale: list[record.Place]) -> list[record.Place]:
        """Deletes what is no longer made; returns what it may not."""
        left = []
        for place in stale:
            resource, key = place
            try:
                live = await self.client.get(resource, key)
                if record.is_ours(live):
                    uid = live["metadata"]["uid"]
                    await self.writer.delete(resource, key, uid=uid, propagation="Background")
                    log.info("no longer made", extra={"kind": resource.kind, "key": str(key)})
            except errors.NotFound:
                continue
            except errors.Forbidden as error:
                left.append(place)
                log.warning(
                    "an object of another version stays: delete it",
                    extra={"kind": resource.kind, "key": str(key), "error": error.message},
                )
        return left

    async def remove(self, action: Remove) -> Written | None:
        """Guests first, then the rest, last what was made first."""
        left = []
        for resource in GUESTS:
            found = await self._listed(resource)
            left += [
                f"{resource.kind} {obj['metadata']['namespace']}/{obj['metadata']['name']}"
                for obj in found
            ]
            for obj in found:
                await self._delete(resource, obj)
        if left:
            raise errors.NotYet(f"still there: {', '.join(left[:5])}", 1.0)
        namespace = self.options.namespace
        names = [certificates.CA_SECRET, *(each.secret for each in certificates.wanted(namespace))]
        secrets = [
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "namespace": namespace},
            }
            for name in names
        ]
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": "virt-controller", "namespace": namespace},
        }
        # With two nodes more is made than with one: what is not there is quickly deleted.
        # Patches change what is made, not what there is; one that does not fit must not keep it.
        plain = {**action.cr, "spec": {**action.cr["spec"], "customizeComponents": None}}
        manifests = components(plain, self.options, Site(nodes=2, prometheus=True))
        manifests += [
            record.manifest(place)
            for place in record.stale(action.cr, record.of_manifests([*manifests, *secrets]))
            if await self._is_ours(place)
        ]
        running = [each for each in manifests if apply.rank(each) >= apply.RANK["Deployment"]]
        rest = [each for each in manifests if each not in running]
        try:
            await apply.delete_all(self.writer, running, 50.0)
            # Until its pods are gone a component needs its rights, and a node its labels.
            await self._pods_gone()
            await self._strip_nodes()
            await apply.delete_all(self.writer, [*rest, *secrets, lease], 50.0)
        except TimeoutError as error:
            raise errors.NotYet("something of the installation does not go", 1.0) from error
        self.done = None
        self.dirty = True
        self._record = None
        return None

    async def _is_ours(self, place: record.Place) -> bool:
        try:
            return record.is_ours(await self.client.get(*place))
        except (errors.NotFound, errors.Forbidden):
            return False

    async def _pods_gone(self) -> None:
        names = ", ".join(name for _, name in WORKLOADS)
        pods = await self.client.list(
            PODS, namespace=self.options.namespace, labels=f"kubevirt.io in ({names})"
        )
        if pods.items:
            first = pods.items[0]["metadata"]["name"]
            raise errors.NotYet(f"{len(pods.items)} pods are still there, {first} for one", 1.0)

    async def _strip_nodes(self) -> None:
        """Takes away what virt-handler wrote on the nodes."""
        for node in (await self.client.list(NODES)).items:
            metadata = node["metadata"]
            body = {
                field: {name: None for name in metadata.get(field) or {} if OURS.match(name)}
                for field in ("labels", "annotations")
            }
            if any(body.values()):
                await self.writer.patch(NODES, ("", metadata["name"]), {"metadata": body}, "merge")

    async def _delete(self, resource: Resource, obj: Obj) -> None:
        metadata = obj["metadata"]
        if metadata.get("deletionTimestamp"):
            return
        try:
            await self.writer.delete(
                resource, (metadata["namespace"], metadata["name"]), uid=metadata["uid"]
            )
        except errors.NotFound:
            return

    async def _listed(self, resource: Resource) -> list[Obj]:
        try:
            return (await self.client.list(resource)).items
        except errors.NotFound:
            return []  # the kind itself is not there

    async def _certificates(self, cr: Obj, now: float) -> certificates.Kept:
        namespace = self.options.namespace
        secrets: dict[str, Mapping[str, str]] = {}
        for name in (
            certificates.CA_SECRET,
            *(each.secret for each in certificates.wanted(namespace)),
        ):
            secret = await self._found(SECRETS, name)
            secrets[name] = secret.get("data") or {}
        config_map = await self._found(CONFIGMAPS, CA_MAP)
        bundle = (config_map.get("data") or {}).get("ca-bundle") or ""
        policy = certificates.policy(cr)
        return certificates.keep(secrets, bundle, namespace, policy, now)

    async def _found(self, resource: Resource, name: str) -> Obj:
        try:
            return await self.client.get(resource, (self.options.namespace, name))
        except errors.NotFound:
            return {}

    async def _site(self, bundle: str) -> Site:
        return Site(
            nodes=self._takers(),
            image_volumes=await self._mounts_images(),
            prometheus=await self._prometheus(),
            ca_bundle=bundle,
        )

    async def _prometheus(self) -> bool:
        """Asked anew at each pass: its operator may come after us."""
        try:
            reply = await self.client.request("GET", f"/apis/{PROMETHEUS_RULES.api_version}")
        except errors.NotFound:
            return False
        served = {each.get("name") for each in reply.json().get("resources") or ()}
        return {PROMETHEUS_RULES.plural, SERVICE_MONITORS.plural} <= served

    def _takers(self) -> int:
        return sum(node.takes_pods for node in self.nodes.values())

    def _runtimes(self) -> frozenset[str]:
        return frozenset(
            node.status.node_info.container_runtime_version for node in self.nodes.values()
        )

    async def _mounts_images(self) -> bool:
        """Whether pods can mount images: the API server keeps the field, and every runtime can."""
        said = self.options.image_volumes
        if said in ("true", "false"):
            return said == "true"
        runtimes = self._runtimes()
        if self._images_mount is None or self._images_mount[0] != runtimes:
            able = bool(runtimes) and all(map(mounts_images, runtimes)) and await self._field_kept()
            self._images_mount = (runtimes, able)
        return self._images_mount[1]

    async def _field_kept(self) -> bool:
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "virt-operator-asks", "namespace": self.options.namespace},
            "spec": {
                "serviceAccountName": OPERATOR,
                "automountServiceAccountToken": False,
                "containers": [{"name": "asks", "image": self.options.image}],
                "volumes": [{"name": "image", "image": {"reference": self.options.image}}],
            },
        }
        try:
            answer = await self.writer.create(PODS, body, dry_run=True)
        except errors.ApiError:
            return False
        return any(volume.get("image") for volume in answer["spec"].get("volumes") or ())


def _said(cr: Obj) -> list[record.Entry]:
    return (cr.get("status") or {}).get("generations") or []


def mounts_images(runtime: str) -> bool:
    """Whether a container runtime ("containerd://2.2.1") mounts images as volumes."""
    name, _, version = runtime.partition("://")
    numbers = re.match(r"v?(\d+)\.(\d+)", version)
    since = MOUNTS_IMAGES.get(name)
    return bool(numbers and since and (int(numbers[1]), int(numbers[2])) >= since)


def probed(options: Options, environ: Mapping[str, str]) -> Options:
    """What virt-operator's own container was told."""
    return replace(
        options,
        namespace=environ.get("POD_NAMESPACE") or options.namespace,
        image=environ.get("VIRTPOD_IMAGE") or options.image,
        launcher_image=environ.get("VIRT_LAUNCHER_IMAGE") or options.launcher_image,
        guestfs_image=environ.get("GS_IMAGE") or options.guestfs_image,
        version=environ.get("VIRTPOD_VERSION") or options.version,
        pull_policy=environ.get("VIRTPOD_PULL_POLICY") or options.pull_policy,
        image_volumes=environ.get("VIRTPOD_IMAGE_VOLUMES") or options.image_volumes,
        runbooks=environ.get("VIRTPOD_RUNBOOKS") or options.runbooks,
    )
