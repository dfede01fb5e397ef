"""What the CR's status says at which time."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from tests.kube.fake import json_patch, merge
from virtpod.controllers import conditions
from virtpod.kube.plan import Patch, Plan
from virtpod.kube.resources import Obj
from virtpod.operator.decide import (
    FINALIZER,
    Install,
    Remove,
    Seen,
    Workload,
    daemon_set_lacks,
    decide,
    deployment_lacks,
    in_charge,
)
from virtpod.render.install import Options

OPTIONS = Options("registry.example/virtpod:1", "registry.example/virt-launcher:1", version="v1")


def cr(**metadata: object) -> Obj:
    return {
        "metadata": {
            "name": "kubevirt",
            "namespace": "kubevirt",
            "uid": "u",
            "resourceVersion": "1",
            "generation": 1,
            **metadata,
        },
        "spec": {},
    }


def seen(obj: Obj, **other: object) -> Seen:
    quiet = Seen(
        cr=obj,
        elder="",
        due=False,
        problem="",
        workloads=(Workload("virt-api", ""),),
        answers="",
        guests=0,
        deployment="d1",
        architecture="amd64",
        options=OPTIONS,
        again_in=60.0,
        now=1_800_000_000.0,
    )
    return replace(quiet, **other)  # type: ignore[arg-type]  # a test's own names


def carried_out(obj: Obj, plan: Plan) -> Obj:
    obj = copy.deepcopy(obj)
    for action in (*plan.actions, *([plan.status] if plan.status else ())):
        if isinstance(action, Patch):
            obj = json_patch(obj, action.body) if action.type == "json" else merge(obj, action.body)
    return obj


def told(obj: Obj) -> str:
    """A for Available, and so on, in capitals where it is so; and why."""
    letters = [
        letter if conditions.status(conditions.of(obj), type) == "True" else letter.lower()
        for letter, type in (("A", "Available"), ("P", "Progressing"), ("D", "Degraded"))
    ]
    available = conditions.find(conditions.of(obj), "Available") or {}
    return "".join(letters) + f" {available.get('reason')} {obj['status'].get('phase')}"


def test_a_life() -> None:
    obj = cr()
    plan = decide(seen(obj, due=True))
    assert isinstance(plan.actions[-1], Install)
    obj = carried_out(obj, plan)
    assert obj["metadata"]["finalizers"] == [FINALIZER]
    assert told(obj) == "aPd DeploymentInProgress Deploying"

    missing = (Workload("virt-api", "0 of 1 replicas are available"),)
    obj = carried_out(obj, decide(seen(obj, workloads=missing)))
    assert told(obj) == "aPd DeploymentInProgress Deploying"
    assert conditions.status(conditions.of(obj), "Created") == "True"

    plan = decide(seen(obj, answers="not yet"))
    assert told(carried_out(obj, plan)) == "aPd DeploymentInProgress Deploying"

    obj = carried_out(obj, decide(seen(obj)))
    assert told(obj) == "Apd AllComponentsReady Deployed"
    assert obj["status"]["observedGeneration"] == 1
    assert decide(seen(obj)).status is None

    # A pass at rest tells nothing.
    plan = decide(seen(obj, due=True))
    assert plan.actions == [Install(obj)]

    broken = carried_out(obj, decide(seen(obj, workloads=missing)))
    assert told(broken) == "APD ComponentsNotReady Deployed"
    assert told(carried_out(broken, decide(seen(broken)))) == "Apd AllComponentsReady Deployed"

    updating = carried_out(obj, decide(seen(obj, due=True, deployment="d2")))
    assert told(updating) == "APd UpdateInProgress Deployed"

    failing = carried_out(obj, decide(seen(obj, due=True, deployment="d2", problem="no quota")))
    assert told(failing) == "APD DeploymentFailed Deployed"

    going = cr(finalizers=[FINALIZER], deletionTimestamp="2027-01-01T00:00:00Z")
    going["status"] = obj["status"]
    plan = decide(seen(going))
    assert any(isinstance(action, Remove) for action in plan.actions)
    gone = carried_out(going, plan)
    assert gone["metadata"]["finalizers"] == []
    assert told(gone) == "apd DeletionInProgress Deleted"


def test_what_was_made_stays_until_its_removal_is_done() -> None:
    """`Remove` raises as long as something is left, and what comes after it is not done."""
    going = cr(finalizers=[FINALIZER], deletionTimestamp="2027-01-01T00:00:00Z")
    kinds = [type(action) for action in decide(seen(going)).actions]
    assert kinds == [Patch, Remove, Patch, Patch]


@pytest.mark.configures("uninstallStrategy")
def test_guests_keep_an_installation_that_is_told_so() -> None:
    going = cr(finalizers=[FINALIZER], deletionTimestamp="2027-01-01T00:00:00Z")
    going["spec"]["uninstallStrategy"] = "BlockUninstallIfWorkloadsExist"
    plan = decide(seen(going, guests=2))
    assert not plan.actions
    assert told(carried_out(going, plan)) == "apD DeletionFailed Deleting"


def test_a_second_cr_changes_nothing() -> None:
    plan = decide(seen(cr(), elder="kubevirt", due=True))
    assert not plan.actions
    refused = conditions.find(conditions.of(carried_out(cr(), plan)), "Synchronized")
    assert refused is not None
    assert refused["reason"] == "ExistingDeployment"


def test_who_was_there_first_is_in_charge() -> None:
    old = cr(name="old", creationTimestamp="2027-01-01T00:00:00Z")
    new = cr(name="new", creationTimestamp="2027-01-02T00:00:00Z")
    assert in_charge([new, old]) is old
    new["metadata"]["finalizers"] = [FINALIZER]
    assert in_charge([new, old]) is new
    assert in_charge([]) is None


def test_what_is_lacking() -> None:
    deployment: Obj = {
        "metadata": {"generation": 2},
        "spec": {"replicas": 2},
        "status": {"observedGeneration": 1, "updatedReplicas": 2, "availableReplicas": 2},
    }
    assert deployment_lacks(deployment) == "not looked at yet"
    deployment["status"]["observedGeneration"] = 2
    assert deployment_lacks(deployment) == ""
    deployment["status"]["availableReplicas"] = 1
    assert deployment_lacks(deployment) == "1 of 2 replicas are available"
    deployment["status"] |= {"availableReplicas": 2, "replicas": 3}
    assert deployment_lacks(deployment) == "1 replicas of before are still there"
    daemons: Obj = {"metadata": {"generation": 1}, "spec": {}, "status": {"observedGeneration": 1}}
    assert daemon_set_lacks(daemons) == "no node takes it"
    daemons["status"] |= {"desiredNumberScheduled": 1, "updatedNumberScheduled": 1}
    assert daemon_set_lacks(daemons) == "0 of 1 nodes are available"
    daemons["status"]["numberAvailable"] = 1
    assert daemon_set_lacks(daemons) == ""
