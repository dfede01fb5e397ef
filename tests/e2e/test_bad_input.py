"""What is wrong is said where the user looks, and mending it is enough."""

from __future__ import annotations

import json
from typing import Any

import pytest

from localcluster import images
from tests.e2e.support import (
    Console,
    Namespace,
    Object,
    Refused,
    conditions,
    kubectl,
    phase,
    vm,
    vmi,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

DISK = {"name": "extra", "disk": {"bus": "virtio"}}
VOLUME = {"name": "extra", "emptyDisk": {"capacity": "10Mi"}}


def refusal(namespace: Namespace, thing: Object) -> str:
    """Why the API refuses an object; nothing of it is kept."""
    name, kind = thing["metadata"]["name"], thing["kind"].lower()
    with pytest.raises(Refused) as refused:
        namespace.apply(thing)
    assert not namespace.kubectl("get", kind, name, "--ignore-not-found").strip()
    return str(refused.value)


def said(namespace: Namespace, name: str) -> list[tuple[str, str, str]]:
    """All that a user finds about a VMI: type, reason and message of conditions and events."""
    vmi = namespace.get("vmi", name)
    told = [
        (kind, str(each.get("reason", "")), str(each.get("message", "")))
        for kind, each in conditions(vmi).items()
    ]
    return told + [("event", *event) for event in namespace.events(name)]


def test_an_unknown_field_is_named(namespace: Namespace) -> None:
    thing = vm("unknown")
    thing["spec"]["template"]["spec"]["domain"]["memroy"] = {"guest": "1Gi"}
    why = refusal(namespace, thing)
    assert 'unknown field "memroy"' in why
    assert "spec.template.spec.domain" in why


def test_an_unknown_field_is_named_to_clients_that_do_not_look(namespace: Namespace) -> None:
    thing = json.dumps({**vm("unknown"), "spec": {"template": {"spec": {}}, "runstrategy": "x"}})
    path = f"/apis/kubevirt.io/v1/namespaces/{namespace.name}/virtualmachines"
    with pytest.raises(Refused, match=r'unknown field "spec\.runstrategy"'):
        kubectl("create", "--raw", f"{path}?fieldValidation=Strict", "-f", "-", stdin=thing)


def test_a_volume_that_no_disk_uses(namespace: Namespace) -> None:
    """One that only a disk of its own makes sense for gets it; of another the name is told."""
    thing = vmi("unused")
    volumes = thing["spec"]["volumes"]
    volumes.append({"name": "extra", "serviceAccount": {"serviceAccountName": "default"}})
    why = refusal(namespace, thing)
    assert "spec.volumes[1].name" in why
    assert "'extra' not found" in why

    volumes[1] = VOLUME
    dry = ("create", "--dry-run=server", "--output", "json", "--filename", "-")
    kept = json.loads(namespace.kubectl(*dry, stdin=json.dumps(thing)))
    disks = [disk["name"] for disk in kept["spec"]["domain"]["devices"]["disks"]]
    assert disks == ["root", "extra"]


def test_a_disk_without_a_volume(namespace: Namespace) -> None:
    thing = vm("without")
    thing["spec"]["template"]["spec"]["domain"]["devices"]["disks"].append(DISK)
    why = refusal(namespace, thing)
    assert "spec.template.spec.domain.devices.disks[1].name" in why


@pytest.mark.parametrize("amount", ["-1Mi", "100Ki", "0"])
def test_memory_that_is_none(namespace: Namespace, amount: str) -> None:
    thing = vmi("memory")
    thing["spec"]["domain"]["memory"]["guest"] = amount
    assert "spec.domain.memory.guest" in refusal(namespace, thing)


def test_a_run_strategy_that_is_none(namespace: Namespace) -> None:
    why = refusal(namespace, vm("strategy", "Sometimes"))
    assert "spec.runStrategy" in why or "spec.running" in why
    assert "Sometimes" in why


def test_running_and_run_strategy_at_once(namespace: Namespace) -> None:
    thing = vm("both")
    thing["spec"]["running"] = True
    assert "mutually exclusive" in refusal(namespace, thing)


def test_all_causes_are_told_at_once(namespace: Namespace) -> None:
    thing = vm("many")
    spec: dict[str, Any] = thing["spec"]["template"]["spec"]
    spec["domain"]["devices"]["disks"].append(DISK)
    spec["networks"].append({"name": "lonely", "pod": {}})
    why = refusal(namespace, thing)
    assert "disks[1]" in why
    assert "lonely" in why or "networks" in why


def test_a_missing_image_is_told_and_mended(namespace: Namespace) -> None:
    """The user corrects the VM and it runs; nothing has to be deleted first."""
    namespace.apply(vm("image", image="virtpod.local/nothing-here:v1"))
    found = namespace.wait(
        "vm",
        "image",
        lambda vm: vm["status"].get("printableStatus") in ("ErrImagePull", "ImagePullBackOff"),
        "the VM's status tells",
    )
    namespace.wait(
        "vmi",
        "image",
        lambda vmi: any(
            "nothing-here" in str(each.get("message", "")) for each in conditions(vmi).values()
        ),
        "a condition of the VMI names the image",
    )
    uid = found["metadata"]["uid"]
    before = namespace.get("vmi", "image")["metadata"]["uid"]

    namespace.apply(vm("image"))
    namespace.virtctl("restart", "image")
    namespace.running("image", other_than=before)
    assert namespace.get("vm", "image")["metadata"]["uid"] == uid
    with Console(namespace.name, "image") as console:
        assert console.login().run("hostname") == "image"
    namespace.delete("vm", "image")


def test_memory_that_no_node_has_is_told_and_mended(namespace: Namespace) -> None:
    thing = vm("huge")
    thing["spec"]["template"]["spec"]["domain"]["memory"]["guest"] = "4Ti"
    namespace.apply(thing)
    namespace.wait(
        "vm",
        "huge",
        lambda vm: vm["status"].get("printableStatus") == "ErrorUnschedulable",
        "the VM's status tells",
    )
    vmi = namespace.get("vmi", "huge")
    scheduled = conditions(vmi)["PodScheduled"]
    assert scheduled["status"] == "False"
    assert scheduled["reason"] == "Unschedulable"
    assert "memory" in scheduled["message"]

    namespace.apply(vm("huge"))
    namespace.virtctl("restart", "huge")
    namespace.running("huge", other_than=vmi["metadata"]["uid"])
    namespace.delete("vm", "huge")


def test_an_image_without_a_disk_is_told(namespace: Namespace) -> None:
    namespace.apply(vmi("empty", image=images.TOOLS.reference))
    namespace.wait(
        "vmi",
        "empty",
        lambda vmi: (
            phase(vmi) == "Failed"
            or any("disk" in str(each.get("message")) for each in conditions(vmi).values())
        ),
        "the VMI tells",
    )
    messages = [message for _, _, message in said(namespace, "empty")]
    assert any("root" in message and "disk" in message for message in messages), messages
    namespace.delete("vmi", "empty")
