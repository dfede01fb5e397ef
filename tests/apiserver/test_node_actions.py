"""pause, unpause, reset, softreboot: checked here, carried out by the VMI's node."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from tests.apiserver.site import Running, put_vm, put_vmi
from virtpod.kube.resources import NODES, VMIS

PAUSED = [{"type": "Paused", "status": "True"}]
VERBS = ["pause", "unpause", "reset", "softreboot"]


async def _do(api: Running, verb: str, body: bytes = b"") -> tuple[int, str]:
    code, status = await api.put(api.path("virtualmachineinstances", "demo", verb), body)
    return code, status["message"] if status else ""


def _said(text: str) -> tuple[int, str]:
    what = 'Operation cannot be fulfilled on virtualmachineinstance.kubevirt.io "demo"'
    return 409, f"{what}: {text}"


@pytest.mark.parametrize("verb", VERBS)
async def test_the_node_is_told(api: Running, verb: str) -> None:
    put_vmi(api, conditions=PAUSED if verb == "unpause" else [])
    assert await _do(api, verb) == (200, "")
    where = f"/v1/namespaces/default/virtualmachineinstances/demo/{verb}"
    assert [path for path, _ in api.handler.puts] == [where]


@pytest.mark.parametrize("verb", VERBS)
async def test_an_instance_that_is_not_there(api: Running, verb: str) -> None:
    assert await _do(api, verb) == (404, 'virtualmachineinstance.kubevirt.io "demo" not found')


@pytest.mark.parametrize(
    ("verb", "phase", "conditions", "text"),
    [
        ("pause", "Scheduled", [], "VM is not running"),
        ("pause", "Running", PAUSED, "VMI is already paused"),
        ("unpause", "Succeeded", PAUSED, "VMI is not running"),
        ("unpause", "Running", [], "VMI is not paused"),
        ("reset", "Failed", [], "Failed to reset non-running VMI with phase Failed"),
        ("softreboot", "Scheduling", [], "VM is not running"),
        ("softreboot", "Running", PAUSED, "VMI is paused"),
    ],
)
async def test_what_cannot_be(
    api: Running, verb: str, phase: str, conditions: list[Any], text: str
) -> None:
    put_vmi(api, phase=phase, conditions=conditions)
    assert await _do(api, verb) == _said(text)
    assert api.handler.puts == []


async def test_a_guest_that_cannot_hear_is_not_asked_to_reboot(api: Running) -> None:
    stored = put_vmi(api)
    stored["spec"]["domain"]["features"] = {"acpi": {"enabled": False}}
    api.fake.put(VMIS, stored)
    assert await _do(api, "softreboot") == _said(
        "VMI neither have the agent connected nor the ACPI feature enabled"
    )
    stored["status"]["conditions"] = [{"type": "AgentConnected", "status": "True"}]
    api.fake.put(VMIS, stored)
    assert await _do(api, "softreboot") == (200, "")


async def test_a_probe_that_would_kill_a_paused_guest_forbids_it(api: Running) -> None:
    stored = put_vmi(api)
    stored["spec"]["livenessProbe"] = {"tcpSocket": {"port": 80}}
    api.fake.put(VMIS, stored)
    assert await _do(api, "pause") == (
        403,
        "Pausing VMIs with a non-GuestAgentPing LivenessProbe is not supported",
    )
    stored["spec"]["livenessProbe"] = {"guestAgentPing": {}}
    api.fake.put(VMIS, stored)
    assert await _do(api, "pause") == (200, "")


async def test_a_snapshot_in_progress_keeps_the_guest_paused(api: Running) -> None:
    put_vm(api, snapshotInProgress="backup-1")
    put_vmi(api, conditions=PAUSED)
    code, message = await _do(api, "unpause")
    assert code == 409
    assert message.endswith("VM snapshot is in progress")


async def test_a_dry_run_does_not_reach_the_node(api: Running) -> None:
    put_vmi(api)
    assert await _do(api, "pause", b'{"dryRun":["All"]}') == (200, "")
    assert api.handler.puts == []


async def test_the_node_s_own_words_reach_the_user(api: Running) -> None:
    put_vmi(api)
    api.handler.refuse = web.json_response(
        {"kind": "Status", "code": 409, "reason": "Conflict", "message": "the guest is gone"},
        status=409,
    )
    assert await _do(api, "pause") == (409, "the guest is gone")


AGENT = [{"type": "AgentConnected", "status": "True"}]


async def _get(api: Running, what: str) -> tuple[int, Any]:
    url = api.path("virtualmachineinstances", "demo", what)
    async with api.session() as session, session.get(url) as reply:
        return reply.status, await reply.json()


@pytest.mark.parametrize("what", ["guestosinfo", "userlist", "filesystemlist"])
async def test_the_agent_is_asked_by_the_node(api: Running, what: str) -> None:
    put_vmi(api, phase="Scheduled", conditions=AGENT)
    code, status = await _get(api, what)
    assert (code, status["message"].endswith(": VMI is not running")) == (500, True)
    put_vmi(api)
    code, status = await _get(api, what)
    assert code == 500
    assert status["message"].endswith(": VMI does not have guest agent connected")
    assert api.handler.gets == []
    put_vmi(api, conditions=AGENT)
    assert await _get(api, what) == (200, {"items": []})
    assert api.handler.gets == [f"/v1/namespaces/default/virtualmachineinstances/demo/{what}"]


async def test_freezing_brings_its_time(api: Running) -> None:
    put_vmi(api, phase="Scheduled")
    assert await _do(api, "freeze", b"unfreezeTimeout: 5m") == _said("VM is not running")
    assert await _do(api, "unfreeze") == _said("VMI is not running")
    put_vmi(api)
    assert (await _do(api, "freeze"))[0] == 400
    assert api.handler.puts == []
    assert await _do(api, "freeze", b"unfreezeTimeout: 5m") == (200, "")
    assert await _do(api, "unfreeze") == (200, "")
    assert [body for _, body in api.handler.puts] == [b'{"unfreezeTimeout":"5m"}', b""]


async def test_a_move_is_called_off(api: Running) -> None:
    put_vmi(api, evacuationNodeName="node-1")
    assert await _do(api, "evacuate/cancel") == (200, "")
    assert "evacuationNodeName" not in api.fake.get(VMIS, "default", "demo")["status"]


async def test_no_move_is_called_off_from_a_node_that_all_guests_are_to_leave(api: Running) -> None:
    put_vmi(api, evacuationNodeName="node-1")
    taint = {"key": "kubevirt.io/drain", "effect": "NoSchedule"}
    api.fake.put(NODES, {"metadata": {"name": "node-1"}, "spec": {"taints": [taint]}})
    code, message = await _do(api, "evacuate/cancel")
    assert code == 400
    assert "kubectl taint node node-1 kubevirt.io/drain-" in message
    assert api.fake.get(VMIS, "default", "demo")["status"]["evacuationNodeName"] == "node-1"
