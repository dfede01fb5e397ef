"""A VM and its instance beyond start and stop: owners, revisions, replica sets; without guests."""

from __future__ import annotations

import json

import pytest

from tests.e2e.support import (
    Namespace,
    Object,
    Refused,
    bare,
    condition,
    conditions,
    eventually,
    kubectl,
    phase,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

MACHINE = "kubevirt.io/virtualMachineControllerFinalize"


def runs(namespace: Namespace, name: str, other_than: str = "") -> Object:
    return namespace.wait(
        "vmi",
        name,
        lambda vmi: phase(vmi) == "Running" and vmi["metadata"]["uid"] != other_than,
        "Running",
    )


def status(namespace: Namespace, name: str, word: str) -> Object:
    return namespace.wait(
        "vm", name, lambda vm: vm["status"].get("printableStatus") == word, f"VM is {word}"
    )


def revisions(namespace: Namespace, uid: str) -> list[str]:
    found = namespace.items("controllerrevision", f"kubevirt.io/vm-uid={uid}")
    return [each["metadata"]["name"] for each in found]


def test_a_change_waits_for_a_restart_and_says_so(namespace: Namespace) -> None:
    namespace.apply(bare("changed"))
    first = runs(namespace, "changed")
    machine = namespace.get("vm", "changed")
    uid = machine["metadata"]["uid"]
    assert MACHINE in first["metadata"]["finalizers"]
    assert revisions(namespace, uid) == [first["status"]["virtualMachineRevisionName"]]
    assert not condition(machine, "RestartRequired")

    more = {"spec": {"template": {"spec": {"domain": {"memory": {"guest": "12Mi"}}}}}}
    namespace.patch("vm", "changed", more)
    told = namespace.wait(
        "vm", "changed", lambda vm: condition(vm, "RestartRequired") == "True", "RestartRequired"
    )
    assert "spec.domain.memory.guest" in conditions(told)["RestartRequired"]["message"]
    assert told["status"]["observedGeneration"] < told["status"]["desiredGeneration"]

    namespace.virtctl("restart", "changed", "--grace-period=0", "--force")
    second = runs(namespace, "changed", first["metadata"]["uid"])
    assert second["spec"]["domain"]["memory"]["guest"] == "12Mi"
    after = status(namespace, "changed", "Running")
    assert not condition(after, "RestartRequired")
    assert revisions(namespace, uid) == [second["status"]["virtualMachineRevisionName"]]


def test_a_dry_run_changes_nothing(namespace: Namespace) -> None:
    before = runs(namespace, "changed")
    for words in (("stop",), ("restart",)):
        namespace.virtctl(*words, "changed", "--dry-run")
    after = namespace.get("vm", "changed")
    assert after["spec"]["runStrategy"] == "Always"
    assert not after["status"].get("stateChangeRequests")
    assert namespace.get("vmi", "changed")["metadata"]["uid"] == before["metadata"]["uid"]


def test_an_orphan_is_adopted_again(namespace: Namespace) -> None:
    before = runs(namespace, "changed")
    namespace.kubectl("delete", "vm", "changed", "--cascade=orphan")
    left = runs(namespace, "changed")
    assert left["metadata"]["uid"] == before["metadata"]["uid"]
    eventually(
        lambda: MACHINE not in namespace.get("vmi", "changed")["metadata"]["finalizers"],
        "nobody holds the orphan",
    )
    namespace.apply(bare("changed"))
    machine = status(namespace, "changed", "Running")
    adopted = namespace.get("vmi", "changed")
    assert adopted["metadata"]["uid"] == before["metadata"]["uid"]
    assert [each["uid"] for each in adopted["metadata"]["ownerReferences"]] == [
        machine["metadata"]["uid"]
    ]


@pytest.mark.parametrize("propagation", ["foreground", "background"])
def test_nothing_is_left_of_a_deleted_vm(namespace: Namespace, propagation: str) -> None:
    """Be it deleted while its instance runs, or while it is being made."""
    for name in ("running", "starting"):
        namespace.apply(bare(name))
        if name == "running":
            runs(namespace, name)
        namespace.kubectl("delete", "vm", name, f"--cascade={propagation}", "--timeout=60s")
        namespace.gone("vmi", name)
        eventually(lambda: not namespace.items("pod", "vm.kubevirt.io/name=" + name), name)  # noqa: B023


def test_a_move_is_refused_with_the_reason(namespace: Namespace) -> None:
    path = f"/apis/subresources.kubevirt.io/v1/namespaces/{namespace.name}/virtualmachines/changed"
    with pytest.raises(Refused, match=r"Cannot migrate VMI, Reason: NotMigratable"):
        kubectl("replace", "--raw", f"{path}/migrate", "-f", "-", stdin="{}")


def test_a_replica_set_is_scaled_paused_and_seen_by_an_autoscaler(namespace: Namespace) -> None:
    spec = bare("set")["spec"]["template"]["spec"]
    several: Object = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstanceReplicaSet",
        "metadata": {"name": "set"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"of": "set"}},
            "template": {"metadata": {"labels": {"of": "set"}}, "spec": spec},
        },
    }
    metric = {"type": "Utilization", "averageUtilization": 50}
    autoscaler: Object = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "set"},
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "kubevirt.io/v1",
                "kind": "VirtualMachineInstanceReplicaSet",
                "name": "set",
            },
            "minReplicas": 1,
            "maxReplicas": 3,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": metric}}],
        },
    }
    namespace.apply(several, autoscaler)
    namespace.kubectl("scale", "vmirs", "set", "--replicas=2")
    namespace.wait("vmirs", "set", lambda found: replicas(found) == (2, 2), "two are ready", 120)
    scale = f"/apis/kubevirt.io/v1/namespaces/{namespace.name}"
    raw = f"{scale}/virtualmachineinstancereplicasets/set/scale"
    said = json.loads(kubectl("get", "--raw", raw))
    assert (said["spec"]["replicas"], said["status"]["selector"]) == (2, "of=set")
    seen = namespace.wait(
        "hpa", "set", lambda hpa: condition(hpa, "AbleToScale") == "True", "it can scale", 120
    )
    assert seen["status"]["currentReplicas"] in (1, 2)

    namespace.patch("vmirs", "set", {"spec": {"paused": True}})
    namespace.wait(
        "vmirs", "set", lambda found: condition(found, "ReplicaPaused") == "True", "paused"
    )
    one = namespace.items("vmi", "of=set")[0]["metadata"]["name"]
    namespace.kubectl("delete", "vmi", one)
    namespace.wait("vmirs", "set", lambda found: replicas(found) == (1, 1), "one is left")
    namespace.patch("vmirs", "set", {"spec": {"paused": False}})
    namespace.wait("vmirs", "set", lambda found: replicas(found) == (2, 2), "two again", 120)
    namespace.told("set", "SuccessfulPaused", "SuccessfulResumed")
    namespace.delete("vmirs", "set")


def replicas(found: Object) -> tuple[int, int]:
    told = found.get("status") or {}
    return int(told.get("replicas") or 0), int(told.get("readyReplicas") or 0)
