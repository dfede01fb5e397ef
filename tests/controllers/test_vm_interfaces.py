"""What of a VM's network interfaces its instance is given while it runs."""

from __future__ import annotations

from typing import Any

import pytest

from virtpod.controllers import revision, vm_interfaces
from virtpod.kube.resources import Obj

POD: Obj = {"name": "default", "pod": {}}
BLUE: Obj = {"name": "blue", "multus": {"networkName": "blue"}}


def spec(*pairs: tuple[Obj, Obj]) -> Obj:
    interfaces = [{"name": network["name"], **nic} for nic, network in pairs]
    networks = [network for _, network in pairs]
    return {"domain": {"devices": {"interfaces": interfaces}}, "networks": networks}


def vmi(*pairs: tuple[Obj, Obj]) -> Obj:
    metadata = {"name": "vm", "namespace": "default", "uid": "u"}
    return {"metadata": metadata, "spec": spec(*pairs), "status": {"phase": "Running"}}


def vm(*pairs: tuple[Obj, Obj]) -> Obj:
    metadata = {"name": "vm", "namespace": "default", "uid": "v"}
    return {"metadata": metadata, "spec": {"template": {"spec": spec(*pairs)}}}


def given(template: Obj, instance: Obj, strategy: str | None = None) -> dict[str, Any]:
    """What the instance is given, by path."""
    patches = vm_interfaces.actions(template, instance, strategy)
    return {
        operation["path"]: operation["value"]
        for patch in patches
        for operation in patch.body
        if operation["op"] == "add"
    }


DEFAULT: tuple[Obj, Obj] = ({"masquerade": {}}, POD)
INTERFACES = "/spec/domain/devices/interfaces"


def test_a_cable_follows_the_template() -> None:
    down: tuple[Obj, Obj] = ({"masquerade": {}, "state": "down"}, POD)
    [nic] = given(vm(down), vmi(DEFAULT))[INTERFACES]
    assert nic == {"name": "default", "masquerade": {}, "state": "down"}
    [nic] = given(vm(DEFAULT), vmi(down))[INTERFACES]
    assert nic["state"] == "up"
    assert given(vm(DEFAULT), vmi(({"masquerade": {}, "state": "up"}, POD))) == {}


def test_a_card_of_a_secondary_network_comes_and_goes() -> None:
    blue: tuple[Obj, Obj] = ({"bridge": {}}, BLUE)
    came = given(vm(DEFAULT, blue), vmi(DEFAULT))
    assert [nic["name"] for nic in came[INTERFACES]] == ["default", "blue"]
    assert came["/spec/networks"] == [POD, BLUE]
    gone: tuple[Obj, Obj] = ({"bridge": {}, "state": "absent"}, BLUE)
    went = given(vm(DEFAULT, gone), vmi(DEFAULT, blue))
    assert went[INTERFACES][1]["state"] == "absent"
    assert given(vm(DEFAULT, gone), vmi(DEFAULT)) == {}, "what is absent does not come"
    assert given(vm(DEFAULT, blue), vmi(DEFAULT, gone))[INTERFACES][1]["state"] == "up"


@pytest.mark.configures("configuration.vmRolloutStrategy")
def test_what_cannot_change_is_left_alone() -> None:
    other: tuple[Obj, Obj] = ({"masquerade": {}}, BLUE)
    assert given(vm(DEFAULT, other), vmi(DEFAULT)) == {}
    blue: tuple[Obj, Obj] = ({"bridge": {}}, BLUE)
    assert given(vm(DEFAULT, blue), vmi(DEFAULT), vm_interfaces.STAGE) == {}
    waiting = vmi(DEFAULT)
    waiting["status"]["phase"] = "Scheduling"
    assert given(vm(DEFAULT, blue), waiting) == {}


def test_a_restart_is_required_for_the_rest_alone() -> None:
    blue: tuple[Obj, Obj] = ({"bridge": {}, "state": "absent"}, BLUE)
    down: tuple[Obj, Obj] = ({"masquerade": {}, "state": "down"}, POD)
    before = {"data": {"spec": vm(DEFAULT)["spec"]}}
    assert revision.restart_required(vm(down, blue), before, None) is None
    staged = revision.restart_required(vm(down, blue), before, vm_interfaces.STAGE)
    assert "interfaces" in str(staged)
    other = revision.restart_required(vm(({"bridge": {}}, POD)), before, None)
    assert other
    assert "interfaces" in str(other)
