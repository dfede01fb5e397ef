"""Claims and the VMIs that want them: awaited, and given to one guest at a time."""

from __future__ import annotations

from typing import Any

from tests.controller.test_loops import controller, machine, runs, until, wrote
from tests.kube.fake import FakeCluster
from virtpod.kube.resources import NODES, PODS, PVCS, VMIS, VOLUME_ATTACHMENTS, Key, Obj


def instance(name: str, *claims: str, **disk: Any) -> Obj:
    spec: Obj = machine()["spec"]["template"]["spec"]
    volumes = [{"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in claims]
    disks = [{"name": claim, "disk": {"bus": "virtio"}, **disk} for claim in claims]
    domain = {**spec["domain"], "devices": {"disks": disks}}
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "finalizers": ["kubevirt.io/foregroundDeleteVirtualMachine"],
        },
        "spec": {**spec, "domain": domain, "volumes": volumes},
        "status": {"phase": "Pending"},
    }


def claim(name: str, mode: str = "Filesystem") -> Obj:
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "volumeMode": mode,
            "resources": {"requests": {"storage": "1Gi"}},
        },
        "status": {"phase": "Bound", "capacity": {"storage": "2Gi"}},
    }


def status(fake: FakeCluster, name: str) -> Obj:
    found: Obj = fake.objects(VMIS)[Key("default", name)]["status"]
    return found


def told(fake: FakeCluster, name: str) -> tuple[str, str]:
    found = {each["type"]: each for each in status(fake, name).get("conditions") or ()}
    problem = found.get("Synchronized") or {}
    return problem.get("reason", ""), problem.get("message", "")


def waiting(fake: FakeCluster) -> list[str]:
    return [key.name for key in fake.objects(VMIS) if told(fake, key.name)[0] == "VolumeInUse"]


async def test_a_claim_that_is_missing_is_awaited_and_then_noted(fake: FakeCluster) -> None:
    async with controller(fake):
        fake.put(VMIS, instance("demo", "data"))
        await until(lambda: told(fake, "demo")[0] == "FailedPvcNotFound")
        assert status(fake, "demo")["phase"] == "Pending"
        assert not fake.objects(PODS)
        fake.put(PVCS, claim("data", "Block"))
        await until(lambda: status(fake, "demo")["phase"] == "Scheduling")
        assert told(fake, "demo") == ("", "")
        noted = status(fake, "demo")["volumeStatus"]
        assert [
            (each["name"], each["persistentVolumeClaimInfo"]["capacity"]) for each in noted
        ] == [("data", {"storage": "2Gi"})]
        made = next(iter(fake.objects(PODS).values()))
        assert made["spec"]["containers"][0]["volumeDevices"] == [
            {"name": "data", "devicePath": "/dev/data"}
        ]
    assert wrote(fake, "create", "pods") == 1


async def test_of_many_that_want_a_claim_one_has_it_at_a_time(fake: FakeCluster) -> None:
    """All appear in one moment; each starts when the one before it is gone."""
    names = ["a", "b", "c", "d"]
    async with controller(fake):
        fake.put(PVCS, claim("data"))
        for name in names:
            fake.put(VMIS, instance(name, "data"))
        for _ in names:
            left = len(fake.objects(VMIS))
            await until(lambda left=left: len(waiting(fake)) == left - 1)
            [first] = {key.name for key in fake.objects(VMIS)} - set(waiting(fake))
            for other in waiting(fake):
                assert told(fake, other)[1].endswith(f" VirtualMachineInstance {first}")
            fake.remove(PODS, next(iter(fake.objects(PODS))))
            fake.remove(VMIS, Key("default", first))
    assert wrote(fake, "create", "pods") == len(names)


async def test_those_who_share_a_claim_or_only_read_it_have_it_together(fake: FakeCluster) -> None:
    async with controller(fake):
        fake.put(PVCS, claim("shared"))
        fake.put(PVCS, claim("seed"))
        for name in ("a", "b"):
            fake.put(VMIS, instance(f"shares-{name}", "shared", shareable=True))
            fake.put(
                VMIS, instance(f"reads-{name}", "seed", disk={"bus": "virtio", "readonly": True})
            )
        await until(lambda: len(fake.objects(PODS)) == 4)
        fake.put(VMIS, instance("writes", "seed"))
        await until(lambda: told(fake, "writes")[0] == "VolumeInUse")


async def test_a_guest_holds_its_claim_until_its_pod_has_ended(
    fake: FakeCluster,
) -> None:
    async with controller(fake):
        fake.put(PVCS, claim("data"))
        fake.put(VMIS, instance("first", "data"))
        await until(lambda: status(fake, "first")["phase"] == "Scheduling")
        runs(fake)
        await until(lambda: status(fake, "first")["phase"] == "Scheduled")
        obj = fake.objects(VMIS)[Key("default", "first")]
        fake.put(VMIS, {**obj, "status": {**obj["status"], "phase": "Failed"}})
        fake.put(VMIS, instance("second", "data"))
        await until(lambda: told(fake, "second")[0] == "VolumeInUse")
        [pod] = fake.objects(PODS).values()
        fake.put(PODS, {**pod, "status": {**pod["status"], "phase": "Failed"}})
        await until(lambda: status(fake, "second")["phase"] == "Scheduling")


async def test_a_volume_that_a_lost_node_has_attached_starts_no_guest(fake: FakeCluster) -> None:
    """What a node that is well has attached, Kubernetes moves by itself."""
    bound = claim("data")
    bound["spec"]["volumeName"] = "volume"
    attachment: Obj = {
        "metadata": {"name": "attached"},
        "spec": {
            "attacher": "csi",
            "nodeName": "far",
            "source": {"persistentVolumeName": "volume"},
        },
    }
    far: Obj = {
        "metadata": {"name": "far"},
        "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]},
    }
    async with controller(fake):
        fake.put(NODES, far)
        fake.put(PVCS, bound)
        fake.put(VOLUME_ATTACHMENTS, attachment)
        fake.put(VMIS, instance("demo", "data"))
        await until(lambda: told(fake, "demo")[0] == "FailedAttachVolume")
        assert "node far" in told(fake, "demo")[1]
        assert not fake.objects(PODS)
        fake.remove(VOLUME_ATTACHMENTS, Key("", "attached"))
        await until(lambda: status(fake, "demo")["phase"] == "Scheduling")
        far["status"]["conditions"][0]["status"] = "True"
        fake.put(NODES, far)
        fake.put(VOLUME_ATTACHMENTS, attachment)
        fake.remove(PODS, next(iter(fake.objects(PODS))))
        fake.remove(VMIS, Key("default", "demo"))
        fake.put(VMIS, instance("again", "data"))
        await until(lambda: status(fake, "again")["phase"] == "Scheduling")
