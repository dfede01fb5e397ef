"""Volumes that come and go: what virt-controller and virt-handler do at each point, as values."""

from __future__ import annotations

from typing import Any

import pytest

from virtpod.controllers import claims as permanent
from virtpod.controllers import hotplug, node_hotplug, vm_volumes
from virtpod.controllers.node_hotplug import Replug
from virtpod.domain.facts import Cluster
from virtpod.kube.plan import Create, Delete, Event
from virtpod.kube.resources import Obj

BOUND = {"claimName": "data", "capacity": {"storage": "1Gi"}, "volumeMode": "Filesystem"}
LAUNCHER: Obj = {
    "metadata": {"name": "virt-launcher-demo", "namespace": "default", "uid": "l1"},
    "spec": {"nodeName": "node1"},
}
CLUSTER = Cluster()


def volume(name: str = "data") -> Obj:
    return {"name": name, "persistentVolumeClaim": {"claimName": name, "hotpluggable": True}}


def vmi(*names: str, told: list[Obj] | None = None) -> Obj:
    return {
        "metadata": {"name": "demo", "namespace": "default", "uid": "v1"},
        "spec": {"volumes": [volume(name) for name in names]},
        "status": {"phase": "Running", "volumeStatus": told or []},
    }


def decide(
    vmi: Obj, attachments: list[Obj], claims: dict[str, Obj] | None = None, **holders: str
) -> hotplug.Attachments:
    known = {"data": BOUND} if claims is None else claims
    return hotplug.decide(vmi, LAUNCHER, attachments, known, holders, CLUSTER)


def started(pod: Obj, uid: str = "a1") -> Obj:
    running = {"name": "hotplug-disk", "state": {"running": {}}}
    status = {"phase": "Running", "containerStatuses": [running]}
    return {**pod, "metadata": {**pod["metadata"], "uid": uid}, "status": status}


def created(found: hotplug.Attachments) -> list[Obj]:
    return [action.body for action in found.actions if isinstance(action, Create)]


def deleted(found: hotplug.Attachments) -> list[str]:
    return [action.key.name for action in found.actions if isinstance(action, Delete)]


def phases(found: hotplug.Attachments) -> dict[str, str]:
    return {each["name"]: each["phase"] for each in found.status or ()}


