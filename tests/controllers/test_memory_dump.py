"""A dump of a guest's memory: what virt-controller and virt-handler do at each point, as values."""

from __future__ import annotations

from typing import Any

import pytest

from virtpod.controllers import hotplug, memory_dump, node_hotplug, revision, vm
from virtpod.controllers.node_hotplug import Dump
from virtpod.domain.facts import Cluster
from virtpod.kube.plan import Create, Patch
from virtpod.kube.resources import VMIS, VMS, Obj

NOW = 1_800_000_000.0
FILE = "demo-dump-20270115-080000.memory.dump"
TARGET = {"name": "dump", "memoryDump": {"claimName": "dump", "hotpluggable": True}}
UTILITY = {"name": "dump", "claimName": "dump", "type": "MemoryDump"}
BOUND = {"claimName": "dump", "capacity": {"storage": "1Gi"}, "volumeMode": "Filesystem"}
LAUNCHER: Obj = {
    "metadata": {"name": "virt-launcher-demo", "namespace": "default", "uid": "l1"},
    "spec": {"nodeName": "node1"},
}


def machine(request: Obj | None, *volumes: Obj) -> Obj:
    template = {"spec": {"volumes": list(volumes), "domain": {"devices": {}}}}
    metadata = {"name": "demo", "namespace": "default", "uid": "m1", "resourceVersion": "7"}
    status = {"memoryDumpRequest": request} if request else {}
    return {"metadata": metadata, "spec": {"template": template}, "status": status}


def instance(*volumes: Obj, told: list[Obj] | None = None, **more: Any) -> Obj:
    return {
        "metadata": {"name": "demo", "namespace": "default", "uid": "v1"},
        "spec": {"volumes": list(volumes), **more},
        "status": {"phase": "Running", "volumeStatus": told or []},
    }


def asked(phase: str, **more: Any) -> Obj:
    return {"claimName": "dump", "phase": phase, **more}


def entry(phase: str, **more: Any) -> Obj:
    attached = {"attachPodName": "hp", "attachPodUID": "a1"}
    return {"name": "dump", "target": "", "phase": phase, "hotplugVolume": attached, **more}


def changed(patches: list[Patch]) -> dict[str, list[Obj]]:
    """By kind: the volumes after the patch."""
    found = {}
    for patch in patches:
        if patch.resource == VMS:
            found["vm"] = patch.body["spec"]["template"]["spec"]["volumes"]
        else:
            found["vmi " + patch.body[-1]["path"]] = patch.body[-1]["value"]
    return found


def test_the_claim_comes_into_the_template_and_the_instance() -> None:
    vm = machine(asked("Associating"))
    made = memory_dump.actions(vm, instance(), ())
    assert changed(made) == {"vm": [TARGET], "vmi /spec/volumes": [TARGET]}
    assert [patch.resource for patch in made] == [VMS, VMIS]
    assert memory_dump.request(vm, instance(), NOW) == asked("Associating")
    vm = machine(asked("Associating"), TARGET)
    assert memory_dump.actions(vm, instance(TARGET), ()) == []
    begun = memory_dump.request(vm, instance(TARGET), NOW)
    assert begun == asked("InProgress", startTimestamp="2027-01-15T08:00:00Z")


def test_with_the_gate_the_instance_has_it_as_a_utility_volume() -> None:
    vm = machine(asked("Associating"), TARGET)
    gates = {memory_dump.UTILITY}
    found = changed(memory_dump.actions(vm, instance(), gates))
    assert found == {"vmi /spec/utilityVolumes": [UTILITY]}
    full = instance(utilityVolumes=[UTILITY])
    assert memory_dump.actions(vm, full, gates) == []
    assert hotplug.wanted(full) == {"dump": {"claimName": "dump"}}
    vm = machine(asked("Completed"), TARGET)
    assert changed(memory_dump.actions(vm, full, ())) == {"vmi /spec/utilityVolumes": []}


