"""virt-controller's caches and loops on an API server: what was decided arrives, once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.kube.fake import FakeCluster
from virtpod.controller.caches import Caches
from virtpod.controller.loops import Loops
from virtpod.controllers import conditions, obstruction, targets, updating
from virtpod.domain import moving
from virtpod.installation import Container, Installation
from virtpod.kube import errors
from virtpod.kube.events import Recorder
from virtpod.kube.loop import Loop
from virtpod.kube.resources import (
    EVENTS,
    KUBEVIRTS,
    NAMESPACES,
    NODES,
    PODS,
    PVCS,
    SNAPSHOTS,
    VMIS,
    VMS,
    Key,
    Obj,
)

KEY = Key("default", "demo")
INSTALLED = Key("kubevirt", "kubevirt")
WITHIN = 10.0


def machine() -> Obj:
    domain = {
        "devices": {},
        "machine": {"type": "q35"},
        "cpu": {"sockets": 1, "cores": 1, "threads": 1},
        "memory": {"guest": "64Mi"},
        "resources": {"requests": {"memory": "64Mi"}},
    }
    return {
        "metadata": {"name": "demo", "namespace": "default"},
        "spec": {
            "runStrategy": "Always",
            "template": {"spec": {"architecture": "amd64", "domain": domain}},
        },
    }


@contextlib.asynccontextmanager
async def controller(
    fake: FakeCluster,
    check: Callable[[], None] | None = None,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Loops]:
    installation = Installation(Container("kubevirt", "pod-1", "launcher:1", False))
    async with fake.client("virt-controller") as client:
        writer = client.guarded(check) if check else client
        recorder = Recorder(writer, "virt-controller")
        caches = Caches(client, "kubevirt", installation)
        loops = Loops(caches, writer, recorder, installation, clock)
        async with asyncio.TaskGroup() as tasks:
            working = [tasks.create_task(each.run()) for each in caches.all]
            working.append(tasks.create_task(recorder.run()))
            await caches.wait_synced()
            working.append(tasks.create_task(loops.run()))
            try:
                yield loops
            finally:
                for task in working:
                    task.cancel()


async def until(so: Callable[[], Any]) -> Any:
    """The fake is in this process: each turn of its loop may change it."""
    async with asyncio.timeout(WITHIN):
        while True:
            with contextlib.suppress(KeyError, LookupError):
                if found := so():
                    return found
            await asyncio.sleep(0.01)


def vmi(fake: FakeCluster) -> Obj:
    return fake.objects(VMIS)[KEY]


def pod(fake: FakeCluster) -> Obj:
    found = list(fake.objects(PODS).values())
    return found[0]


def phase(fake: FakeCluster) -> str:
    return str(vmi(fake)["status"]["phase"])


def runs(fake: FakeCluster) -> None:
    """As the kubelet tells it."""
    found = pod(fake)
    found["spec"]["nodeName"] = "node1"
    found["status"] = {
        **found.get("status", {}),
        "phase": "Running",
        "containerStatuses": [{"name": "compute", "state": {"running": {}}}],
    }
    fake.put(PODS, found)


def reasons(fake: FakeCluster) -> set[str]:
    return {str(event["reason"]) for event in fake.objects(EVENTS).values()}


def wrote(fake: FakeCluster, verb: str, plural: str) -> int:
    return sum(1 for write in fake.writes if tuple(write)[:2] == (verb, plural))


async def test_from_a_vm_to_a_pod_that_runs(fake: FakeCluster) -> None:
    async with controller(fake):
        fake.put(VMS, machine())
        await until(lambda: phase(fake) == "Scheduling")
        await until(lambda: pod(fake)["status"]["conditions"])
        runs(fake)
        await until(lambda: phase(fake) == "Scheduled")
        assert vmi(fake)["metadata"]["labels"]["kubevirt.io/nodeName"] == "node1"
        assert fake.objects(VMS)[KEY]["status"]["printableStatus"] == "Starting"
        await until(lambda: len(fake.objects(EVENTS)) == 2)
    assert wrote(fake, "create", "virtualmachineinstances") == 1
    assert wrote(fake, "create", "pods") == 1
    assert wrote(fake, "patch", "virtualmachineinstances") == 2


async def test_another_leader_adopts_what_the_first_one_made(fake: FakeCluster) -> None:
    """The first one dies between the pod's creation and the word of it."""
    fake.fail("patch", VMIS, 500, times=8)
    async with controller(fake):
        fake.put(VMS, machine())
        first = await until(lambda: pod(fake)["metadata"]["uid"])
    async with controller(fake):
        await until(lambda: phase(fake) == "Scheduling")
        assert [each["metadata"]["uid"] for each in fake.objects(PODS).values()] == [first]


async def test_who_leads_no_more_writes_nothing(fake: FakeCluster) -> None:
    def lost() -> None:
        raise errors.NotLeading("another holds it")

    fake.put(VMS, machine())
    with contextlib.suppress(ExceptionGroup):
        async with controller(fake, lost):
            await asyncio.sleep(0.2)
    assert fake.writes == []


