"""A node that dies, its guests, and the node back again; and what a drain is told."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from localcluster import cluster as machines
from tests.e2e.support import (
    Namespace,
    Object,
    Refused,
    condition,
    conditions,
    eventually,
    kubectl,
    on_node,
    phase,
    vm,
    vmi,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
MARKED_WITHIN = 75
"""Seconds: Kubernetes itself takes 40 to 50 to miss a kubelet, on a machine that is not busy."""
ELSEWHERE_WITHIN = 90
"""Seconds from the proof to a new guest that runs; its boot included."""


def rather_on(node: str) -> Object:
    """An affinity that gives way when the node is not to be had."""
    term = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    preference = {"weight": 100, "preference": {"matchExpressions": [term]}}
    return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [preference]}}


def label(node: str, name: str) -> str:
    found = json.loads(kubectl("get", "node", node, "--output", "json"))
    return str(found["metadata"]["labels"].get(name, ""))


def ready(node: str) -> str:
    return condition(json.loads(kubectl("get", "node", node, "--output", "json")), "Ready")


@pytest.fixture
def node2() -> Iterator[str]:
    """A node that may be killed, and is whole again afterwards."""
    yield "node2"
    machines.up(2, ())
    if OUT_OF_SERVICE in kubectl("get", "node", "node2", "--output", "jsonpath={.spec.taints}"):
        kubectl("taint", "node", "node2", f"{OUT_OF_SERVICE}-")
    eventually(lambda: ready("node2") == "True", "node2 is ready again", 120)
    eventually(
        lambda: label("node2", "kubevirt.io/schedulable") == "true",
        "node2 takes guests again",
        180,
    )


def test_a_drain_is_told_why_a_guest_stays(namespace: Namespace) -> None:
    namespace.apply(vmi("stays", evictionStrategy="LiveMigrate"))
    stays = namespace.running("stays")
    pod = namespace.launcher(stays)["metadata"]["name"]
    path = f"/api/v1/namespaces/{namespace.name}/pods/{pod}/eviction"
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": namespace.name},
    }
    with pytest.raises(Refused, match="not live-migratable"):
        kubectl("create", "--raw", path, "--filename", "-", stdin=json.dumps(eviction))
    eventually(
        lambda: any(
            reason == "EvictionRefused" and "Shut it down" in message
            for reason, message in namespace.events("stays")
        ),
        "an event that says what to do",
    )
    assert namespace.get("vmi", "stays")["metadata"]["uid"] == stays["metadata"]["uid"]
    assert phase(namespace.get("vmi", "stays")) == "Running"
    # A plain deletion is not asked about.
    namespace.delete("vmi", "stays")


def test_a_guest_of_a_dead_node_waits_for_a_proof_and_then_runs_elsewhere(
    namespace: Namespace, node2: str
) -> None:
    namespace.apply(vm("survivor", affinity=rather_on(node2), terminationGracePeriodSeconds=0))
    first = namespace.running("survivor")
    assert first["status"]["nodeName"] == node2
    uid, pod = first["metadata"]["uid"], namespace.launcher(first)["metadata"]

    machines.crash(node2)
    eventually(
        lambda: label(node2, "kubevirt.io/schedulable") == "false",
        "the node takes no guests",
        MARKED_WITHIN,
    )

    # Nobody knows whether the guest is dead, and that its pod is made away with proves nothing.
    namespace.kubectl("delete", "pod", pod["name"], "--force", "--grace-period=0")
    held = namespace.wait(
        "vmi",
        "survivor",
        lambda found: (
            "gone from the API" in conditions(found).get("Synchronized", {}).get("message", "")
        ),
        "why no other is started",
    )
    assert (held["metadata"]["uid"], phase(held)) == (uid, "Running")
    assert any(
        reason == "NodeUnresponsive" and OUT_OF_SERVICE in message
        for reason, message in namespace.events("survivor")
    )
    assert not namespace.items("pod", f"kubevirt.io/created-by={uid}")

    kubectl("taint", "node", node2, f"{OUT_OF_SERVICE}=off:NoExecute")
    second = namespace.running("survivor", other_than=uid, seconds=ELSEWHERE_WITHIN)
    assert second["status"]["nodeName"] == "node1"

    machines.up(2, ())
    kubectl("taint", "node", node2, f"{OUT_OF_SERVICE}-")
    eventually(lambda: ready(node2) == "True", "the node is back", 120)
    script = f"grep -l {pod['uid']} /proc/[0-9]*/cgroup; true"
    eventually(lambda: not on_node(node2, script).strip(), "nothing of the first guest is left", 60)
    assert namespace.get("vmi", "survivor")["metadata"]["uid"] == second["metadata"]["uid"]
    assert len(namespace.items("pod", "kubevirt.io=virt-launcher")) == 1


@pytest.mark.long
def test_a_node_that_comes_back_says_itself_that_the_guest_is_gone(
    namespace: Namespace, node2: str
) -> None:
    namespace.apply(vm("returner", affinity=rather_on(node2), terminationGracePeriodSeconds=0))
    first = namespace.running("returner")
    assert first["status"]["nodeName"] == node2
    uid, pod = first["metadata"]["uid"], namespace.launcher(first)["metadata"]
    machines.crash(node2)
    eventually(lambda: ready(node2) != "True", "Kubernetes misses the node", MARKED_WITHIN)
    namespace.kubectl("delete", "pod", pod["name"], "--force", "--grace-period=0")
    machines.up(2, ())
    second = namespace.running("returner", other_than=uid, seconds=180)
    script = f"grep -l {pod['uid']} /proc/[0-9]*/cgroup; true"
    assert not on_node(node2, script).strip()
    assert len(namespace.items("pod", f"kubevirt.io/created-by={second['metadata']['uid']}")) == 1
    messages = [message for _, message in namespace.events("returner")]
    assert any("nothing of it is left here" in message for message in messages), messages