def test_a_volume_is_brought_to_the_node_by_a_pod_of_its_own() -> None:
    first = decide(vmi("data"), [])
    [pod] = created(first)
    assert pod["metadata"]["ownerReferences"][0]["uid"] == "l1"
    [mount] = [each for each in pod["spec"]["volumes"] if "persistentVolumeClaim" in each]
    assert mount == {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    assert phases(first) == {"data": "Pending"}

    then = decide(vmi("data", told=first.status), [started(pod)])
    assert not created(then)
    assert phases(then) == {"data": "AttachedToNode"}
    assert then.status
    assert then.status[0]["hotplugVolume"]["attachPodUID"] == "a1"

    assert decide(vmi("data", told=then.status), [started(pod)]) == hotplug.Attachments()


def test_a_claim_that_is_missing_or_another_s_is_waited_for_and_said_once() -> None:
    for claims, holders, words in (
        ({}, {}, "does not exist"),
        ({"data": BOUND}, {"data": "other"}, "in use by VirtualMachineInstance other"),
    ):
        found = decide(vmi("data"), [], claims, **holders)
        assert not created(found)
        [event] = [each for each in found.actions if isinstance(each, Event)]
        assert (event.type, event.reason) == ("Warning", "PVCNotReady")
        assert words in event.message
        again = decide(vmi("data", told=found.status), [], claims, **holders)
        assert again == hotplug.Attachments()


def test_a_claim_that_is_not_bound_holds_nobody_up() -> None:
    claims = {"data": BOUND, "new": {"claimName": "new"}}
    held = [
        sorted(each["name"] for each in pod["spec"]["volumes"] if "persistentVolumeClaim" in each)
        for pod in created(decide(vmi("data", "new"), [], claims))
    ]
    assert sorted(held) == [["data"], ["new"]]


def test_the_old_pod_stays_until_the_new_one_runs() -> None:
    claims = {"data": BOUND, "more": {**BOUND, "claimName": "more"}}
    [old] = created(decide(vmi("data"), []))
    old = started(old)
    [new] = created(decide(vmi("data", "more"), [old], claims))
    assert deleted(decide(vmi("data", "more"), [old, new], claims)) == []
    both = [old, started(new, "a2")]
    assert deleted(decide(vmi("data", "more"), both, claims)) == [old["metadata"]["name"]]


def test_a_pod_stays_until_virt_handler_has_let_its_volume_go() -> None:
    [pod] = created(decide(vmi("data"), []))
    pod = started(pod)
    ready = {"name": "data", "phase": "Ready", "target": "sda"}
    ready["hotplugVolume"] = {"attachPodName": pod["metadata"]["name"], "attachPodUID": "a1"}
    leaving = decide(vmi(told=[ready]), [pod])
    assert phases(leaving) == {"data": "Detaching"}
    assert deleted(leaving) == []
    [gone] = node_hotplug.status(vmi(told=leaving.status), leaving.status or [], (), {}, "")
    assert gone["phase"] == "UnMountedFromPod"
    last = decide(vmi(told=[gone]), [pod])
    assert deleted(last) == [pod["metadata"]["name"]]
    assert last.status == []


def told(phase: str) -> Obj:
    return {
        "name": "data",
        "target": "",
        "phase": phase,
        "hotplugVolume": {"attachPodName": "hp", "attachPodUID": "a1"},
    }


@pytest.mark.parametrize(
    ("spec", "phase", "there", "guest", "expected"),
    [
        (("data",), "Pending", (), (), None),
        (("data",), "AttachedToNode", (), (), Replug("p", (("data", "a1"),), ("data",))),
        (("data",), "MountedToPod", ("data",), (), Replug("p", (), ("data",))),
        (("data",), "Ready", ("data",), ("data",), None),
        ((), "Detaching", ("data",), ("data",), Replug("p")),
        ((), "Detaching", ("data",), (), Replug("p", take=("data",))),
        ((), "Detaching", (), (), None),
    ],
)
def test_virt_handler_does_what_is_left_to_do(
    spec: tuple[str, ...], phase: str, there: Any, guest: Any, expected: Replug | None
) -> None:
    machine = vmi(*spec, told=[told(phase)])
    assert node_hotplug.work(machine, "p", there, guest) == expected


@pytest.mark.parametrize(
    ("phase", "there", "guest", "after"),
    [
        ("AttachedToNode", (), {}, "AttachedToNode"),
        ("AttachedToNode", ("data",), {}, "MountedToPod"),
        ("MountedToPod", ("data",), {"data": "sda"}, "Ready"),
        ("Ready", ("data",), {}, "MountedToPod"),
        ("Ready", (), {}, "AttachedToNode"),
        ("Pending", (), {}, "Pending"),
    ],
)
def test_a_phase_says_how_far_a_volume_is(
    phase: str, there: Any, guest: dict[str, str], after: str
) -> None:
    [entry] = node_hotplug.status(vmi("data"), [told(phase)], there, guest, "")
    assert entry["phase"] == after
    assert entry["target"] == guest.get("data", "")


def test_what_failed_is_said_where_the_volume_is() -> None:
    [entry] = node_hotplug.status(vmi("data"), [told("MountedToPod")], ("data",), {}, "no room")
    assert (entry["phase"], entry["message"]) == ("MountedToPod", "no room")


def vm(*names: str, requests: list[Obj] | None = None) -> Obj:
    spec = {
        "volumes": [{"name": "root", "containerDisk": {"image": "x"}}, *map(volume, names)],
        "domain": {"devices": {"disks": [{"name": "root", "disk": {}}]}},
    }
    return {
        "metadata": {"name": "demo", "namespace": "default", "resourceVersion": "7"},
        "spec": {"template": {"spec": spec}},
        "status": {"volumeRequests": requests or []},
    }


def instance(*names: str, **told: str) -> Obj:
    machine = vm(*names)["spec"]["template"]["spec"]
    status = [{"name": name, "phase": phase, "hotplugVolume": {}} for name, phase in told.items()]
    metadata = {"name": "demo", "namespace": "default", "uid": "v1"}
    return {
        "metadata": metadata,
        "spec": machine,
        "status": {"phase": "Running", "volumeStatus": status},
    }


GATES = ("DeclarativeHotplugVolumes",)


def live(vm: Obj, vmi: Obj) -> dict[str, Any]:
    """The values of the one patch of the instance, by path."""
    [patch] = vm_volumes.actions(vm, vmi, GATES)
    return {each["path"]: each["value"] for each in patch.body if each["op"] == "add"}


def test_an_instance_follows_its_template() -> None:
    added = live(vm("data"), instance())
    assert [each["name"] for each in added["/spec/volumes"]] == ["root", "data"]
    [_, disk] = added["/spec/domain/devices/disks"]
    assert disk == {"name": "data", "disk": {"bus": "scsi"}}
    removed = live(vm(), instance("data"))
    assert [each["name"] for each in removed["/spec/volumes"]] == ["root"]
    assert vm_volumes.actions(vm("data"), instance("data"), GATES) == []
    assert vm_volumes.actions(vm("data"), instance(), ()) == [], "without a gate"


def test_a_volume_of_another_source_waits_until_the_old_one_is_gone() -> None:
    other = vm("data")
    [_, claim] = other["spec"]["template"]["spec"]["volumes"]
    claim["persistentVolumeClaim"]["claimName"] = "another"
    first = live(other, instance("data", data="Ready"))
    assert [each["name"] for each in first["/spec/volumes"]] == ["root"]
    assert vm_volumes.actions(other, instance(data="Detaching"), GATES) == []
    assert live(other, instance())["/spec/volumes"][1] == claim


def test_what_comes_and_goes_needs_no_restart() -> None:
    plain = vm_volumes.permanent(vm()["spec"]["template"]["spec"])
    assert vm_volumes.permanent(vm("data")["spec"]["template"]["spec"]) == plain


def test_requests_become_the_template_and_are_dropped_when_they_are_true() -> None:
    source = {"persistentVolumeClaim": {"claimName": "data"}}
    wish = {"addVolumeOptions": {"name": "data", "disk": {"disk": {}}, "volumeSource": source}}
    [patch] = vm_volumes.actions(vm(requests=[wish]), None, ("HotplugVolumes",))
    spec = patch.body["spec"]["template"]["spec"]
    assert spec["volumes"][1] == volume()
    assert vm_volumes.pending(vm(requests=[wish]), None) == [wish]
    assert vm_volumes.pending(vm("data", requests=[wish]), instance()) == [wish]
    assert vm_volumes.pending(vm("data", requests=[wish]), instance("data")) == []


def test_a_claim_that_has_grown_is_noted_while_its_guest_runs() -> None:
    small = {"claimName": "root", "capacity": {"storage": "1Gi"}}
    grown = {"claimName": "root", "capacity": {"storage": "2Gi"}}
    machine = vmi()
    machine["spec"]["volumes"] = [
        {"name": "root", "persistentVolumeClaim": {"claimName": "root"}},
        {"name": "scratch", "emptyDisk": {"capacity": "1Gi"}},
    ]
    other = {"name": "scratch", "target": "vdb"}
    noted = {"name": "root", "target": "vda", "persistentVolumeClaimInfo": small}
    machine["status"]["volumeStatus"] = [noted, other]
    expected = [{**noted, "persistentVolumeClaimInfo": grown}, other]
    assert permanent.larger(machine, {"root": grown}) == expected
    assert permanent.larger(machine, {"root": small}) is None
    assert permanent.larger(machine, {}) is None, "what nobody knows of stays as it is"
    assert permanent.sizes({"status": {"volumeStatus": expected}}) == {"root": "2Gi"}
    # The same beside volumes that come and go.
    machine["spec"]["volumes"].append(volume())
    found = decide(machine, [], {"data": BOUND, "root": grown})
    assert found.status
    assert [each["name"] for each in found.status] == ["data", "root", "scratch"]
    assert found.status[1]["persistentVolumeClaimInfo"] == grown


def test_a_claim_that_one_pod_alone_may_have_stays_in_its_pod() -> None:
    """Else the pod for the new set would wait for the old one, and the old one for it."""
    mine = {**BOUND, "claimName": "mine", "accessModes": ["ReadWriteOncePod"]}
    [first] = created(decide(vmi("mine"), [], {"mine": mine}))
    claims = {"data": BOUND, "mine": mine}
    [second] = created(decide(vmi("data", "mine"), [started(first)], claims))
    assert [each["name"] for each in second["spec"]["volumes"]] == ["hotplug-disks", "data"]
    assert deleted(decide(vmi("data", "mine"), [started(first), started(second)], claims)) == []
