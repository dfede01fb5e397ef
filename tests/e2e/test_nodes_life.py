"""A node that runs short of memory, and one that dies: its guests, and the node back again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from localcluster import cluster as machines
from localcluster import layout
from localcluster import node as nodes
from tests.e2e.invariants import kill, pids
from tests.e2e.support import (
    Namespace,
    Object,
    available,
    conditions,
    eventually,
    kubectl,
    obstructed,
    on_node,
    phase,
    ready,
    vm,
    why,
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
    return str(look(node)["metadata"]["labels"].get(name, ""))


def look(node: str) -> Object:
    found: Object = json.loads(kubectl("get", "node", node, "--output", "json"))
    return found


def heartbeat(node: str) -> str:
    """When its kubelet last told how it is."""
    return conditions(look(node))["Ready"]["lastHeartbeatTime"]


def takes_guests(node: str) -> bool:
    """What it did before it was killed stands there until both kubelet and virt-handler are up."""
    devices = look(node)["status"]["allocatable"].get("devices.kubevirt.io/tun", "0")
    return label(node, "kubevirt.io/schedulable") == "true" and devices != "0"


@pytest.fixture
def node2() -> Iterator[str]:
    """A node that may be killed, and is whole again afterwards."""
    yield "node2"
    machines.up(2, ())
    if OUT_OF_SERVICE in kubectl("get", "node", "node2", "--output", "jsonpath={.spec.taints}"):
        kubectl("taint", "node", "node2", f"{OUT_OF_SERVICE}-")
    eventually(lambda: ready("node2"), "node2 is ready again", 120)
    eventually(lambda: takes_guests("node2"), "node2 takes guests again", 180)


@contextmanager
def kubelet_with(node: str, **changes: Any) -> Iterator[None]:
    """A kubelet of another configuration, for a while."""
    [known] = [each for each in layout.ALL_NODES if each.name == node]

    def configure(**changes: Any) -> None:
        nodes.configure_kubelet(known, **changes)
        # A kubelet does not begin with what another policy has written.
        on_node(node, "rm -f /var/lib/kubelet/cpu_manager_state")
        kill(node, "kubelet --")
        # What the one before it told, devices among it, stands until it tells for the first time.
        before = heartbeat(node)
        eventually(lambda: heartbeat(node) != before, "the new kubelet tells of its node", 90)

    configure(**changes)
    try:
        yield
    finally:
        configure()


def test_a_guest_is_evicted_for_memory_and_comes_back(namespace: Namespace) -> None:
    namespace.apply(vm("mobile", nodeSelector={"kubernetes.io/hostname": "node2"}))
    before = namespace.running("mobile")
    uid = before["metadata"]["uid"]
    # A hard threshold would be taken from what is allocatable: the kubelet would not even take up
    # the pods that it has.
    short = {
        "evictionSoft": {"memory.available": "99%"},
        "evictionSoftGracePeriod": {"memory.available": "1s"},
        "evictionMaxPodGracePeriod": 30,
    }
    with namespace.watch("vmi", "mobile") as watch, kubelet_with("node2", **short):
        watch.until(
            lambda _, seen: seen["metadata"]["uid"] == uid and phase(seen) == "Succeeded",
            "shut down in order",
            90,
        )
        namespace.wait("vm", "mobile", obstructed("NodesTainted"), "waits for the node")
        found = why(namespace, "mobile")
        assert "node.kubernetes.io/memory-pressure" in found["sentence"], found
    told = [m for reason, m in namespace.told("mobile", "Stopped") if reason == "Stopped"]
    assert any("The node was low on resource: memory" in each for each in told), told
    namespace.running("mobile", other_than=uid, seconds=180)
    found = why(namespace, "mobile")
    assert found["code"] == "Running"
    assert any("low on resource: memory" in each for each in found["evidence"]), found
    eventually(lambda: ready("node2"), "node2 is ready", 60)
    eventually(lambda: takes_guests("node2"), "node2 takes guests again", 60)
    available()
    namespace.delete("vm", "mobile")


@pytest.mark.skipif(os.cpu_count() == 1, reason="the kubelet keeps one CPU for itself")
def test_a_guest_has_a_cpu_of_its_own(namespace: Namespace) -> None:
    with kubelet_with("node2", cpuManagerPolicy="static", reservedSystemCPUs="0"):
        given = "kubevirt.io/cpumanager"
        eventually(lambda: label("node2", given) == "true", "the node gives CPUs", 90)
        assert label("node1", given) == "false"
        if (os.cpu_count() or 0) > 2:  # else others' millicores leave no whole CPU
            has_a_cpu_of_its_own(namespace)
    eventually(lambda: takes_guests("node2"), "node2 takes guests again", 90)


def has_a_cpu_of_its_own(namespace: Namespace) -> None:
    owner = vm("owner", terminationGracePeriodSeconds=0)
    owner["spec"]["template"]["spec"]["domain"]["cpu"] = {"dedicatedCpuPlacement": True}
    namespace.apply(owner)
    vmi = namespace.running("owner")
    assert vmi["status"]["nodeName"] == "node2"
    [qemu] = pids("node2", f"guest={namespace.name}_owner,")
    threads = on_node("node2", f"grep -l CPU.*/ /proc/{qemu}/task/*/comm").split()
    assert len(threads) == 1
    status = on_node("node2", f"cat {threads[0].removesuffix('comm')}status")
    allowed = dict(line.split(":\t", 1) for line in status.splitlines())["Cpus_allowed_list"]
    assert allowed.isdecimal(), "one CPU"
    assert allowed != "0"
    namespace.delete("vm", "owner")


@pytest.mark.shows("affinity")
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
        for reason, message in namespace.told("survivor", "NodeUnresponsive")
    )
    assert not namespace.items("pod", f"kubevirt.io/created-by={uid}")

    kubectl("taint", "node", node2, f"{OUT_OF_SERVICE}=off:NoExecute")
    second = namespace.running("survivor", other_than=uid, seconds=ELSEWHERE_WITHIN)
    assert second["status"]["nodeName"] == "node1"

    machines.up(2, ())
    kubectl("taint", "node", node2, f"{OUT_OF_SERVICE}-")
    eventually(lambda: ready(node2), "the node is back", 120)
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
    eventually(lambda: not ready(node2), "Kubernetes misses the node", MARKED_WITHIN)
    namespace.kubectl("delete", "pod", pod["name"], "--force", "--grace-period=0")
    machines.up(2, ())
    second = namespace.running("returner", other_than=uid, seconds=180)
    script = f"grep -l {pod['uid']} /proc/[0-9]*/cgroup; true"
    assert not on_node(node2, script).strip()
    assert len(namespace.items("pod", f"kubevirt.io/created-by={second['metadata']['uid']}")) == 1
    messages = [message for _, message in namespace.events("returner")]
    assert any("nothing of it is left here" in message for message in messages), messages
