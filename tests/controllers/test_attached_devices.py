"""The pods that devices are given to which come while a guest runs."""

from __future__ import annotations

from typing import Any

from virtpod.controllers import attached_devices
from virtpod.domain.facts import Cluster
from virtpod.kube.plan import Create, Delete
from virtpod.kube.resources import Obj
from virtpod.render import attachment

CLUSTER = Cluster(launcher_image="virtpod.local/virt-launcher:1")
LAUNCHER: Obj = {
    "metadata": {"name": "virt-launcher-vm-abcde", "namespace": "default", "uid": "l"},
    "spec": {"nodeName": "node1", "tolerations": [{"operator": "Exists"}]},
}
CARD = "example.com/card"
RUNS: Obj = {"containerStatuses": [{"state": {"running": {}}}]}


def vmi(plugged: str, **devices: str) -> Obj:
    asked = [{"name": name, "deviceName": resource} for name, resource in devices.items()]
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {
            "name": "vm",
            "namespace": "default",
            "uid": "u",
            "annotations": {"virtpod.io/plugged-devices": plugged},
        },
        "spec": {"domain": {"devices": {"hostDevices": asked}}},
    }


def pod(device: str, resource: str = CARD, status: Obj | None = None, **metadata: Any) -> Obj:
    made = attachment.device_pod(LAUNCHER, device, resource, CLUSTER)
    made["metadata"] |= {"uid": f"pod-of-{device}", **metadata}
    return {**made, "status": status or {}}


def done(vmi: Obj, *pods: Obj) -> list[str]:
    found = []
    for action in attached_devices.actions(vmi, LAUNCHER, pods, CLUSTER):
        match action:
            case Create():
                annotations = action.body["metadata"]["annotations"]
                found.append(f"create {annotations['virtpod.io/device']}")
            case Delete():
                found.append(f"delete {action.uid}")
    return found


def test_each_device_that_is_to_come_has_a_pod_that_asks_for_it() -> None:
    instance = vmi("card,more", card=CARD, more=CARD, cold=CARD)
    assert done(instance) == ["create card", "create more"]
    assert done(instance, pod("card"), pod("more", status=RUNS)) == []
    made = pod("card")
    assert attached_devices.holds_device(made)
    [container] = made["spec"]["containers"]
    assert container["resources"]["limits"][CARD] == "1" == container["resources"]["requests"][CARD]
    assert made["metadata"]["labels"]["kubevirt.io/nodeName"] == "node1"
    assert made["spec"]["tolerations"] == [{"operator": "Exists"}]
    assert len({pod(name)["metadata"]["name"] for name in ("card", "more")}) == 2


def test_a_pod_that_runs_is_virt_handler_s_to_end() -> None:
    assert done(vmi(""), pod("card", status=RUNS)) == []
    assert done(vmi(""), pod("card")) == ["delete pod-of-card"]
    ended = {"phase": "Failed", "containerStatuses": [{"state": {"terminated": {}}}]}
    assert done(vmi(""), pod("card", status=ended)) == ["delete pod-of-card"]
    gone = pod("card", status=ended, deletionTimestamp="2026-01-01T00:00:00Z")
    assert done(vmi(""), gone) == []


def test_another_takes_the_place_of_a_pod_when_that_is_gone() -> None:
    asked = vmi("card", card=CARD)
    going = pod("card", status=RUNS, deletionTimestamp="2026-01-01T00:00:00Z")
    assert done(asked, going) == []
    assert done(asked) == ["create card"]
    other = pod("card", "example.com/other", status=RUNS)
    assert done(asked, other) == [], "one of the name at a time"
    waiting = pod("card", "example.com/other")
    assert done(asked, waiting) == ["delete pod-of-card"]
