"""What a VM remembers of its guest's addresses, asks for, and says of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from virtpod.api.network import MultusNetwork, Network
from virtpod.controllers import conditions, networks, vm_addresses
from virtpod.controllers.vm import instance
from virtpod.domain.facts import Cluster
from virtpod.features.network import names
from virtpod.features.network._addresses import ASKED, GIVEN, KEEP
from virtpod.kube.resources import Obj
from virtpod.render import admit

NETWORKS: list[Obj] = [
    {"name": "default", "pod": {}},
    {"name": "red", "multus": {"networkName": "lan"}},
]
NOW = {"default": ["10.244.1.7", "fd00::7"], "red": ["10.77.0.5"]}


def vm(asked: Any = None, keep: str = "true") -> Obj:
    annotations = {} if asked is None else {ASKED: json.dumps(asked)}
    metadata = {"name": "vm", "namespace": "default", "uid": "v", "annotations": annotations}
    template = {"metadata": {"annotations": {KEEP: keep}}, "spec": {"networks": NETWORKS}}
    return {"metadata": metadata, "spec": {"template": template}}


def vmi(given: Any = None, phase: str = "Running") -> Obj:
    annotations = {KEEP: "true"} | ({} if given is None else {GIVEN: json.dumps(given)})
    metadata = {"name": "vm", "namespace": "default", "uid": "u", "annotations": annotations}
    return {"metadata": metadata, "spec": {"networks": NETWORKS}, "status": {"phase": phase}}


def remembered(machine: Obj, running: Obj | None) -> Any:
    """What the VM's annotation is made; None: it is left as it is."""
    for patch in vm_addresses.actions(machine, running):
        [change] = [each for each in patch.body if each["op"] == "add"]
        return json.loads(change["value"][ASKED])
    return None


def test_the_first_addresses_are_remembered() -> None:
    assert remembered(vm(), vmi(NOW)) == NOW
    assert remembered(vm(NOW), vmi(NOW)) is None
    assert remembered(vm(), vmi()) is None
    assert remembered(vm(), None) is None
    assert remembered(vm(keep="false"), vmi(NOW)) is None


def test_others_do_not_take_their_place() -> None:
    """Of a network that is new the VM remembers the first, of one that it has left nothing."""
    mine = {"default": ["10.244.1.50"], "gone": ["10.1.1.1"]}
    assert remembered(vm(mine), vmi(NOW)) == {"default": ["10.244.1.50"], "red": ["10.77.0.5"]}


def test_the_next_instance_asks_for_them() -> None:
    made = instance(vm(NOW) | {"kind": "VirtualMachine"})
    assert json.loads(made["metadata"]["annotations"][ASKED]) == NOW
    assert ASKED not in instance(vm(NOW, keep="false"))["metadata"]["annotations"]


def test_a_vm_says_whether_its_guest_has_them() -> None:
    said = vm_addresses.condition(vm(NOW), vmi(NOW))
    assert said == {
        "type": "AddressesKept",
        "status": "True",
        "reason": "AddressesKept",
        "message": "default: 10.244.1.7, fd00::7; red: 10.77.0.5",
    }
    other = vm({"default": ["10.244.1.7"], "red": ["10.77.0.9/24"]})
    said = vm_addresses.condition(other, vmi(NOW))
    assert said is not None
    assert (said["status"], said["reason"]) == ("False", "AddressChanged")
    assert said["message"].startswith("network red gave 10.77.0.5 in place of 10.77.0.9/24. ")
    [told] = vm_addresses.events(other, vmi(NOW))
    assert told.reason == "AddressChanged"
    other["status"] = {"conditions": conditions.put([], said, 0)}
    assert vm_addresses.events(other, vmi(NOW)) == []


@pytest.mark.parametrize(
    "running", [None, vmi(), vmi(NOW, "Scheduling"), vmi(NOW, "Succeeded")], ids=str
)
def test_it_says_nothing_of_what_is_not_known(running: Obj | None) -> None:
    assert vm_addresses.condition(vm(NOW), running) is None


def test_what_cannot_be_read_is_refused_where_it_stands() -> None:
    bad = vm({"default": ["10.1.1.1", "10.1.1.2"]}, keep="yes")
    bad["spec"]["template"]["spec"]["domain"] = {"devices": {}}
    said = {cause.field: cause.message for cause in admit.vm(bad, Cluster(), uuid="u").causes}
    assert "one address of each family" in said[f"metadata.annotations[{ASKED}]"]
    assert "'yes' must be true or false" in said[f"spec.template.metadata.annotations[{KEEP}]"]


def pod(**annotations: str) -> Obj:
    ips = [{"ip": each} for each in NOW["default"]]
    return {"metadata": {"name": "p", "annotations": annotations}, "status": {"podIPs": ips}}


def test_an_instance_notes_what_its_networks_gave() -> None:
    link = names(Network(name="red", multus=MultusNetwork(network_name="lan"))).pod
    told = [
        {"name": "pods", "interface": "eth0", "ips": NOW["default"], "default": True},
        {"name": "default/lan", "interface": link, "ips": ["10.77.0.5", 7, "no address"]},
    ]
    told_of = {"k8s.v1.cni.cncf.io/network-status": json.dumps(told)}
    assert json.loads(networks.noted(vmi(), pod(**told_of))) == NOW
    assert networks.noted(vmi(NOW), pod(**told_of)) == ""
    assert json.loads(networks.noted(vmi(), pod())) == {"default": NOW["default"]}
    bare = vmi()
    del bare["metadata"]["annotations"][KEEP]
    assert networks.noted(bare, pod(**told_of)) == ""
