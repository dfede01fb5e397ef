"""virt-operator installs, rests, repairs and removes, on a real kube-apiserver.

Nothing runs there, so the test plays the kubelet: it writes the statuses of Deployments and
DaemonSets, and makes the aggregated API available.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from virtpod.controllers import conditions
from virtpod.kube import apply, errors
from virtpod.kube.client import Client
from virtpod.kube.config import Config
from virtpod.kube.resources import (
    API_SERVICES,
    CLUSTER_INSTANCETYPES,
    CLUSTER_PREFERENCES,
    CLUSTER_ROLES,
    CRDS,
    DAEMONSETS,
    DEPLOYMENTS,
    KUBEVIRTS,
    MUTATING_WEBHOOKS,
    NAMESPACES,
    NODES,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    VALIDATING_WEBHOOKS,
    VMIS,
    VMS,
    Key,
    Obj,
    Resource,
)
from virtpod.operator.__main__ import Operator
from virtpod.operator.decide import FINALIZER
from virtpod.render.install import Options, kubevirt_cr, operator_manifests

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(900)]

NAMESPACE = "kubevirt"
OPTIONS = Options(
    image="registry.example/virtpod:1", launcher_image="registry.example/virt-launcher:1"
)
CR = Key(NAMESPACE, "kubevirt")
WITHIN = 150.0


class Counting(Client):
    """Counts what is written."""

    writes: list[str]

    def count(self) -> list[str]:
        self.writes = []
        observe = self.observe

        def seen(observation: Any) -> None:
            if observation.method != "GET":
                self.writes.append(f"{observation.method} {observation.path}")
            if observe:
                observe(observation)

        self.observe = seen
        return self.writes


@pytest.fixture
async def client(apiserver: Config) -> AsyncIterator[Client]:
    async with Client(apiserver, component="test") as client:
        yield client


@contextlib.asynccontextmanager
async def operator(
    config: Config, *, by_hand: bool = False
) -> AsyncIterator[tuple[Operator, list[str]]]:
    async with Counting(config, component="virt-operator") as client:
        writes = client.count()
        running = Operator(client, client, OPTIONS)

        async def answers() -> str:
            return ""

        running.installer.answers = answers  # type: ignore[method-assign]  # no virt-api runs here
        async with asyncio.TaskGroup() as tasks:
            working = [tasks.create_task(each.run()) for each in running.informers]
            await running.wait_synced()
            if not by_hand:
                working.append(tasks.create_task(running.loop.run()))
            try:
                yield running, writes
            finally:
                for task in working:
                    task.cancel()


async def acting(client: Client, config: Config, account: str, node: str = "") -> Config:
    """As a service account; bound to a node as the kubelet's tokens are."""
    spec: Obj = {"audiences": ["https://kubernetes.default.svc"], "expirationSeconds": 3600}
    if node:
        uid = (await client.get(NODES, Key("", node)))["metadata"]["uid"]
        spec["boundObjectRef"] = {"kind": "Node", "apiVersion": "v1", "name": node, "uid": uid}
    review = await client.post(
        SERVICE_ACCOUNTS,
        Key(NAMESPACE, account),
        "token",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec},
    )
    return replace(config, token=review["status"]["token"])


async def until(client: Client, so: Any) -> Obj | None:
    return await apply.wait_for(client, KUBEVIRTS, CR, so, WITHIN)


