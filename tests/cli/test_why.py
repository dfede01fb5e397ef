"""What `virtctl why` looks at, and that less is enough where its user may not see all."""

from __future__ import annotations

import json

import pytest

from tests.kube.fake import FakeCluster
from tests.why.cases import UNMATCHED, pod, selecting, vm, vmi
from virtpod.cli import _gather
from virtpod.cli.why import text
from virtpod.controllers.why import Diagnosis, diagnose
from virtpod.kube.resources import (
    EVENTS,
    KUBEVIRTS,
    NODES,
    PODS,
    PVCS,
    STORAGE_CLASSES,
    VMIS,
    VMS,
    Resource,
)


async def told(fake: FakeCluster, *, instance: bool = False) -> Diagnosis:
    async with fake.client("virtctl") as client:
        return diagnose(await _gather.observed(client, "team", "demo", instance=instance))


@pytest.fixture
def unplaced(fake: FakeCluster) -> FakeCluster:
    machine = vm()
    fake.put(VMS, machine)
    instance = vmi(
        ownerReferences=[
            {"kind": "VirtualMachine", "name": "demo", "uid": "vm-1", "controller": True}
        ]
    )
    instance["spec"]["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    fake.put(VMIS, instance)
    claim = {"metadata": {"namespace": "team", "name": "data"}, "status": {"phase": "Bound"}}
    fake.put(PVCS, claim)
    launcher = pod(says=UNMATCHED, spec=selecting(disk="nvme"))
    labels = {"kubevirt.io/created-by": instance["metadata"]["uid"]}
    launcher["metadata"] |= {
        "labels": labels,
        "ownerReferences": [
            {
                "kind": "VirtualMachineInstance",
                "name": "demo",
                "uid": instance["metadata"]["uid"],
                "controller": True,
            }
        ],
    }
    fake.put(PODS, launcher)
    liar = pod("node1", {"waiting": {"reason": "ErrImagePull"}})
    liar["metadata"] |= {"name": "liar", "uid": "pod-2", "labels": labels}
    fake.put(PODS, liar)
    labels = {**launcher["spec"]["nodeSelector"], "disk": "hdd"}
    fake.put(NODES, {"metadata": {"name": "node1", "labels": labels}})
    return fake


@pytest.mark.parametrize("instance", [True, False])
async def test_what_is_around_a_vm_is_looked_at(unplaced: FakeCluster, instance: bool) -> None:
    found = await told(unplaced, instance=instance)
    assert found.code == "NodeSelectorUnmatched"
    assert found.evidence[-1] == "node node1 has disk=hdd"
    assert text("demo", found).startswith("demo: No node has the label disk=nvme")


async def test_who_may_not_see_all_gets_an_answer(unplaced: FakeCluster) -> None:
    hidden: tuple[tuple[str, Resource], ...] = (
        ("list", NODES),
        ("list", STORAGE_CLASSES),
        ("list", EVENTS),
        ("list", KUBEVIRTS),
        ("get", PVCS),
    )
    for verb, resource in hidden:
        unplaced.fail(verb, resource, status=403, times=9)
    found = await told(unplaced)
    assert found.code == "NodeSelectorUnmatched"
    assert json.dumps(found.evidence)


async def test_nobody_by_that_name(fake: FakeCluster) -> None:
    assert (await told(fake)).code == "NotFound"
