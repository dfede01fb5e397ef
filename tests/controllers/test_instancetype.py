"""The copies that a VM keeps of its instance type and preference, and how old ones are upgraded."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from virtpod.api.kubevirt import KubeVirtConfiguration
from virtpod.controllers import instancetype, vm
from virtpod.domain.facts import Cluster
from virtpod.kube.plan import Create, Event, Patch
from virtpod.kube.resources import CONTROLLER_REVISIONS, Key, Obj

SPEC = {"cpu": {"guest": 2}, "memory": {"guest": "1Gi"}}
LABEL = "instancetype.kubevirt.io/object-"
NEW = "demo-small-v1beta1-11-3"


def machine(status: Obj | None = None, **matcher: Any) -> Obj:
    return {
        "metadata": {
            "name": "demo",
            "namespace": "team",
            "uid": "1",
            "generation": 1,
            "resourceVersion": "5",
            "finalizers": [vm.FINALIZER],
        },
        "spec": {
            "runStrategy": "Halted",
            "instancetype": {
                "name": "small",
                "kind": "VirtualMachineInstancetype",
                **matcher,
            },
            "template": {"spec": {"domain": {"devices": {}}}},
        },
        "status": status or {},
    }


def told(name: str) -> Obj:
    """As status tells of a copy."""
    return {
        "instancetypeRef": {
            "name": "small",
            "kind": "VirtualMachineInstancetype",
            "controllerRevisionRef": {"name": name},
        }
    }


def copy(version: str, data: Obj | None = None) -> Obj:
    labels = {"version": version, "name": "small", "uid": "11", "generation": "3"}
    return {
        "metadata": {
            "name": f"demo-small-{version}-11-3",
            "namespace": "team",
            "labels": {f"{LABEL}{name}": value for name, value in labels.items()},
        },
        "data": data
        or {
            "apiVersion": f"instancetype.kubevirt.io/{version}",
            "kind": "VirtualMachineInstancetype",
            "metadata": {"name": "small"},
            "spec": SPEC,
        },
    }


OLD = copy("v1alpha2")
OLDEST = copy(
    "v1alpha1",
    {
        "apiVersion": "instancetype.kubevirt.io/v1alpha1",
        "spec": base64.b64encode(json.dumps(SPEC).encode()).decode(),
    },
)


@pytest.mark.parametrize("old", [OLD, OLDEST], ids=["v1alpha2", "v1alpha1"])
def test_an_old_copy_is_followed_by_one_in_todays_api(old: Obj) -> None:
    found = machine(told(old["metadata"]["name"]))
    assert instancetype.matters(found, starts=False)
    key = Key("team", old["metadata"]["name"])
    assert instancetype.wanted(found) == {"instancetype": (CONTROLLER_REVISIONS, key)}
    chosen = instancetype.choose(found, {"instancetype": old})
    assert chosen.missing == {}
    assert chosen.choice.instancetype is not None
    assert chosen.choice.instancetype.cpu.guest == 2
    (made,) = chosen.copies
    assert made.unless_there
    assert made.body["metadata"]["name"] == NEW
    labels = made.body["metadata"]["labels"]
    assert labels[f"{LABEL}version"] == "v1beta1"
    assert labels[f"{LABEL}generation"] == "3"
    assert made.body["data"]["apiVersion"] == "instancetype.kubevirt.io/v1beta1"
    assert made.body["data"]["spec"] == SPEC
    plan = vm.decide(vm.Seen(found, None, 0.0, chosen=chosen))
    assert made in plan.actions
    assert plan.status is not None
    assert plan.status.body["status"]["instancetypeRef"] == told(NEW)["instancetypeRef"]
    # From then on there is nothing to do.
    after = machine(told(NEW))
    assert not instancetype.matters(after, starts=False)
    assert instancetype.choose(after, {"instancetype": made.body}).copies == ()


def test_a_copy_that_the_user_named_is_renamed_in_the_spec() -> None:
    found = machine(revisionName=OLD["metadata"]["name"])
    chosen = instancetype.choose(found, {"instancetype": OLD})
    plan = vm.decide(vm.Seen(found, None, 0.0, chosen=chosen))
    made, patch, event = plan.actions
    assert isinstance(made, Create)
    assert isinstance(patch, Patch)
    assert patch.body == {
        "metadata": {"resourceVersion": "5"},
        "spec": {"instancetype": {"revisionName": NEW}},
    }
    assert isinstance(event, Event)
    assert event.reason == "RevisionUpgraded"
    after = machine(revisionName=NEW)
    again = instancetype.choose(after, {"instancetype": made.body})
    assert (again.copies, again.renamed) == ((), {})


@pytest.mark.parametrize("spec", ["no base64!", base64.b64encode(b"{").decode(), {"cpu": 1}, None])
def test_a_copy_that_cannot_be_understood_is_told(spec: Any) -> None:
    broken = {**OLDEST, "data": {**OLDEST["data"], "spec": spec}}
    chosen = instancetype.choose(
        machine(told(OLDEST["metadata"]["name"])), {"instancetype": broken}
    )
    assert "cannot be understood" in chosen.missing["instancetype"]
    assert chosen.copies == ()


@pytest.mark.parametrize(
    ("policy", "kept", "inlined"),
    [
        (None, False, False),
        ("reference", False, False),
        ("expand", False, True),
        ("expand", True, False),
        ("expandAll", False, True),
        ("expandAll", True, True),
    ],
)
def test_the_policy_says_which_vms_become_whole(
    policy: str | None, kept: bool, inlined: bool
) -> None:
    """expand: those that have no copy yet."""
    config = KubeVirtConfiguration()
    if policy:
        config = decode_policy(policy)
    cluster = replace(Cluster(), config=config)
    now = copy("v1beta1")
    found = machine(told(now["metadata"]["name"]) if kept else None)
    thing = now if kept else {"metadata": {"name": "small", "uid": "11"}, "spec": SPEC}
    chosen = instancetype.choose(found, {"instancetype": thing})
    assert chosen.missing == {}
    assert instancetype.inlined(found, chosen, cluster) == inlined
    plan = vm.decide(vm.Seen(found, None, 0.0, cluster=cluster, chosen=chosen))
    if inlined:
        (patch,) = plan.actions
        assert isinstance(patch, Patch)
        assert patch.body["spec"]["instancetype"] is None
        assert patch.body["spec"]["template"]["spec"]["domain"]["memory"] == {"guest": "1Gi"}


def decode_policy(policy: str) -> KubeVirtConfiguration:
    import msgspec

    return msgspec.convert({"instancetype": {"referencePolicy": policy}}, KubeVirtConfiguration)
