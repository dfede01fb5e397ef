"""Kubernetes' own roles admin, edit and view have ours in them, on a real cluster's control plane:
kube-controller-manager joins them, and the API server says what their holders may do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.kube import server
from virtpod.kube import apply
from virtpod.kube.client import Client
from virtpod.kube.resources import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    NAMESPACES,
    ROLE_BINDINGS,
    SUBJECT_ACCESS_REVIEWS,
    Key,
)
from virtpod.render import rbac

pytestmark = pytest.mark.apiserver

WITHIN = 90.0
GROUP = "rbac.authorization.k8s.io"
SUBRESOURCES = "subresources.kubevirt.io"
HOLDERS = {"admin": "ann", "edit": "eve", "view": "vic"}
TEAM, OTHER = "team", "other"
CASES = [
    # group, resource, verb, and who may
    ("kubevirt.io", "virtualmachines", "get", "admin edit view"),
    ("kubevirt.io", "virtualmachines", "create", "admin edit"),
    ("kubevirt.io", "virtualmachines", "deletecollection", "admin"),
    ("kubevirt.io", "virtualmachineinstances", "delete", "admin edit"),
    ("kubevirt.io", "virtualmachineinstancemigrations", "list", "admin edit view"),
    ("kubevirt.io", "virtualmachineinstancemigrations", "create", ""),
    ("kubevirt.io", "kubevirts", "update", ""),
    ("pool.kubevirt.io", "virtualmachinepools", "watch", "admin edit view"),
    ("snapshot.kubevirt.io", "virtualmachinesnapshots", "create", "admin edit"),
    ("instancetype.kubevirt.io", "virtualmachinepreferences", "patch", "admin edit"),
    (SUBRESOURCES, "virtualmachines/start", "update", "admin edit"),
    (SUBRESOURCES, "virtualmachines/migrate", "update", ""),
    (SUBRESOURCES, "virtualmachines/expand-spec", "get", "admin edit view"),
    (SUBRESOURCES, "virtualmachineinstances/console", "get", "admin edit"),
    (SUBRESOURCES, "virtualmachineinstances/vnc/screenshot", "get", "admin"),
    (SUBRESOURCES, "virtualmachineinstances/guestosinfo", "get", "admin edit view"),
    (SUBRESOURCES, "virtualmachineinstances/sev/setupsession", "update", "admin edit"),
    (SUBRESOURCES, "start-cluster-profiler", "get", ""),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    if not server.programs():
        pytest.skip("the local cluster's programs are not built: make cluster")
    folder = tmp_path_factory.mktemp("aggregation")
    with server.running(folder) as config:
        manager = [
            str(server.BIN / "kube"),
            "kube-controller-manager",
            f"--kubeconfig={server.kubeconfig(config, folder)}",
            "--controllers=clusterrole-aggregation",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={server.free_ports(1)[0]}",
            f"--cert-dir={folder}",
        ]
        with server.process(manager, folder / "controller-manager.log"):
            async with Client(config, component="test") as client:
                await _users(client)
                yield client


async def _users(client: Client) -> None:
    for namespace in (TEAM, OTHER):
        await client.create(NAMESPACES, {"metadata": {"name": namespace}})
    for manifest in rbac.users():
        kinds = {each.kind: each for each in (CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS)}
        await client.create(kinds[manifest["kind"]], manifest)
    for role, user in HOLDERS.items():
        subject = {"apiGroup": GROUP, "kind": "User", "name": user}
        binding = rbac.binding(role, TEAM, role, subject)
        binding["roleRef"]["kind"] = "ClusterRole"
        await client.create(ROLE_BINDINGS, binding)
    await _until_joined(client, True)


async def _until_joined(client: Client, joined: bool) -> None:
    for role in HOLDERS:
        await apply.wait_for(
            client,
            CLUSTER_ROLES,
            Key("", role),
            lambda found: found is not None and _ours(found) == joined,
            WITHIN,
        )


def _ours(role: dict[str, Any]) -> bool:
    return any("kubevirt.io" in rule["apiGroups"] for rule in role.get("rules") or ())


async def may(client: Client, user: str, group: str, what: str, verb: str, where: str) -> bool:
    resource, _, subresource = what.partition("/")
    asked = {"group": group, "resource": resource, "subresource": subresource}
    attributes = {**asked, "verb": verb, "namespace": where, "name": "vm"}
    if verb in ("create", "list", "watch", "deletecollection"):
        del attributes["name"]
    review = {"spec": {"user": user, "resourceAttributes": attributes}}
    answer = await client.create(SUBJECT_ACCESS_REVIEWS, {"metadata": {}, **review})
    return bool(answer["status"]["allowed"])


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("group", "what", "verb", "who"), CASES)
async def test_holders_of_kubernetes_roles_may(
    cluster: Client, group: str, what: str, verb: str, who: str
) -> None:
    found = {
        role for role, user in HOLDERS.items() if await may(cluster, user, group, what, verb, TEAM)
    }
    assert found == set(who.split())
    for user in HOLDERS.values():
        assert not await may(cluster, user, group, what, verb, OTHER)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.configures("configuration.roleAggregationStrategy")
async def test_they_lose_it_where_roles_are_not_joined(cluster: Client) -> None:
    """roleAggregationStrategy: Manual takes the labels away, and the controller the rules."""
    for manifest in rbac.users(aggregated=False):
        if manifest["kind"] == "ClusterRole":
            name = Key("", manifest["metadata"]["name"])
            gone = {f"{GROUP}/aggregate-to-{role}": None for role in HOLDERS}
            await cluster.patch(CLUSTER_ROLES, name, {"metadata": {"labels": gone}}, type="merge")
    await _until_joined(cluster, False)
    assert not await may(cluster, "ann", "kubevirt.io", "virtualmachines", "get", TEAM)