async def play_kubelet(client: Client) -> None:
    """All replicas are there."""
    for name in ("virt-api", "virt-controller"):
        found = await apply.wait_for(
            client, DEPLOYMENTS, Key(NAMESPACE, name), lambda obj: obj is not None, WITHIN
        )
        assert found is not None
        wanted = found["spec"]["replicas"]
        status = {
            "observedGeneration": found["metadata"]["generation"],
            "replicas": wanted,
            "updatedReplicas": wanted,
            "readyReplicas": wanted,
            "availableReplicas": wanted,
        }
        await client.patch(
            DEPLOYMENTS, Key(NAMESPACE, name), {"status": status}, "merge", subresource="status"
        )
    key = Key(NAMESPACE, "virt-handler")
    found = await apply.wait_for(client, DAEMONSETS, key, lambda obj: obj is not None, WITHIN)
    assert found is not None
    status = {
        "observedGeneration": found["metadata"]["generation"],
        "currentNumberScheduled": 1,
        "numberMisscheduled": 0,
        "desiredNumberScheduled": 1,
        "updatedNumberScheduled": 1,
        "numberReady": 1,
        "numberAvailable": 1,
    }
    await client.patch(DAEMONSETS, key, {"status": status}, "merge", subresource="status")


def deployed(cr: Obj | None) -> bool:
    return cr is not None and (cr.get("status") or {}).get("phase") == "Deployed"


def status_of(cr: Obj, type: str) -> str:
    return conditions.status(conditions.of(cr), type)


async def virt_handler_changes_what_is_its_own(client: Client, config: Config) -> None:
    """A compromised node reaches neither other nodes nor their guests."""
    await client.create(NODES, {"metadata": {"name": "node2"}})
    for resource in (MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS):  # nobody answers them here
        for found in (await client.list(resource)).items:
            await client.delete(resource, Key("", found["metadata"]["name"]))

    async def made(vmi: Obj) -> bool:
        """The API server calls a webhook for a moment after its deletion."""
        try:
            await client.create(VMIS, vmi)
        except errors.Unavailable:
            return False
        return True

    for name in ("node1", "node2"):
        vmi = {
            "metadata": {
                "name": f"on-{name}",
                "namespace": "default",
                "labels": {"kubevirt.io/nodeName": name},
            },
            "spec": {"domain": {"devices": {}}},
        }
        async with asyncio.timeout(WITHIN):
            while not await made(vmi):  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.2)

    async def takes(resource: Resource, name: str, change: Obj) -> bool:
        key = Key("default" if resource.namespaced else "", name)
        try:
            await handler.patch(resource, key, change, "merge", dry_run=True)
        except (errors.Forbidden, errors.Invalid):
            return False
        return True

    def labelled(name: str) -> Obj:
        return {"metadata": {"labels": {name: "true"}, "annotations": {name: "true"}}}

    async with Client(
        await acting(client, config, "kubevirt-handler", "node1"), "virt-handler"
    ) as handler:
        # Policies reach the API server's admission a moment after they are made.
        async with asyncio.timeout(WITHIN):
            while await takes(  # noqa: ASYNC110 - there is no event to wait for
                NODES, "node2", labelled("kubevirt.io/schedulable")
            ):
                await asyncio.sleep(0.2)
        assert await takes(NODES, "node1", labelled("kubevirt.io/schedulable"))
        assert await takes(NODES, "node1", labelled("cpu-model.node.kubevirt.io/Haswell"))
        assert not await takes(NODES, "node1", labelled("node-role.kubernetes.io/x"))
        assert not await takes(NODES, "node1", labelled("notkubevirt.io/x"))
        assert not await takes(NODES, "node1", {"spec": {"unschedulable": True}})
        assert not await takes(
            NODES, "node1", {"metadata": {"labels": {"of.example/others": None}}}
        )
        phase = {"status": {"phase": "Running"}}
        assert await takes(VMIS, "on-node1", phase)
        assert not await takes(VMIS, "on-node2", phase)
        assert not await takes(VMIS, "on-node1", {"spec": {"domain": {"cpu": {"cores": 9}}}})
        steal = {"metadata": {"labels": {"kubevirt.io/nodeName": "node1"}}}
        assert not await takes(VMIS, "on-node2", steal)
    # A token that is bound to no node is nobody's.
    async with Client(await acting(client, config, "kubevirt-handler"), "virt-handler") as handler:
        assert not await takes(NODES, "node1", labelled("kubevirt.io/schedulable"))
    for name in ("node1", "node2"):
        await client.delete(VMIS, Key("default", f"on-{name}"))
    await client.delete(NODES, Key("", "node2"))


