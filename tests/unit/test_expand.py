"""Instance types and preferences: what a VM becomes, what conflicts, what is not enough."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from virtpod.api.vmi import VirtualMachineInstance
from virtpod.domain.facts import Cluster
from virtpod.render import admit, expand

Json = dict[str, Any]
UUID = "5d307ca9-b3ef-428c-8861-06e72d69f223"
SMALL: Json = {"cpu": {"guest": 4}, "memory": {"guest": "2Gi"}}


def choice(instancetype: Json | None = None, preference: Json | None = None) -> expand.Choice:
    return msgspec.convert({"instancetype": instancetype, "preference": preference}, expand.Choice)


def vmi(domain: Json | None = None, **spec: Any) -> VirtualMachineInstance:
    domain = {"devices": {}, **(domain or {})}
    return msgspec.convert(
        {"metadata": {"name": "demo", "namespace": "default"}, "spec": {"domain": domain, **spec}},
        VirtualMachineInstance,
    )


def expanded(instancetype: Json | None, preference: Json | None, given: Json, **spec: Any) -> Json:
    whole = vmi(given, **spec)
    chosen = choice(instancetype, preference)
    assert expand.problems(chosen, whole) == []
    expand.expand(chosen, whole, Cluster())
    found: Json = msgspec.to_builtins(whole)
    return found


@pytest.mark.parametrize(
    ("cpu", "guest", "shape"),
    [
        ({}, 4, (4, 1, 1)),
        ({"preferredCPUTopology": "cores"}, 4, (1, 4, 1)),
        ({"preferredCPUTopology": "preferThreads"}, 4, (1, 1, 4)),
        ({"preferredCPUTopology": "any"}, 4, (4, 1, 1)),
        ({"preferredCPUTopology": "spread"}, 6, (3, 2, 1)),
        ({"preferredCPUTopology": "spread", "spreadOptions": {"ratio": 3}}, 6, (2, 3, 1)),
        (
            {
                "preferredCPUTopology": "spread",
                "spreadOptions": {"across": "SocketsCoresThreads", "ratio": 2},
            },
            8,
            (2, 2, 2),
        ),
        (
            {"preferredCPUTopology": "spread", "spreadOptions": {"across": "CoresThreads"}},
            6,
            (1, 3, 2),
        ),
    ],
)
def test_vcpus_take_the_shape_that_the_preference_wants(
    cpu: Json, guest: int, shape: tuple[int, int, int]
) -> None:
    given = {**SMALL, "cpu": {"guest": guest}}
    domain = expanded(given, {"cpu": cpu}, {})["spec"]["domain"]
    assert tuple(domain["cpu"][name] for name in ("sockets", "cores", "threads")) == shape


def test_vcpus_that_cannot_be_spread_are_a_cause() -> None:
    chosen = choice({**SMALL, "cpu": {"guest": 5}}, {"cpu": {"preferredCPUTopology": "spread"}})
    [cause] = expand.problems(chosen, vmi())
    assert cause.field == "instancetype"
    assert "multiple of 2" in cause.message


def test_an_instance_type_decides_and_its_overcommit_is_the_pod_s_request() -> None:
    given = {
        "cpu": {"guest": 2, "model": "Skylake-Server", "dedicatedCPUPlacement": True},
        "memory": {"guest": "4Gi", "overcommitPercent": 25, "hugepages": {"pageSize": "2Mi"}},
        "nodeSelector": {"disk": "fast"},
        "annotations": {"team": "a"},
    }
    whole = expanded(given, None, {})
    domain = whole["spec"]["domain"]
    assert domain["cpu"]["model"] == "Skylake-Server"
    assert domain["cpu"]["dedicatedCpuPlacement"] is True
    assert domain["memory"] == {"guest": "4Gi", "hugepages": {"pageSize": "2Mi"}}
    assert domain["resources"]["requests"] == {"memory": "3Gi"}
    assert whole["spec"]["nodeSelector"] == {"disk": "fast"}
    assert whole["metadata"]["annotations"] == {"team": "a"}


@pytest.mark.parametrize(
    ("domain", "spec", "path"),
    [
        ({"cpu": {"cores": 2}}, {}, "spec.domain.cpu.cores"),
        ({"memory": {"guest": "1Gi"}}, {}, "spec.domain.memory.guest"),
        (
            {"resources": {"limits": {"memory": "1Gi"}}},
            {},
            "spec.domain.resources.limits.memory",
        ),
        ({}, {"nodeSelector": {"a": "b"}}, "spec.nodeSelector"),
    ],
)
def test_what_both_say_conflicts(domain: Json, spec: Json, path: str) -> None:
    chosen = choice({**SMALL, "nodeSelector": {"disk": "fast"}})
    [cause] = expand.problems(chosen, vmi(domain, **spec))
    assert cause.field == path
    assert cause.message == (
        f"VM field(s) spec.template.{path} conflicts with selected instance type"
    )


def test_a_preference_fills_in_what_is_left_open_and_nothing_else() -> None:
    preference = {
        "devices": {
            "preferredDiskBus": "virtio",
            "preferredCdromBus": "sata",
            "preferredInterfaceModel": "virtio",
            "preferredTPM": {},
            "preferredAutoattachMemBalloon": False,
        },
        "features": {"preferredHyperv": {"relaxed": {}, "vapic": {}}, "preferredSmm": {}},
        "firmware": {"preferredEfi": {"secureBoot": True}},
        "machine": {"preferredMachineType": "q35"},
        "clock": {"preferredClockOffset": {"timezone": "Europe/Berlin"}},
        "preferredTerminationGracePeriodSeconds": 3600,
        "annotations": {"team": "a", "tier": "b"},
    }
    given = {
        "devices": {
            "disks": [{"name": "tools", "cdrom": {}}, {"name": "old", "disk": {"bus": "sata"}}]
        },
        "features": {"hyperv": {"relaxed": {"enabled": False}}},
        "clock": {"utc": {}},
    }
    volumes = [{"name": name, "emptyDisk": {"capacity": "1Gi"}} for name in ("root", "old")]
    whole = expanded(None, preference, given, volumes=volumes)
    domain = whole["spec"]["domain"]
    buses = {
        disk["name"]: next(iter(disk[kind] for kind in ("disk", "cdrom") if kind in disk))["bus"]
        for disk in domain["devices"]["disks"]
    }
    assert buses == {"root": "virtio", "tools": "sata", "old": "sata"}
    [interface] = domain["devices"]["interfaces"]
    assert (interface["name"], interface["model"]) == ("default", "virtio")
    assert domain["devices"]["tpm"] == {}
    assert domain["devices"]["autoattachMemBalloon"] is False
    assert domain["features"]["hyperv"] == {"relaxed": {"enabled": False}, "vapic": {}}
    assert domain["firmware"]["bootloader"] == {"efi": {"secureBoot": True}}
    assert domain["machine"] == {"type": "q35"}
    assert domain["clock"] == {"utc": {}}
    assert whole["spec"]["terminationGracePeriodSeconds"] == 3600
    assert whole["metadata"]["annotations"] == {"team": "a", "tier": "b"}


def test_a_preference_says_when_it_is_not_enough() -> None:
    needs = {
        "requirements": {
            "cpu": {"guest": 8},
            "memory": {"guest": "4Gi"},
            "architecture": "arm64",
        }
    }
    causes = expand.problems(choice(SMALL, needs), vmi())
    assert [cause.field for cause in causes] == [
        "instancetype",
        "instancetype",
        "spec.architecture",
    ]
    enough = {**SMALL, "cpu": {"guest": 8}, "memory": {"guest": "4Gi"}}
    assert expand.problems(choice(enough, needs), vmi(architecture="arm64")) == []
    causes = expand.problems(choice(None, needs), vmi({"memory": {"guest": "8Gi"}}))
    assert [cause.field for cause in causes] == ["spec.domain.cpu", "spec.architecture"]


def machine(**spec: Any) -> Json:
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "demo", "namespace": "default"},
        "spec": {
            "runStrategy": "Halted",
            "template": {"spec": {"domain": {"devices": {}}}},
            **spec,
        },
    }


def test_admission_tries_the_machine_as_it_will_be() -> None:
    """No memory is said but by the instance type; its faults are told at the VM's own fields."""
    vm = machine(instancetype={"name": "small"})
    named = expand.Named(
        choice(SMALL, {"machine": {"preferredMachineType": "pc-q35-9.2"}}),
        {"instancetype": {"name": "small", "kind": "VirtualMachineClusterInstancetype"}},
    )
    admitted = admit.vm(vm, Cluster(), uuid=UUID, named=named)
    assert admitted.causes == []
    changes = {change["path"]: change.get("value") for change in admitted.patch}
    assert changes["/spec/instancetype/kind"] == "VirtualMachineClusterInstancetype"
    assert changes["/spec/template/spec/domain/machine"] == {"type": "pc-q35-9.2"}
    needy = choice(SMALL, {"requirements": {"cpu": {"guest": 8}}})
    [cause] = admit.vm(vm, Cluster(), uuid=UUID, named=expand.Named(needy)).causes
    assert cause.field == "spec.instancetype"
    vm["spec"]["template"]["spec"]["domain"]["cpu"] = {"sockets": 1}
    [cause] = admit.vm(vm, Cluster(), uuid=UUID, named=named).causes
    assert cause.field == "spec.template.spec.domain.cpu.sockets"
