"""Which devices of the node a VM's instance is given, and loses, while it runs."""

from __future__ import annotations

from typing import Any

import pytest

from virtpod.controllers import revision, vm_devices
from virtpod.controllers.vm_interfaces import STAGE
from virtpod.kube.resources import Obj

CARD: Obj = {"name": "card", "deviceName": "example.com/card"}
DISK: Obj = {"name": "disk", "deviceName": "example.com/disk"}
CLAIMED: Obj = {"name": "crypto", "claimName": "crypto", "requestName": "one"}
PLUGGED_DEVICES = "virtpod.io/plugged-devices"


def spec(*devices: Obj) -> Obj:
    return {"domain": {"devices": {"hostDevices": list(devices)} if devices else {}}}


def vm(*devices: Obj) -> Obj:
    metadata = {"name": "vm", "namespace": "default", "uid": "v"}
    return {"metadata": metadata, "spec": {"template": {"spec": spec(*devices)}}}


def vmi(*devices: Obj, plugged: str = "", phase: str = "Running") -> Obj:
    metadata: Obj = {"name": "vm", "namespace": "default", "uid": "u"}
    if plugged:
        metadata["annotations"] = {PLUGGED_DEVICES: plugged}
    return {"metadata": metadata, "spec": spec(*devices), "status": {"phase": phase}}


def given(template: Obj, instance: Obj, strategy: str | None = None) -> tuple[Any, Any] | None:
    """The instance's devices after the patch, and which of them are plugged in; None: no patch."""
    patches = vm_devices.actions(template, instance, strategy)
    if not patches:
        return None
    [patch] = patches
    values = {each["path"]: each["value"] for each in patch.body if each["op"] == "add"}
    tested = {each["path"] for each in patch.body if each["op"] == "test"}
    assert "/metadata/uid" in tested
    assert any(path.startswith("/spec/domain/devices") for path in tested)
    return values[vm_devices.PATH], values["/metadata/annotations/virtpod.io~1plugged-devices"]


def test_what_is_new_in_the_template_comes_and_can_go_again() -> None:
    assert given(vm(CARD, DISK), vmi(CARD)) == ([CARD, DISK], "disk")
    assert given(vm(DISK), vmi()) == ([DISK], "disk")
    assert given(vm(CARD), vmi(CARD, DISK, plugged="disk")) == ([CARD], "")
    assert given(vm(CARD, DISK), vmi(CARD, DISK, plugged="disk")) is None


def test_what_the_pod_brought_stays_until_it_ends() -> None:
    assert given(vm(), vmi(CARD)) is None
    other = {**CARD, "deviceName": "example.com/other"}
    assert given(vm(other), vmi(CARD)) is None
    assert given(vm(DISK), vmi(CARD)) == ([CARD, DISK], "disk")


def test_another_device_of_the_same_name_comes_when_the_old_one_is_gone() -> None:
    other = {**DISK, "deviceName": "example.com/other"}
    assert given(vm(CARD, other), vmi(CARD, DISK, plugged="disk")) == ([CARD], "")
    assert given(vm(CARD, other), vmi(CARD)) == ([CARD, other], "disk")


def test_what_an_instance_type_gave_is_not_the_template_s_to_take() -> None:
    assert given(vm(), vmi(CARD, DISK, plugged="disk")) == ([CARD], "")


@pytest.mark.parametrize(
    ("template", "instance", "strategy"),
    [
        (vm(CARD), vmi(), STAGE),
        (vm(CARD), vmi(phase="Scheduling"), None),
        (vm(CLAIMED), vmi(), None),
        (vm({**CARD, "name": "a.b"}), vmi(), None),
        (vm({**CARD, "name": "../card"}), vmi(), None),
    ],
)
def test_what_does_not_come_while_it_runs(template: Obj, instance: Obj, strategy: Any) -> None:
    assert given(template, instance, strategy) is None


def restart(before: Obj, after: Obj, strategy: str | None = None) -> str:
    told = revision.restart_required(after, {"data": {"spec": before["spec"]}}, strategy)
    return str(told["message"]) if told else ""


def test_a_restart_is_required_for_the_rest_alone() -> None:
    assert not restart(vm(), vm(CARD))
    emptied = vm(CARD)
    emptied["spec"]["template"]["spec"]["domain"]["devices"]["hostDevices"] = []
    assert not restart(vm(), emptied)
    assert not restart(emptied, vm())
    assert not restart(vm(CARD), vm(CARD, DISK))
    where = "spec.domain.devices.hostDevices"
    for before, after in (
        (vm(CARD), vm()),
        (vm(CARD), vm({**CARD, "deviceName": "example.com/other"})),
        (vm(), vm(CLAIMED)),
        (vm(CARD), vm(DISK)),
    ):
        assert where in restart(before, after)
    assert where in restart(vm(), vm(CARD), STAGE)
