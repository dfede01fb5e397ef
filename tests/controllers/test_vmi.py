"""What must hold of every decision on a VMI, whatever state it is found in."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from hypothesis import given

from tests.controllers.states import CLUSTER, NOW, SPEC, instances_seen
from tests.kube.fake import json_patch, strategic
from virtpod.controllers import claims, launcher_pod, vmi
from virtpod.kube.plan import Create, Delete, Event, Patch, Plan
from virtpod.kube.resources import PODS, VMIS, Obj


def patches(plan: Plan, resource: Any = VMIS) -> list[Patch]:
    return [
        action
        for action in (*plan.actions, *([plan.status] if plan.status else ()))
        if isinstance(action, Patch) and action.resource == resource
    ]


def paths(plan: Plan) -> dict[str, Any]:
    """What is written to the VMI."""
    return {
        op["path"]: op["value"]
        for patch in patches(plan)
        for op in patch.body
        if op["op"] != "test"
    }


def after(seen: vmi.Seen, plan: Plan) -> vmi.Seen:
    """The world once the plan is carried out."""
    obj = copy.deepcopy(seen.vmi)
    pods = {pod["metadata"]["name"]: copy.deepcopy(pod) for pod in seen.pods}
    for action in plan.actions:
        match action:
            case Create(_, body):
                made = copy.deepcopy(body)
                made["metadata"]["uid"] = "new"
                pods[made["metadata"]["name"]] = made
            case Delete(_, key):
                pods[key.name]["metadata"]["deletionTimestamp"] = "2027-01-01T00:00:00Z"
            case Patch(resource, key, body) if resource == PODS:
                pods[key.name] = strategic(pods[key.name], body)
            case Patch(_, _, body):
                obj = json_patch(obj, body)
    return replace(seen, vmi=obj, pods=list(pods.values()), refusal="")


@given(instances_seen())
def test_patches_fit_what_they_were_made_for_and_say_so(seen: vmi.Seen) -> None:
    for patch in patches(vmi.decide(seen)):
        assert patch.type == "json"
        assert patch.body[0] == {"op": "test", "path": "/metadata/uid", "value": "vmi-1"}
        json_patch(copy.deepcopy(seen.vmi), patch.body)


@given(instances_seen())
def test_one_patch_at_most(seen: vmi.Seen) -> None:
    assert len(patches(vmi.decide(seen))) <= 1


@given(instances_seen())
def test_a_final_phase_is_never_left(seen: vmi.Seen) -> None:
    if seen.final:
        assert "/status/phase" not in paths(vmi.decide(seen))


@given(instances_seen())
def test_silence_is_not_death(seen: vmi.Seen) -> None:
    if seen.pods or seen.pod_gone:
        return
    written = paths(vmi.decide(seen))
    assert written.get("/status/phase") in (None, "Pending", "Scheduling")
    assert "/metadata/finalizers" not in written


@given(instances_seen())
def test_the_finalizer_stays_as_long_as_a_pod_does(seen: vmi.Seen) -> None:
    written = paths(vmi.decide(seen))
    if "/metadata/finalizers" in written:
        assert seen.pod_gone
        assert "somebody.example/else" not in set(seen.vmi["metadata"]["finalizers"]) - set(
            written["/metadata/finalizers"]
        )


@given(instances_seen())
def test_it_comes_to_rest(seen: vmi.Seen) -> None:
    for _ in range(6):
        plan = vmi.decide(seen)
        if not plan.actions and plan.status is None:
            return
        seen = after(seen, plan)
    raise AssertionError(f"still deciding: {plan}")


@given(instances_seen())
def test_no_state_is_without_a_way_out(seen: vmi.Seen) -> None:
    """A deleted VMI without pods goes; one whose pod is dead ends, with or without its node."""
    if seen.deleting:
        gone = replace(seen, pods=[], pod_gone=True, refusal="")
        left = after(gone, vmi.decide(gone)).vmi["metadata"].get("finalizers") or []
        assert vmi.FINALIZER not in left
        return
    if not seen.pods or not all(launcher_pod.ended(pod) for pod in seen.pods):
        return
    later = replace(seen, ended_for=10_000.0, refusal="")
    for _ in range(6):
        later = after(later, vmi.decide(later))
    assert later.phase in vmi.FINAL


@given(instances_seen())
def test_an_event_tells_of_a_write(seen: vmi.Seen) -> None:
    """Never of a mere look: else each look would tell it again."""
    plan = vmi.decide(seen)
    if any(isinstance(action, Event) for action in plan.actions):
        assert any(isinstance(action, Create | Delete | Patch) for action in plan.actions)


@given(instances_seen())
def test_after_scheduled_only_conditions_and_the_end_are_written(seen: vmi.Seen) -> None:
    if seen.phase not in ("Scheduled", "Running"):
        return
    written = paths(vmi.decide(seen))
    assert set(written) <= {
        "/status/conditions",
        "/status/phase",
        "/status/phaseTransitionTimestamps",
        "/metadata/finalizers",
    }
    assert written.get("/status/phase") in (None, "Failed")


def test_a_pod_that_only_claims_the_name_is_not_its_pod() -> None:
    demo: Obj = {"metadata": {"name": "demo", "uid": "vmi-1"}}
    forged: Obj = {"metadata": {"labels": {"kubevirt.io/created-by": "vmi-1"}}}
    earlier: Obj = {"metadata": {"ownerReferences": [{"uid": "vmi-0", "controller": True}]}}
    bystander: Obj = {"metadata": {"ownerReferences": [{"uid": "vmi-1"}]}}
    own: Obj = {"metadata": {"ownerReferences": [{"uid": "vmi-1", "controller": True}]}}
    assert [vmi.owns(demo, pod) for pod in (forged, earlier, bystander, own)] == [
        False,
        False,
        False,
        True,
    ]


def test_a_guests_number_is_written_before_it_has_a_pod() -> None:
    domain = {**SPEC["domain"], "devices": {"autoattachVSOCK": True}}
    obj: Obj = {
        "metadata": {"name": "demo", "namespace": "default", "uid": "vmi-1"},
        "spec": {**SPEC, "domain": domain},
        "status": {"phase": "Pending"},
    }
    seen = vmi.Seen(obj, [], CLUSTER, NOW, cid=1234)
    first = vmi.decide(seen)
    assert paths(first) == {"/status/VSOCKCID": 1234}
    assert not any(isinstance(action, Create) for action in first.actions)
    second = vmi.decide(after(seen, first))
    assert any(isinstance(action, Create) for action in second.actions)


def test_a_ready_condition_that_virt_handler_wrote_is_left_alone() -> None:
    told = [{"type": "Ready", "status": "True", "lastTransitionTime": "2027-01-01T00:00:00Z"}]
    running: Obj = {
        "metadata": {"name": "demo", "namespace": "default", "uid": "vmi-1"},
        "spec": SPEC,
        "status": {"phase": "Running", "conditions": told},
    }
    pod: Obj = {
        "metadata": {"name": "p", "namespace": "default", "uid": "pod-1"},
        "spec": {"nodeName": "node1", "containers": []},
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": "Ready", "status": "True"},
                {"type": "kubevirt.io/virtual-machine-unpaused", "status": "True"},
            ],
        },
    }
    plan = vmi.decide(vmi.Seen(running, [pod], CLUSTER, NOW))
    assert not plan.actions
    assert plan.status is None


@given(instances_seen())
def test_a_pod_is_made_only_for_a_vmi_that_has_all_its_claims(seen: vmi.Seen) -> None:
    made = [action for action in vmi.decide(seen).actions if isinstance(action, Create)]
    named = claims.named(seen.vmi)
    if made:
        assert set(named) <= set(seen.claims)
        assert not (seen.holders or seen.attached) or not named
    noted = paths(vmi.decide(seen)).get("/status/volumeStatus", [])
    assert {entry["persistentVolumeClaimInfo"]["claimName"] for entry in noted} <= set(named)