async def unasked(client: Client, act: Callable[[], Awaitable[object]]) -> None:
    """Does something that webhooks would look at; no Service leads to them here, and virt-operator
    puts them back whenever they are away."""
    for _ in range(100):
        for name in ("virt-operator-validator", "virt-api-validator"):
            with contextlib.suppress(errors.NotFound):
                await client.delete(VALIDATING_WEBHOOKS, Key("", name))
        with contextlib.suppress(errors.Unavailable):
            await act()
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the webhooks do not go")


async def unasked_until(client: Client, resource: Resource, key: Key, so: Any) -> Obj | None:
    """The same for what the operator does: it puts the webhooks back in the meantime."""
    for _ in range(int(WITHIN / 0.5)):
        await unasked(client, lambda: asyncio.sleep(0))
        with contextlib.suppress(TimeoutError):
            return await apply.wait_for(client, resource, key, so, 0.5)
    raise AssertionError(f"{key} is not as it should be")


async def test_an_installation_from_the_first_manifest_to_the_last_deletion(
    client: Client, apiserver: Config
) -> None:
    labels = {"kubevirt.io/schedulable": "true", "cpu-model.node.kubevirt.io/Haswell": "true"}
    node = {"metadata": {"name": "node1", "labels": {**labels, "of.example/others": "x"}}}
    await client.create(NODES, node)
    manifests = operator_manifests(OPTIONS)
    # What needs a node is not a part of this.
    await apply.all(client, [m for m in manifests if m["kind"] != "Deployment"], "test")
    await client.create(KUBEVIRTS, kubevirt_cr(OPTIONS))
    # With the rights that its manifests give it, and no others.
    mine = await acting(client, apiserver, "kubevirt-operator")
    async with operator(mine):
        await until(client, lambda cr: (cr.get("status") or {}).get("phase") == "Deploying")
        await play_kubelet(client)
        cr = await until(client, deployed)
        assert cr is not None
        assert cr["metadata"]["finalizers"] == [FINALIZER]
        assert cr["status"]["observedGeneration"] == cr["metadata"]["generation"]
        assert {
            type: status_of(cr, type)
            for type in ("Available", "Progressing", "Degraded", "Created")
        } == {"Available": "True", "Progressing": "False", "Degraded": "False", "Created": "True"}
        assert cr["status"]["defaultArchitecture"] == "amd64"

    # At rest nothing is written, not even by a new process that looks at everything.
    async with operator(mine, by_hand=True) as (running, writes):
        plan = await running.loop.step(CR)
        assert plan is not None
        assert plan.why == "something is to be applied"
        plan = await running.loop.step(CR)
        assert plan is not None
        assert plan.why == "all is as it should be"
        assert writes == []

    # Without the operator, which would put the webhooks back.
    await virt_handler_changes_what_is_its_own(client, apiserver)

    async with operator(mine):
        # What somebody breaks is repaired.
        service = await client.get(SERVICES, Key(NAMESPACE, "virt-api"))
        await client.delete(SERVICES, Key(NAMESPACE, "virt-api"))
        repaired = await apply.wait_for(
            client,
            SERVICES,
            Key(NAMESPACE, "virt-api"),
            lambda obj: obj is not None and obj["metadata"]["uid"] != service["metadata"]["uid"],
            WITHIN,
        )
        assert repaired is not None

        # So are the common instance types, and those that somebody made are left alone.
        nano = Key("", "u1.nano")
        made = await client.get(CLUSTER_INSTANCETYPES, nano)
        mine = {**made, "metadata": {"name": "mine", "labels": made["metadata"]["labels"]}}
        await unasked(client, lambda: client.create(CLUSTER_INSTANCETYPES, mine))
        change = {"spec": {"cpu": {"guest": 7}}}
        await unasked(client, lambda: client.patch(CLUSTER_INSTANCETYPES, nano, change))
        assert await unasked_until(
            client,
            CLUSTER_INSTANCETYPES,
            nano,
            lambda obj: obj is not None and obj["spec"] == made["spec"],
        )
        none = {"spec": {"configuration": {"commonInstancetypesDeployment": {"enabled": False}}}}
        await unasked(client, lambda: client.patch(KUBEVIRTS, CR, none))
        for resource, name in ((CLUSTER_INSTANCETYPES, "u1.nano"), (CLUSTER_PREFERENCES, "debian")):
            await unasked_until(client, resource, Key("", name), lambda obj: obj is None)
        left = (await client.list(CLUSTER_INSTANCETYPES)).items
        assert [each["metadata"]["name"] for each in left] == ["mine"]
        await until(client, deployed)

        # A second CR is refused, and changes nothing.
        second = kubevirt_cr(OPTIONS)
        second["metadata"]["name"] = "another"
        await unasked(client, lambda: client.create(KUBEVIRTS, second))
        refused = await apply.wait_for(
            client,
            KUBEVIRTS,
            Key(NAMESPACE, "another"),
            lambda obj: obj is not None and bool(conditions.of(obj)),
            WITHIN,
        )
        assert refused is not None
        told = conditions.find(conditions.of(refused), "Synchronized")
        assert told is not None
        assert told["reason"] == "ExistingDeployment"
        await client.delete(KUBEVIRTS, Key(NAMESPACE, "another"))

        # Another tag rolls out.
        tag = {"spec": {"imageTag": "2"}}
        await unasked(client, lambda: client.patch(KUBEVIRTS, CR, tag, "merge"))
        await apply.wait_for(
            client,
            DEPLOYMENTS,
            Key(NAMESPACE, "virt-api"),
            lambda obj: (
                obj is not None
                and obj["spec"]["template"]["spec"]["containers"][0]["image"]
                == "registry.example/virtpod:2"
            ),
            WITHIN,
        )
        await play_kubelet(client)
        await until(
            client,
            lambda cr: (
                cr["status"]["observedGeneration"] == cr["metadata"]["generation"]
                and status_of(cr, "Progressing") == "False"
            ),
        )

        # Removal, with a VM there whose webhook nobody answers any more.
        for resource in (MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS):
            for found in (await client.list(resource)).items:
                await client.delete(resource, Key("", found["metadata"]["name"]))
        vm = {
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachine",
            "metadata": {"name": "vm", "namespace": "default"},
            "spec": {
                "runStrategy": "Halted",
                "template": {"spec": {"domain": {"devices": {}}}},
            },
        }
        with contextlib.suppress(errors.AlreadyExists):
            await client.create(NAMESPACES, {"metadata": {"name": "default"}})
        await client.create(VMS, vm)
        await client.delete(KUBEVIRTS, CR)
        gone = await apply.wait_for(client, KUBEVIRTS, CR, lambda cr: cr is None, WITHIN)
        assert gone is None
    left = [
        obj["metadata"]["name"]
        for resource in (
            CRDS,
            DEPLOYMENTS,
            DAEMONSETS,
            SECRETS,
            API_SERVICES,
            MUTATING_WEBHOOKS,
            VALIDATING_WEBHOOKS,
        )
        for obj in (await client.list(resource)).items
        if "kubevirt" in obj["metadata"]["name"] or "virt-" in obj["metadata"]["name"]
        # Those of the groups that CRDs define come and go with the CRDs.
        if resource != API_SERVICES or "subresources" in obj["metadata"]["name"]
    ]
    assert left == ["kubevirts.kubevirt.io"]
    roles = [obj["metadata"]["name"] for obj in (await client.list(CLUSTER_ROLES)).items]
    assert sorted(name for name in roles if "kubevirt" in name) == [
        "kubevirt-operator",
        "kubevirt.io:operator",
    ]
    (bare,) = (await client.list(NODES)).items
    ours = [name for name in bare["metadata"]["labels"] if "kubevirt.io" in name]
    assert ours == []
    assert bare["metadata"]["labels"]["of.example/others"] == "x"
