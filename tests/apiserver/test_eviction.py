"""Who may be evicted: the judgement, and the webhook as the API server calls it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.apiserver.site import Running
from virtpod.apiserver.eviction import PATH, judge
from virtpod.kube.resources import PODS, VMIS

Json = dict[str, Any]
POD = "virt-launcher-demo-abcde"


def vmi(strategy: str | None = None, movable: str = "False", **status: Any) -> Json:
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"namespace": "default", "name": "demo", "uid": "vmi-1"},
        "spec": {"domain": {"devices": {}}, **({"evictionStrategy": strategy} if strategy else {})},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "LiveMigratable", "status": movable}],
            **status,
        },
    }


def pod(owner: str = "vmi-1") -> Json:
    reference = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "name": "demo",
        "uid": owner,
        "controller": True,
    }
    return {
        "metadata": {"namespace": "default", "name": POD, "ownerReferences": [reference]},
        "spec": {"nodeName": "node1", "containers": []},
    }


@pytest.mark.parametrize(
    ("strategy", "default", "movable", "refusal", "mark"),
    [
        (None, None, "True", "", ""),
        ("None", "LiveMigrate", "True", "", ""),
        ("LiveMigrate", None, "False", "but is not live-migratable", ""),
        (None, "LiveMigrate", "False", "but is not live-migratable", ""),
        ("LiveMigrate", None, "True", "Eviction triggered evacuation", "node1"),
        ("LiveMigrateIfPossible", None, "False", "", ""),
        ("LiveMigrateIfPossible", None, "True", "Eviction triggered evacuation", "node1"),
        ("External", None, "False", "Eviction triggered evacuation", "node1"),
    ],
)
def test_each_strategy(
    strategy: str | None, default: str | None, movable: str, refusal: str, mark: str
) -> None:
    verdict = judge(vmi(strategy, movable), pod(), default)
    assert refusal in verdict.refusal
    assert bool(verdict.refusal) == bool(refusal)
    assert verdict.mark == mark


def test_who_is_going_already_is_not_held() -> None:
    assert not judge(vmi("External", phase="Succeeded"), pod(), None).refusal
    going = vmi("LiveMigrate")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not judge(going, pod(), None).refusal


async def evict(api: Running, **request: Any) -> Json:
    review = {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {"uid": "u-1", "namespace": "default", "name": POD, **request},
    }
    async with (
        api.session(api.pki.caller(None), headers={}) as session,
        session.post(api.url + PATH, json=review) as reply,
    ):
        assert reply.status == 200
        answer: Json = (await reply.json())["response"]
    assert answer["uid"] == "u-1"
    return answer


async def test_a_drain_is_told_to_come_again_and_the_guest_to_leave(api: Running) -> None:
    api.fake.put(VMIS, vmi("External"))
    api.fake.put(PODS, pod())
    answer = await evict(api, dryRun=True)
    assert answer["status"]["code"] == 429
    assert "evacuationNodeName" not in api.fake.get(VMIS, "default", "demo")["status"]
    answer = await evict(api)
    assert answer["status"]["reason"] == "TooManyRequests"
    assert api.fake.get(VMIS, "default", "demo")["status"]["evacuationNodeName"] == "node1"
    assert "Evacuation in progress" in (await evict(api))["status"]["message"]


async def test_a_pod_that_only_says_so_is_not_held(api: Running) -> None:
    """By owner's uid: a name can be had again, and a label be forged."""
    api.fake.put(VMIS, vmi("External"))
    api.fake.put(PODS, pod("another"))
    assert (await evict(api))["allowed"]
    assert (await evict(api, name="virt-launcher-nobody"))["allowed"]


async def test_no_leave_is_given_while_nothing_can_be_known(api: Running) -> None:
    api.fake.fail("get", PODS, times=10)
    answer = await evict(api)
    assert not answer["allowed"]
    assert answer["status"]["code"] == 429


async def test_a_pod_that_holds_a_guest_s_volumes_goes_with_its_guest(api: Running) -> None:
    launcher = pod()
    launcher["metadata"]["uid"] = "pod-1"
    holder = pod("pod-1")
    holder["metadata"]["name"] = "hp-volume-1"
    holder["metadata"]["ownerReferences"][0] |= {"kind": "Pod", "name": POD}
    api.fake.put(PODS, launcher)
    api.fake.put(PODS, holder)
    api.fake.put(VMIS, vmi("None"))
    answer = await evict(api, name="hp-volume-1")
    assert answer["status"]["code"] == 429
    assert 'holds volumes of VMI "default/demo"' in answer["status"]["message"]
    api.fake.put(VMIS, vmi("None", phase="Succeeded"))
    assert (await evict(api, name="hp-volume-1"))["allowed"]
