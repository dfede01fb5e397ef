"""addvolume, removevolume: who is changed, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.apiserver.site import Running, put_vm, put_vmi
from virtpod.kube.resources import VMIS, VMS

VM, VMI = "virtualmachines", "virtualmachineinstances"
CLAIM = {"persistentVolumeClaim": {"claimName": "data"}}
ADD: dict[str, Any] = {"name": "data", "disk": {"name": "", "disk": {}}, "volumeSource": CLAIM}


async def _do(api: Running, kind: str, verb: str, body: dict[str, Any]) -> tuple[int, str]:
    code, status = await api.put(api.path(kind, "demo", verb), json.dumps(body).encode())
    return code, status["message"] if status else ""


def _spec(api: Running) -> dict[str, Any]:
    spec: dict[str, Any] = api.fake.get(VMS, "default", "demo")["spec"]["template"]["spec"]
    return spec


async def test_a_vm_is_given_a_volume_and_it_is_taken_again(api: Running) -> None:
    put_vm(api)
    before = _spec(api)
    assert await _do(api, VM, "addvolume", ADD) == (202, "")
    hotpluggable = {"claimName": "data", "hotpluggable": True}
    added = {"name": "data", "persistentVolumeClaim": hotpluggable}
    assert _spec(api)["volumes"][-1] == added
    assert _spec(api)["domain"]["devices"]["disks"][-1] == {"name": "data", "disk": {"bus": "scsi"}}
    code, said = await _do(api, VM, "addvolume", ADD)
    assert code == 409
    assert "already exists" in said
    assert await _do(api, VM, "removevolume", {"name": "data"}) == (202, "")
    assert (_spec(api).get("volumes") or []) == (before.get("volumes") or [])
    code, said = await _do(api, VM, "removevolume", {"name": "data"})
    assert code == 409
    assert "does not exist" in said


async def test_a_dry_run_changes_nothing(api: Running) -> None:
    put_vm(api)
    before = _spec(api)
    assert await _do(api, VM, "addvolume", {**ADD, "dryRun": ["All"]}) == (202, "")
    assert _spec(api) == before


async def test_with_the_older_gate_the_wish_is_noted(api: Running) -> None:
    put_vm(api)
    api.gates = frozenset({"HotplugVolumes"})
    assert await _do(api, VM, "addvolume", ADD) == (202, "")
    [noted] = api.fake.get(VMS, "default", "demo")["status"]["volumeRequests"]
    assert noted["addVolumeOptions"]["name"] == "data"
    code, said = await _do(api, VM, "addvolume", ADD)
    assert code == 409
    assert "already pending" in said


async def test_an_instance_of_its_own_is_changed_itself(api: Running) -> None:
    put_vmi(api)
    assert await _do(api, VMI, "addvolume", ADD) == (202, "")
    spec = api.fake.get(VMIS, "default", "demo")["spec"]
    assert spec["volumes"][-1]["name"] == "data"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "requires name to be set"),
        ({"name": "data"}, "requires disk to not be nil"),
        ({"name": "data", "disk": {"name": "", "disk": {}}}, "requires VolumeSource to not be nil"),
        ({**ADD, "volumeSource": {}}, "persistentVolumeClaim or a dataVolume"),
        (
            {**ADD, "disk": {"name": "", "disk": {"bus": "sata"}}},
            "requires bus to be one of scsi, virtio",
        ),
        ({**ADD, "disk": {"name": ""}}, "must be a disk, a lun or a cdrom"),
    ],
)
async def test_what_is_missing_is_named(api: Running, body: dict[str, Any], words: str) -> None:
    put_vm(api)
    code, said = await _do(api, VM, "addvolume", body)
    assert code == 400
    assert words in said


async def test_without_a_gate_there_is_none(api: Running) -> None:
    put_vm(api)
    api.gates = frozenset()
    code, said = await _do(api, VM, "addvolume", ADD)
    assert code == 400
    assert "DeclarativeHotplugVolumes" in said