def test_virt_handler_writes_it_down_when_the_claim_is_in_the_container() -> None:
    told: list[Obj] = [entry("AttachedToNode")]
    vmi = instance(TARGET, told=told)
    work = node_hotplug.work(vmi, "p1", (), ())
    assert work is not None
    assert (work.bring, work.keep) == ((("dump", "a1"),), ())
    assert node_hotplug.work(vmi, "p1", ("dump",), ()) is None, "it is no disk of the guest's"

    [dumping] = node_hotplug.status(vmi, told, ("dump",), {}, "", {}, NOW)
    assert dumping["phase"] == "MemoryDumpInProgress"
    assert dumping["memoryDumpVolume"]["targetFileName"] == FILE
    vmi = instance(TARGET, told=[dumping])
    assert node_hotplug.due(vmi, "p1", ()) == Dump("p1", "dump", FILE)
    assert node_hotplug.due(vmi, "p1", (FILE,)) is None
    assert node_hotplug.status(vmi, [dumping], ("dump",), {}, "", {}, NOW) == [dumping]

    [done] = node_hotplug.status(vmi, [dumping], ("dump",), {}, "", {FILE: ""}, NOW + 5)
    assert done["phase"] == "MemoryDumpCompleted"
    assert done["memoryDumpVolume"]["endTimestamp"] == "2027-01-15T08:00:05Z"
    [failed] = node_hotplug.status(vmi, [dumping], ("dump",), {}, "", {FILE: "no room"}, NOW)
    assert failed["phase"] == "MemoryDumpFailed"
    assert "no room" in failed["message"]
    reasons = [reason for reason, _ in node_hotplug.news([dumping], [done])]
    assert reasons == ["MemoryDumpCompleted"]


def test_the_request_follows_and_the_claim_goes() -> None:
    dump = {"targetFileName": FILE, "startTimestamp": "s", "endTimestamp": "e"}
    vmi = instance(TARGET, told=[entry("MemoryDumpCompleted", memoryDumpVolume=dump)])
    over = memory_dump.request(machine(asked("InProgress"), TARGET), vmi, NOW)
    times = {"startTimestamp": "s", "endTimestamp": "e"}
    assert over == asked("Unmounting", **times, fileName=FILE)
    vm = machine(over, TARGET)
    assert changed(memory_dump.actions(vm, vmi, ())) == {"vmi /spec/volumes": []}
    assert memory_dump.request(vm, instance(told=[entry("Detaching")]), NOW) == over
    assert memory_dump.request(vm, instance(), NOW) == {**over, "phase": "Completed"}
    assert memory_dump.actions(machine({**over, "phase": "Completed"}, TARGET), vmi, ())


def test_what_is_left_of_one_dump_goes_before_the_next() -> None:
    vm = machine(asked("Associating"), TARGET)
    assert memory_dump.actions(vm, instance(told=[entry("Detaching")]), ()) == []
    assert memory_dump.actions(vm, instance(), ())


@pytest.mark.parametrize("phase", ["Associating", "InProgress"])
def test_a_guest_that_ends_takes_its_dump_along(phase: str) -> None:
    over = instance(TARGET)
    over["status"]["phase"] = "Succeeded"
    for vmi in (None, over):
        found = memory_dump.request(machine(asked(phase), TARGET), vmi, NOW)
        assert found is not None
        assert found["phase"] == "Failed"
        assert "ended" in found["message"]


def test_one_that_failed_says_why_and_lets_the_claim_go() -> None:
    vmi = instance(TARGET, told=[entry("MemoryDumpFailed", message="no room")])
    found = memory_dump.request(machine(asked("InProgress"), TARGET), vmi, NOW)
    assert found is not None
    assert (found["phase"], found["message"]) == ("Failed", "no room")
    assert changed(memory_dump.actions(machine(found, TARGET), vmi, ())) == {
        "vmi /spec/volumes": []
    }


def test_a_claim_is_dissociated_when_nothing_has_it() -> None:
    vm = machine(asked("Dissociating", remove=True), TARGET)
    found = changed(memory_dump.actions(vm, instance(TARGET), ()))
    assert found == {"vm": [], "vmi /spec/volumes": []}
    assert memory_dump.request(vm, None, NOW) == asked("Dissociating", remove=True)
    assert memory_dump.request(machine(asked("Dissociating")), instance(TARGET), NOW)
    assert memory_dump.request(machine(asked("Dissociating")), instance(), NOW) is None


def test_an_instance_starts_without_it_and_needs_no_restart_for_it() -> None:
    with_it = machine(asked("Completed"), TARGET)
    assert vm.instance(with_it)["spec"]["volumes"] == []
    before, after = machine(None)["spec"], with_it["spec"]
    assert revision.vm_volumes.permanent(before["template"]["spec"]) == (
        revision.vm_volumes.permanent(after["template"]["spec"])
    )


def test_its_claim_is_brought_by_a_pod_as_a_disk_s_is() -> None:
    found = hotplug.decide(instance(TARGET), LAUNCHER, [], {"dump": BOUND}, {}, Cluster())
    [pod] = [action.body for action in found.actions if isinstance(action, Create)]
    [volume] = [each for each in pod["spec"]["volumes"] if "persistentVolumeClaim" in each]
    assert volume == {"name": "dump", "persistentVolumeClaim": {"claimName": "dump"}}
