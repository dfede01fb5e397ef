"""The instance types and preferences that come with an installation."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest

from virtpod.api.base import decode
from virtpod.api.instancetype import VirtualMachineClusterInstancetype
from virtpod.api.preference import VirtualMachineClusterPreference
from virtpod.domain.facts import Cluster
from virtpod.domain.quantity import bytes_of
from virtpod.render import admit, expand
from virtpod.render import common_instancetypes as common
from virtpod.render.rules import Asked, Rules, instancetype

Json = dict[str, Any]

TYPES = {each["metadata"]["name"]: each for each in common.instancetypes()}
PREFERENCES = {each["metadata"]["name"]: each for each in common.preferences()}


def label(obj: Json, name: str) -> str | None:
    found: str | None = obj["metadata"]["labels"].get(f"{common.GROUP}/{name}")
    return found


def test_series_have_their_sizes() -> None:
    assert Counter(name.partition(".")[0] for name in TYPES) == {
        **{"u1": 10, "d1": 10, "o1": 9, "rt1": 8, "n1": 6},
        **{"cx1": 12, "m1": 10},
    }
    assert len(TYPES) + len(PREFERENCES) == len(common.objects({}))
    assert len(PREFERENCES) == 54


@pytest.mark.parametrize(
    ("name", "cpu", "memory"),
    [
        ("u1.nano", {"guest": 1}, {"guest": "512Mi"}),
        ("u1.2xmedium", {"guest": 2}, {"guest": "4Gi"}),
        ("o1.8xlarge", {"guest": 32}, {"guest": "128Gi", "overcommitPercent": 50}),
        ("m1.large", {"guest": 2}, {"guest": "16Gi", "hugepages": {"pageSize": "2Mi"}}),
        ("m1.large1gi", {"guest": 2}, {"guest": "16Gi", "hugepages": {"pageSize": "1Gi"}}),
        (
            "cx1.medium",
            {
                "guest": 1,
                "maxSockets": 1,
                "dedicatedCPUPlacement": True,
                "isolateEmulatorThread": True,
                "numa": {"guestMappingPassthrough": {}},
            },
            {"guest": "2Gi", "hugepages": {"pageSize": "2Mi"}},
        ),
    ],
)
def test_a_size_is_what_kubevirt_has(name: str, cpu: Json, memory: Json) -> None:
    assert TYPES[name]["spec"]["cpu"] == cpu
    assert TYPES[name]["spec"]["memory"] == memory


@pytest.mark.parametrize("name", TYPES)
def test_an_instance_type_is_found_by_what_it_gives(name: str) -> None:
    obj = TYPES[name]
    decode(obj, VirtualMachineClusterInstancetype)
    spec = obj["spec"]
    assert label(obj, "cpu") == str(spec["cpu"]["guest"])
    assert label(obj, "memory") == spec["memory"]["guest"]
    assert label(obj, "size") == name.partition(".")[2]
    assert label(obj, "hugepages") == spec["memory"].get("hugepages", {}).get("pageSize")
    pages = bytes_of(label(obj, "hugepages") or "1")
    assert bytes_of(spec["memory"]["guest"]) % pages == 0
    for flag in ("dedicatedCPUPlacement", "isolateEmulatorThread", "numa", "realtime"):
        assert (label(obj, flag) == "true") == (flag in spec["cpu"])


def machine(**spec: Any) -> Json:
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "demo", "namespace": "default"},
        "spec": {
            "runStrategy": "Halted",
            "template": {
                "spec": {
                    "domain": {"devices": {"disks": [{"name": "root", "disk": {}}]}},
                    "volumes": [{"name": "root", "containerDisk": {"image": "registry.example/a"}}],
                }
            },
            **spec,
        },
    }


@pytest.mark.parametrize("name", PREFERENCES)
def test_a_preference_makes_a_machine_that_is_let_in(name: str) -> None:
    obj = PREFERENCES[name]
    decode(obj, VirtualMachineClusterPreference)
    spec = obj["spec"]
    needs = spec.get("requirements", {})
    assert label(obj, "required-memory") == needs.get("memory", {}).get("guest")
    assert label(obj, "arch") == spec.get("preferredArchitecture") == needs.get("architecture")
    size = TYPES["u1.8xlarge"]["spec"]
    chosen = msgspec.convert({"instancetype": size, "preference": spec}, expand.Choice)
    matchers = {"instancetype": {"name": "u1.8xlarge"}, "preference": {"name": name}}
    vm = machine(**matchers)
    if spec.get("preferredArchitecture"):
        vm["spec"]["template"]["spec"]["architecture"] = spec["preferredArchitecture"]
    named = expand.Named(chosen, matchers)
    admitted = admit.vm(vm, Cluster(), uuid="5d307ca9-b3ef-428c-8861-06e72d69f223", named=named)
    assert admitted.causes == []


def test_webhooks_let_them_in() -> None:
    rules = {
        "VirtualMachineClusterInstancetype": instancetype.CLUSTER_INSTANCETYPES,
        "VirtualMachineClusterPreference": instancetype.CLUSTER_PREFERENCES,
    }
    for obj in common.objects({}):
        kind: Rules[Any] = rules[obj["kind"]]
        asked = Asked(decode(obj, kind.kind), None, Cluster())
        assert list(kind.causes(asked)) == [], obj["metadata"]["name"]


def test_they_are_there_unless_the_kubevirt_object_does_without() -> None:
    def cr(**deployment: Any) -> Json:
        return {"spec": {"configuration": {"commonInstancetypesDeployment": deployment}}}

    assert common.objects(cr()) == common.objects({}) != []
    assert common.objects(cr(enabled=False)) == []
    there = common.objects({})
    assert common.surplus({}, there) == []
    mine = {**there[0], "metadata": {**there[0]["metadata"], "name": "mine"}}
    bare = {**there[1], "metadata": {**there[1]["metadata"], "labels": {}}}
    assert common.surplus(cr(enabled=False), [mine, bare, *there[2:]]) == there[2:]
