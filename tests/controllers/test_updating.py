"""Guests in launchers of an older version: labelled, counted, and evicted a batch at a time."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from tests.kube.fake import json_patch as patched
from virtpod.api.kubevirt import KubeVirtWorkloadUpdateStrategy
from virtpod.controllers import updating
from virtpod.controllers.updating import OUTDATED, Batch, Renew, Seen, Workload
from virtpod.kube.plan import Patch, Plan
from virtpod.kube.resources import VMIS, Key

KEY = Key("kubevirt", "kubevirt")


def workload(name: str, image: str = "old", **given: Any) -> Workload:
    migrates = given.pop("migrates", False)
    vmi = {
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": f"uid-{name}",
            "creationTimestamp": f"2026-01-0{name[-1]}T00:00:00Z",
            **({"labels": given.pop("labels")} if "labels" in given else {}),
        },
        "status": {"conditions": [{"type": "LiveMigratable", "status": str(migrates)}]},
    }
    return Workload(vmi, Key("default", f"pod-{name}"), f"pod-uid-{name}", image, **given)


def seen(*workloads: Workload, told: int | None = None, **strategy: Any) -> Seen:
    return Seen(
        KEY,
        told,
        "new",
        1000.0,
        workloads,
        msgspec.convert(strategy, KubeVirtWorkloadUpdateStrategy),
    )


def renewed(plan: Plan) -> list[str]:
    return [each.about.name for each in plan.actions if isinstance(each, Renew)]


def test_without_a_method_they_are_told_of_and_left_alone() -> None:
    plan = updating.decide(seen(workload("a1"), workload("a2", labels={"x": "y"})))
    assert renewed(plan) == []
    assert plan.status is not None
    assert plan.status.body == {"status": {updating.COUNT: 2}}
    patches = [each for each in plan.actions if isinstance(each, Patch)]
    assert [each.resource for each in patches] == [VMIS, VMIS]
    for each, of in zip(patches, (workload("a1"), workload("a2", labels={"x": "y"})), strict=True):
        after = patched(copy.deepcopy(of.vmi), each.body)
        assert after["metadata"]["labels"][OUTDATED] == ""


def test_a_downgrade_takes_the_label_away_and_then_rests() -> None:
    back = workload("a1", image="new", labels={OUTDATED: "", "x": "y"})
    plan = updating.decide(seen(back, told=1))
    [patch] = plan.actions
    assert patched(copy.deepcopy(back.vmi), patch.body)["metadata"]["labels"] == {"x": "y"}
    assert plan.status is not None
    assert plan.status.body == {"status": {updating.COUNT: 0}}
    rest = updating.decide(seen(told=0))
    assert (rest.actions, rest.status, rest.again_in) == ([], None, None)


@pytest.mark.configures("workloadUpdateStrategy.*")
def test_the_oldest_are_evicted_a_batch_at_a_time() -> None:
    every = [workload(f"a{number}", labels={OUTDATED: ""}) for number in (3, 1, 2)]
    strategy = {
        "workloadUpdateMethods": ["LiveMigrate", "Evict"],
        "batchEvictionSize": 2,
        "batchEvictionInterval": "30s",
    }
    plan = updating.decide(seen(*every, told=3, **strategy))
    assert renewed(plan) == ["a1", "a2"]
    assert plan.actions[-1] == Batch(1000.0)
    assert plan.again_in == 30.0
    later = replace(seen(*every[:1], told=3, **strategy), last=990.0)
    plan = updating.decide(later)
    assert renewed(plan) == []
    assert plan.again_in == pytest.approx(20.05)
    plan = updating.decide(replace(later, now=1020.0))
    assert renewed(plan) == ["a3"]


def test_who_leaves_already_or_can_move_is_not_evicted() -> None:
    labels = {OUTDATED: ""}
    going = workload("a1", labels=labels, leaving=True)
    moves = workload("a2", labels=labels, migrates=True)
    both = seen(going, moves, told=2, workloadUpdateMethods=["LiveMigrate", "Evict"])
    assert renewed(updating.decide(both)) == []
    one = seen(going, moves, told=2, workloadUpdateMethods=["Evict"])
    assert renewed(updating.decide(one)) == ["a2"]


def test_who_is_on_the_way_in_an_old_launcher_is_looked_for_again() -> None:
    plan = updating.decide(seen(workload("a1", runs=False)))
    assert plan.actions == []
    assert plan.again_in == updating.LOOK_AGAIN
