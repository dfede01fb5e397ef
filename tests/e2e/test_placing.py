"""What of a machine's spec is for its pod: where it runs, as what, with how much, and how it is
watched. The machines have no disks, so that they cost little."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.support import Namespace, Object, bare, conditions, eventually, kubectl, phase, vmi
from virtpod.domain.quantity import bytes_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

HERE = {"kubernetes.io/hostname": "node1"}
TAINT = "virtpod-test/only"
MIB = 1 << 20


def machine(name: str, network: bool = False, **spec: object) -> Object:
    """A VMI without disks; `spec` is of its spec, `domain` in it goes over what it has."""
    whole = bare(name)
    found: Object = whole["spec"]["template"]["spec"]
    found["domain"] |= spec.pop("domain", {})  # type: ignore[arg-type]
    if network:
        found["domain"]["devices"] = {"interfaces": [{"name": "default", "masquerade": {}}]}
        found["networks"] = [{"name": "default", "pod": {}}]
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": name, "labels": {"vm": name, "spread": "yes"}},
        "spec": {**found, **spec},
    }


@pytest.fixture
def priority(namespace: Namespace) -> Iterator[str]:
    name = f"{namespace.name}-high"
    kind = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass"}
    namespace.apply({**kind, "metadata": {"name": name}, "value": 4711})
    yield name
    kubectl("delete", "priorityclass", name)


@pytest.fixture
def tainted(cluster: None) -> Iterator[None]:
    """Nothing new comes to node1 that does not bear with it."""
    kubectl("taint", "node", "node1", f"{TAINT}=vm:NoSchedule")
    yield
    kubectl("taint", "node", "node1", f"{TAINT}-")


def compute(pod: Object) -> Object:
    [found] = [each for each in pod["spec"]["containers"] if each["name"] == "compute"]
    return dict(found)


@pytest.mark.shows(
    "priorityClassName",
    "tolerations",
    "serviceAccountName",
    "dnsPolicy",
    "domain.resources.requests",
    "domain.resources.limits",
    "domain.memory.reservedOverhead.addedOverhead",
)
def test_a_machine_is_where_and_as_what_it_shall_be(
    namespace: Namespace, priority: str, tainted: None
) -> None:
    robot = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}}
    tolerates = {"key": TAINT, "operator": "Equal", "value": "vm", "effect": "NoSchedule"}
    sizes = {"requests": {"memory": "8Mi", "cpu": "30m"}, "limits": {"memory": "96Mi", "cpu": "1"}}
    more = {"addedOverhead": "64Mi"}
    namespace.apply(
        robot,
        machine("plain", domain={"memory": {"guest": "8Mi"}}),
        machine("away", nodeSelector=HERE),
        machine(
            "placed",
            nodeSelector=HERE,
            priorityClassName=priority,
            tolerations=[tolerates],
            serviceAccountName="robot",
            dnsPolicy="None",
            dnsConfig={"nameservers": ["192.0.2.7"]},
            domain={
                "memory": {"guest": "8Mi", "reservedOverhead": more},
                "resources": sizes,
            },
        ),
    )
    placed = namespace.launcher(namespace.running("placed"))
    assert placed["spec"]["nodeName"] == "node1"
    assert placed["spec"]["priority"] == 4711
    assert placed["spec"]["serviceAccountName"] == "robot"
    name = placed["metadata"]["name"]
    assert namespace.compute(name, "cat", "/etc/resolv.conf").split() == ["nameserver", "192.0.2.7"]
    plain = namespace.launcher(namespace.running("plain"))
    asks, usual = compute(placed)["resources"], compute(plain)["resources"]
    assert asks["requests"]["cpu"] == "30m"
    requested, limited = (bytes_of(asks[which]["memory"]) for which in ("requests", "limits"))
    assert requested == bytes_of(usual["requests"]["memory"]) + 64 * MIB
    assert limited - requested == 88 * MIB
    # What does not bear with the taint waits.
    waits = namespace.wait(
        "vmi", "away", lambda found: "PodScheduled" in conditions(found), "waits for a node"
    )
    assert "untolerated taint" in conditions(waits)["PodScheduled"]["message"]
    # The kernel holds it to what it may have at most.
    found = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null"
    limit = namespace.compute(name, "sh", "-c", f"{found}; true").split()
    assert [int(each) for each in limit] == [limited // 4096 * 4096]
    namespace.delete("vmi", "placed", "plain", "away")


@pytest.mark.shows(
    "schedulerName", "topologySpreadConstraints", "domain.resources.overcommitGuestOverhead"
)
def test_machines_are_spread_and_left_to_the_scheduler_they_name(namespace: Namespace) -> None:
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"spread": "yes"}},
    }
    light = {"requests": {"memory": "8Mi"}, "overcommitGuestOverhead": True}
    namespace.apply(
        machine("one", topologySpreadConstraints=[spread]),
        machine("two", topologySpreadConstraints=[spread], domain={"resources": light}),
        machine("three", schedulerName="nobody"),
    )
    pods = [namespace.launcher(namespace.running(name)) for name in ("one", "two")]
    assert {pod["spec"]["nodeName"] for pod in pods} == {"node1", "node2"}
    assert compute(pods[1])["resources"]["requests"]["memory"] in ("8Mi", str(8 * MIB))
    left = namespace.launcher(namespace.get("vmi", "three"))
    assert phase(left) == "Pending"
    assert "PodScheduled" not in conditions(left)
    namespace.delete("vmi", "one", "two", "three")


@pytest.mark.shows("volumes.containerDisk.imagePullPolicy")
def test_an_image_that_is_to_be_pulled_anew_is_not_taken_from_the_node(
    namespace: Namespace,
) -> None:
    """Nobody serves the demo guest's image: the nodes were given it."""
    anew = vmi("anew")
    [root] = anew["spec"]["volumes"]
    root["containerDisk"]["imagePullPolicy"] = "Always"
    namespace.apply(anew)
    eventually(
        lambda: any("Pull" in reason or "pull" in text for reason, text in pulled(namespace)),
        "its image is asked for where it is not",
    )
    assert phase(namespace.get("vmi", "anew")) in ("Scheduling", "Pending")
    namespace.delete("vmi", "anew")


