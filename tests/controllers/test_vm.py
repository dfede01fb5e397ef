"""What must hold of every decision on a VM, and what each run strategy is."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from hypothesis import given

from tests.controllers.states import NOW, SPEC, machines_seen
from tests.kube.fake import merge
from virtpod.controllers import conditions, vm
from virtpod.kube.plan import Create, Delete, Patch, Plan
from virtpod.kube.resources import VMS, Obj


def creates(plan: Plan) -> bool:
    return any(isinstance(action, Create) for action in plan.actions)


def deletes(plan: Plan) -> bool:
    return any(isinstance(action, Delete) for action in plan.actions)


@given(machines_seen())
def test_no_second_instance_is_made_and_no_other_is_deleted(seen: vm.Seen) -> None:
    plan = vm.decide(seen)
    if seen.vmi is not None:
        assert not creates(plan)
    for action in plan.actions:
        if isinstance(action, Delete):
            assert seen.ours is not None
            assert action.uid == seen.ours["metadata"]["uid"]


@given(machines_seen())
def test_a_halted_vm_starts_nothing(seen: vm.Seen) -> None:
    if vm.strategy(seen.vm) == "Halted":
        assert not creates(vm.decide(seen))


@given(machines_seen())
def test_a_vm_that_goes_starts_nothing(seen: vm.Seen) -> None:
    if seen.deleting:
        assert not creates(vm.decide(seen))


@given(machines_seen())
def test_its_finalizer_stays_as_long_as_its_instance_does(seen: vm.Seen) -> None:
    if not seen.deleting or vm.ORPHAN in (seen.vm["metadata"].get("finalizers") or []):
        return
    for action in vm.decide(seen).actions:
        if isinstance(action, Patch) and action.body[-1]["path"] == "/metadata/finalizers":
            assert seen.ours is None
            assert seen.vmi is not None or seen.vmi_gone


@given(machines_seen())
def test_the_status_is_written_once(seen: vm.Seen) -> None:
    """Carried out, the same look writes nothing more."""
    plan = vm.decide(seen)
    if plan.actions or plan.status is None:
        return
    status = merge(copy.deepcopy(seen.vm), plan.status.body)
    status["metadata"] = seen.vm["metadata"]
    again = vm.decide(replace(seen, vm=status))
    assert again.status is None, (plan.status.body, again.status.body)


@given(machines_seen())
def test_requests_are_taken_away_only_from_the_version_that_was_read(seen: vm.Seen) -> None:
    plan = vm.decide(seen)
    if plan.status is None or "stateChangeRequests" not in plan.status.body["status"]:
        return
    earlier = [a for a in plan.actions if isinstance(a, Patch) and a.resource == VMS]
    assert earlier or plan.status.body["metadata"]["resourceVersion"] == "9"


def machine(strategy: str, **status: object) -> Obj:
    return {
        "metadata": {
            "name": "demo",
            "namespace": "default",
            "uid": "vm-1",
            "resourceVersion": "9",
            "generation": 1,
            "finalizers": [vm.FINALIZER],
        },
        "spec": {"runStrategy": strategy, "template": {"spec": SPEC}},
        "status": status,
    }


def instance(phase: str) -> Obj:
    made = vm.instance(machine("Always"))
    made["metadata"]["uid"] = "vmi-1"
    return {**made, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("strategy", "missing", "succeeded", "failed"),
    [
        ("Always", "create", "delete", "delete"),
        ("Halted", "", "delete", "delete"),
        ("Manual", "", "", ""),
        ("RerunOnFailure", "create", "delete", "delete"),
        ("Once", "create", "", ""),
    ],
)
def test_strategies(strategy: str, missing: str, succeeded: str, failed: str) -> None:
    for phase, expected in (("", missing), ("Succeeded", succeeded), ("Failed", failed)):
        found = instance(phase) if phase else None
        plan = vm.decide(vm.Seen(machine(strategy), found, NOW))
        did = "create" if creates(plan) else "delete" if deletes(plan) else ""
        assert did == expected, phase


def test_what_shall_not_start_again_waits_for_no_further_try() -> None:
    """Its start crashed, and then its instance was deleted: that ended it well."""
    crashed = {"consecutiveFailCount": 1, "lastFailedVMIUID": "vmi-0"}
    status = {"runStrategy": "RerunOnFailure", "startFailure": crashed}
    plan = vm.decide(vm.Seen(machine("RerunOnFailure", **status), None, NOW))
    assert not creates(plan)
    assert plan.status is not None
    assert plan.status.body["status"]["printableStatus"] == "Stopped"
    assert plan.status.body["status"]["startFailure"] is None


def test_a_start_that_cannot_be_is_made_when_it_can() -> None:
    """Also where the VM shall start again only when its guest failed."""
    new = machine("RerunOnFailure")
    refused = vm.decide(vm.Seen(new, None, NOW, refusal="the quota is used up"))
    assert refused.status is not None
    assert "runStrategy" not in refused.status.body["status"]
    told = {**new, "status": merge({}, refused.status.body)["status"]}
    assert creates(vm.decide(vm.Seen(told, None, NOW)))

    later = conditions.stamp(NOW + 60)
    crashed = {"consecutiveFailCount": 1, "lastFailedVMIUID": "x", "retryAfterTimestamp": later}
    changed = machine("RerunOnFailure", runStrategy="Always", startFailure=crashed)
    waits = vm.decide(vm.Seen(changed, None, NOW))
    assert not creates(waits)
    assert waits.again_in == pytest.approx(60)
    if waits.status is not None:
        changed = {**changed, "status": merge(changed["status"], waits.status.body["status"])}
    assert creates(vm.decide(vm.Seen(changed, None, NOW + 61)))


@pytest.mark.parametrize(
    ("phase", "conditions", "word"),
    [
        ("", [], "Starting"),
        ("Scheduled", [], "Starting"),
        ("Running", [], "Running"),
        ("Running", [{"type": "Paused", "status": "True"}], "Paused"),
        (
            "Scheduling",
            [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}],
            "ErrorUnschedulable",
        ),
        (
            "Scheduling",
            [{"type": "Synchronized", "status": "False", "reason": "ImagePullBackOff"}],
            "ImagePullBackOff",
        ),
    ],
)
def test_words_for_people(phase: str, conditions: list[Obj], word: str) -> None:
    found = instance(phase)
    found["status"]["conditions"] = conditions
    assert vm.printable(machine("Always"), found, vm.Decision("")) == word


def test_tries_come_later_and_later_but_not_too_late() -> None:
    waits = [vm._delay(count, "vmi-1") for count in range(1, 12)]
    assert waits == sorted(waits)
    assert 10 <= waits[0] <= 15
    assert waits[-1] == vm.SLOWEST


def test_a_vm_without_an_identity_keeps_the_one_that_its_name_gives() -> None:
    bare = machine("Always")
    bare["spec"]["template"] = {"spec": {"domain": {"devices": {}}}}
    first, second = vm.instance(bare), vm.instance(bare)
    assert first == second
    assert first["spec"]["domain"]["firmware"]["uuid"]
    assert "firmware" not in bare["spec"]["template"]["spec"]["domain"]