async def test_a_pod_that_is_refused_is_told_and_tried_again(fake: FakeCluster) -> None:
    fake.fail("create", PODS, 403, times=2)
    async with controller(fake) as loops:
        fake.put(VMS, machine())
        told = await until(lambda: vmi(fake)["status"]["conditions"])
        assert told[0]["reason"] == "FailedCreate"

        def tried() -> bool:
            loops.vmis.add(KEY)
            return phase(fake) == "Scheduling"

        await until(tried)
        assert "FailedCreate" not in str(vmi(fake)["status"]["conditions"])


async def test_in_a_namespace_that_is_being_deleted_nobody_is_told_of_a_pod_that_cannot_be(
    fake: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    leaves = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    fake.put(NAMESPACES, {"metadata": {"name": "default", **leaves}})
    guest = {"name": "guest", "namespace": "default"}
    async with controller(fake) as loops:
        fake.put(VMS, machine())
        fake.put(VMIS, {**machine()["spec"]["template"], "metadata": guest})

        def refused(loop: Loop[Key, Any], key: Key) -> bool:
            return any(
                each["key"] == str(key) and "because it is being terminated" in each["outcome"]
                for each in loop.decisions()
            )

        await until(lambda: refused(loops.vms, KEY))
        await until(lambda: refused(loops.vmis, Key("default", "guest")))
        # What is deleted goes, as ever.
        going = fake.objects(VMIS)[Key("default", "guest")]
        fake.put(VMIS, {**going, "metadata": {**going["metadata"], **leaves}})
        await until(lambda: Key("default", "guest") not in fake.objects(VMIS))
    assert "FailedCreate" not in str((going, fake.objects(VMS)))
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


async def test_a_claim_that_is_refused_has_a_reason_of_its_own(fake: FakeCluster) -> None:
    remembers = machine()
    devices = remembers["spec"]["template"]["spec"]["domain"]["devices"]
    devices["tpm"] = {"persistent": True}
    fake.fail("create", PVCS, 403, times=1)
    async with controller(fake):
        fake.put(VMS, remembers)
        reasons = await until(
            lambda: {
                each["reason"]
                for each in fake.objects(EVENTS).values()
                if each["type"] == "Warning"
            }
        )
    assert reasons == {"FailedBackendStorageCreate"}


async def test_a_pods_end_must_be_proved(fake: FakeCluster) -> None:
    """A watch that breaks off and a list that fails are no proof; the pod's absence is."""
    async with controller(fake):
        fake.put(VMS, machine())
        await until(lambda: phase(fake) == "Scheduling")
        await until(lambda: pod(fake)["status"]["conditions"])
        runs(fake)
        await until(lambda: phase(fake) == "Scheduled")
        running = vmi(fake)
        running["status"]["phase"] = "Running"
        running["status"]["phaseTransitionTimestamps"].append({"phase": "Running"})
        fake.put(VMIS, running)
        fake.fail("list", PODS, 500, times=2)
        fake.compact()
        await fake.drop_watches()
        fake.put(VMIS, vmi(fake))
        await asyncio.sleep(0.3)
        assert phase(fake) == "Running"
        uid = vmi(fake)["metadata"]["uid"]
        found = pod(fake)
        fake.remove(PODS, Key("default", found["metadata"]["name"]))
        # The run strategy replaces what has failed.
        await until(lambda: vmi(fake)["metadata"]["uid"] != uid)
        await until(lambda: phase(fake) == "Scheduling")
    assert wrote(fake, "create", "pods") == 2


async def test_what_holds_a_start_up_is_told_and_taken_back_without_a_write_of_its_own(
    fake: FakeCluster,
) -> None:
    def obstructed() -> list[Obj]:
        return [each for each in vmi(fake)["status"]["conditions"] if each["type"] == "Obstructed"]

    passed = 0.0
    async with controller(fake, clock=lambda: time.time() + passed) as loops:
        fake.put(VMS, machine())
        await until(lambda: pod(fake)["status"]["conditions"])
        found = pod(fake)
        event = {
            "metadata": {"name": "one", "namespace": "default"},
            "involvedObject": {"kind": "Pod", "uid": found["metadata"]["uid"]},
            "type": "Warning",
            "reason": "FailedMount",
            "message": 'MountVolume.SetUp failed for volume "login" : secret "login" not found',
        }
        fake.put(EVENTS, event)
        passed = obstruction.STANDING + 1
        loops.vmis.add(KEY)
        (told,) = await until(obstructed)
        assert told["reason"] == "ConfigNotFound"
        assert told["message"].startswith("The Secret login is not there. ")
        await until(lambda: "ConfigNotFound" in str(fake.objects(VMS)[KEY]["status"]["conditions"]))
        before = wrote(fake, "patch", "virtualmachineinstances")
        runs(fake)
        await until(lambda: phase(fake) == "Scheduled")
        assert "Obstructed" not in str(vmi(fake)["status"]["conditions"])
    assert wrote(fake, "patch", "virtualmachineinstances") == before + 1


async def test_what_nothing_acts_on_says_so_once(fake: FakeCluster) -> None:
    snapshot = {"metadata": {"name": "s", "namespace": "default"}, "spec": {"source": {}}}
    async with controller(fake):
        fake.put(SNAPSHOTS, snapshot)
        key = Key("default", "s")
        await until(lambda: "status" in fake.objects(SNAPSHOTS)[key])
        [condition] = fake.get(SNAPSHOTS, *key)["status"]["conditions"]
        assert (condition["type"], condition["status"]) == ("Ready", "False")
        assert condition["reason"] == "NotImplemented"
        fake.put(SNAPSHOTS, {**fake.get(SNAPSHOTS, *key), "spec": {"source": {"kind": "a"}}})
        await asyncio.sleep(0.2)
        assert wrote(fake, "patch", f"{SNAPSHOTS.plural}/status") == 1


async def test_guests_in_old_launchers_are_told_of_and_evicted_where_that_is_wanted(
    fake: FakeCluster,
) -> None:
    fake.put(KUBEVIRTS, {"metadata": {"name": "kubevirt", "namespace": "kubevirt"}, "spec": {}})
    async with controller(fake):
        fake.put(VMS, machine())
        await until(lambda: pod(fake)["status"]["conditions"])
        runs(fake)
        await until(lambda: phase(fake) == "Scheduled")
    old = pod(fake)
    old["spec"]["containers"][0]["image"] = "launcher:0"
    fake.put(PODS, old)
    guest = vmi(fake)
    guest["status"]["phase"] = "Running"
    fake.put(VMIS, guest)
    async with controller(fake):
        await until(lambda: updating.OUTDATED in vmi(fake)["metadata"]["labels"])
        await until(lambda: fake.objects(KUBEVIRTS)[INSTALLED]["status"][updating.COUNT] == 1)
        assert fake.objects(PODS) != {}
        cr = fake.objects(KUBEVIRTS)[INSTALLED]
        cr["spec"]["workloadUpdateStrategy"] = {"workloadUpdateMethods": ["Evict"]}
        fake.put(KUBEVIRTS, cr)
        await until(lambda: pod(fake)["metadata"].get("deletionTimestamp"))
        await until(lambda: "SuccessfulEvict" in reasons(fake))
        assert "FailedEvict" not in reasons(fake)


async def test_a_device_without_another_node_is_told_as_nodes_and_guests_change(
    fake: FakeCluster,
) -> None:
    def said() -> tuple[str, str]:
        found = conditions.find(conditions.of(vmi(fake)), moving.TARGETS) or {}
        return found.get("status", ""), found.get("message", "")

    def node(name: str, **labels: str) -> None:
        labels = {f"{moving.LABEL}8086-4941.{kind}": how for kind, how in labels.items()}
        ready = {"type": "Ready", "status": "True"}
        metadata = {
            "name": name,
            "labels": {"kubevirt.io/schedulable": "true", **labels},
            "annotations": {"kubevirt.io/heartbeat": "2026-01-01T00:00:00Z"},
        }
        fake.put(NODES, {"metadata": metadata, "status": {"conditions": [ready]}})

    async with controller(fake):
        fake.put(VMS, machine())
        await until(lambda: pod(fake)["status"]["conditions"])
        runs(fake)
        await until(lambda: phase(fake) == "Scheduled")
        node("node1", cy="moves")
        node("node2", dc="moves")
        guest = vmi(fake)
        guest["metadata"]["annotations"] = {targets.NEEDS: '{"crypto":"8086-4941.cy"}'}
        guest["status"] |= {"phase": "Running", "nodeName": "node1"}
        fake.put(VMIS, guest)
        await until(lambda: "node2 has it for dc" in said()[1])
        assert said()[0] == "False"
        assert said()[1].startswith("crypto: no other node offers 8086:4941 for cy")
        node("node2", cy="moves")
        await until(lambda: said() == ("True", "Nodes with devices as it has: node2"))
        guest = vmi(fake)
        guest["metadata"]["annotations"] = {}
        fake.put(VMIS, guest)
        await until(lambda: said() == ("", ""))


@pytest.mark.configures("configuration.autoCPULimitNamespaceLabelSelector")
async def test_a_namespace_may_limit_the_cpus_of_its_guests(fake: FakeCluster) -> None:
    selector = {"matchLabels": {"quota": "cpu"}}
    spec = {"configuration": {"autoCPULimitNamespaceLabelSelector": selector}}
    fake.put(KUBEVIRTS, {"metadata": {"name": "kubevirt", "namespace": "kubevirt"}, "spec": spec})
    fake.put(NAMESPACES, {"metadata": {"name": "default", "labels": {"quota": "cpu"}}})
    async with controller(fake):
        fake.put(VMS, machine())
        made = await until(lambda: pod(fake))
    assert made["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "1"