def pulled(namespace: Namespace) -> list[tuple[str, str]]:
    pod = namespace.launcher(namespace.get("vmi", "anew"))
    return namespace.events(pod["metadata"]["name"])


@pytest.mark.shows(
    "livenessProbe.exec",
    "livenessProbe.httpGet",
    "livenessProbe.tcpSocket",
    "livenessProbe.successThreshold",
    "readinessProbe.guestAgentPing",
)
def test_machines_that_do_not_answer_are_ended_and_one_without_an_agent_is_never_ready(
    namespace: Namespace,
) -> None:
    often = {"periodSeconds": 1, "failureThreshold": 1, "successThreshold": 1, "timeoutSeconds": 2}
    kinds = {
        "exec": {"command": ["true"]},
        "httpget": {"port": 80},
        "tcpsocket": {"port": 22},
    }
    names = {"exec": "exec", "httpget": "httpGet", "tcpsocket": "tcpSocket"}
    namespace.apply(
        *(
            machine(name, network=True, livenessProbe={names[name]: asked, **often})
            for name, asked in kinds.items()
        ),
        machine("mute", readinessProbe={"guestAgentPing": {}, **often}),
    )
    for name in kinds:
        namespace.wait(
            "vmi", name, lambda found: phase(found) in ("Failed", "Succeeded"), "ended", 120
        )
        pod = namespace.launcher(namespace.get("vmi", name))["metadata"]["name"]
        eventually(
            lambda pod=pod: any(
                "Liveness probe failed" in text for _, text in namespace.events(pod)
            ),
            "the kubelet's event",
        )
    mute = namespace.wait("vmi", "mute", lambda found: phase(found) == "Running", "it runs")
    assert conditions(mute)["Ready"]["status"] == "False"
    pod = namespace.launcher(mute)["metadata"]["name"]
    eventually(
        lambda: any("Readiness probe failed" in text for _, text in namespace.events(pod)),
        "the kubelet's event",
    )
    namespace.delete("vmi", "mute", *kinds)
