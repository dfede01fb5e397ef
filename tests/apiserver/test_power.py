"""start, stop, restart: what a request changes, by run strategy and state."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.apiserver.site import Running, put_vm, put_vmi
from virtpod.apiserver.call import BODY_LIMIT
from virtpod.kube.resources import VMIS, VMS

VM = "virtualmachines"


async def _do(api: Running, verb: str, **options: Any) -> tuple[int, str]:
    body = json.dumps(options).encode() if options else b""
    code, status = await api.put(api.path(VM, "demo", verb), body)
    return code, status["message"] if status else ""


def _said(text: str) -> tuple[int, str]:
    return 409, f'Operation cannot be fulfilled on virtualmachine.kubevirt.io "demo": {text}'


def _stored(api: Running) -> dict[str, Any]:
    stored: dict[str, Any] = api.fake.get(VMS, "default", "demo")
    return stored


def _grace(api: Running) -> int:
    seconds: int = api.fake.get(VMIS, "default", "demo")["spec"]["terminationGracePeriodSeconds"]
    return seconds


@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
async def test_a_vm_that_is_not_there(api: Running, verb: str) -> None:
    assert await _do(api, verb) == (404, 'virtualmachine.kubevirt.io "demo" not found')


async def test_starting_a_halted_vm_changes_its_strategy(api: Running) -> None:
    put_vm(api, strategy="Halted", startFailure={"consecutiveFailCount": 3})
    assert await _do(api, "start") == (202, "")
    assert _stored(api)["spec"]["runStrategy"] == "Always"
    assert "startFailure" not in _stored(api)["status"]


async def test_starting_by_the_deprecated_field(api: Running) -> None:
    stored = put_vm(api)
    del stored["spec"]["runStrategy"]
    stored["spec"]["running"] = False
    api.fake.put(VMS, stored)
    assert await _do(api, "start") == (202, "")
    assert _stored(api)["spec"]["running"] is True
    assert "runStrategy" not in _stored(api)["spec"]


async def test_starting_paused_is_a_request_in_the_status(api: Running) -> None:
    put_vm(api, strategy="Halted")
    assert await _do(api, "start", paused=True) == (202, "")
    assert _stored(api)["spec"]["runStrategy"] == "Halted"
    assert _stored(api)["status"]["stateChangeRequests"] == [
        {"action": "Start", "data": {"paused": "true"}}
    ]


@pytest.mark.parametrize("strategy", ["Manual", "RerunOnFailure"])
async def test_starting_by_hand_is_a_request(api: Running, strategy: str) -> None:
    put_vm(api, strategy=strategy)
    assert await _do(api, "start") == (202, "")
    assert _stored(api)["status"]["stateChangeRequests"] == [{"action": "Start"}]
    # The wish stands: a second one is not added to it.
    assert await _do(api, "start") == _said(
        "unable to complete request: stop/start already underway"
    )


async def test_a_finished_instance_is_cleared_first(api: Running) -> None:
    put_vm(api, strategy="Manual")
    uid = put_vmi(api, phase="Succeeded")["metadata"]["uid"]
    assert await _do(api, "start") == (202, "")
    assert _stored(api)["status"]["stateChangeRequests"] == [
        {"action": "Stop", "uid": uid},
        {"action": "Start"},
    ]


@pytest.mark.parametrize(
    ("strategy", "phase", "text"),
    [
        ("Always", "Running", "VM is already running"),
        ("Halted", "Scheduling", "VM is already running"),
        ("Always", None, "Always does not support manual start requests"),
        ("Once", None, "Once does not support manual start requests"),
        (
            "RerunOnFailure",
            "Failed",
            "RerunOnFailure does not support starting VM from failed state",
        ),
    ],
)
async def test_a_start_that_cannot_be(
    api: Running, strategy: str, phase: str | None, text: str
) -> None:
    put_vm(api, strategy=strategy)
    if phase:
        put_vmi(api, phase=phase)
    assert await _do(api, "start") == _said(text)
    assert api.fake.writes == []


@pytest.mark.parametrize("strategy", ["Always", "Once"])
async def test_stopping_changes_the_strategy(api: Running, strategy: str) -> None:
    put_vm(api, strategy=strategy)
    put_vmi(api)
    assert await _do(api, "stop") == (202, "")
    assert _stored(api)["spec"]["runStrategy"] == "Halted"
    assert _grace(api) == 30


async def test_stopping_with_less_grace(api: Running) -> None:
    put_vm(api)
    put_vmi(api)
    assert await _do(api, "stop", gracePeriod=0) == (202, "")
    assert _grace(api) == 0


async def test_stopping_by_hand_is_a_request_that_replaces_all_others(api: Running) -> None:
    put_vm(api, strategy="Manual", stateChangeRequests=[{"action": "Start"}])
    uid = put_vmi(api)["metadata"]["uid"]
    assert await _do(api, "stop") == (202, "")
    assert _stored(api)["status"]["stateChangeRequests"] == [{"action": "Stop", "uid": uid}]


async def test_a_vm_on_its_way_down_can_only_be_hurried(api: Running) -> None:
    put_vm(api, strategy="Halted")
    assert await _do(api, "stop") == _said("VM is not running")
    put_vmi(api)
    said = _said("Halted only supports manual stop requests with a shorter graceperiod")
    assert await _do(api, "stop") == said
    assert await _do(api, "stop", gracePeriod=30) == said
    assert await _do(api, "stop", gracePeriod=5) == (202, "")
    assert _grace(api) == 5


async def test_restarting_is_a_stop_of_this_instance_and_a_start(api: Running) -> None:
    put_vm(api)
    uid = put_vmi(api)["metadata"]["uid"]
    assert await _do(api, "restart") == (202, "")
    assert _stored(api)["status"]["stateChangeRequests"] == [
        {"action": "Stop", "uid": uid},
        {"action": "Start"},
    ]
    assert _grace(api) == 30


async def test_a_forced_restart_leaves_the_guest_one_second(api: Running) -> None:
    put_vm(api)
    put_vmi(api)
    assert await _do(api, "restart", gracePeriodSeconds=0) == (202, "")
    assert _grace(api) == 1


async def test_a_restart_that_cannot_be(api: Running) -> None:
    put_vm(api)
    assert await _do(api, "restart") == _said("VM is not running: Halted")
    assert await _do(api, "restart", gracePeriodSeconds=7) == (
        400,
        "For force restart, only gracePeriod=0 is supported for now",
    )
    assert await _do(api, "restart", gracePeriodSeconds=-1) == (
        400,
        "gracePeriod has to be greater or equal to 0",
    )
    put_vm(api, strategy="Once")
    assert await _do(api, "restart") == _said(
        "RunStategy Once does not support manual restart requests"
    )


async def test_a_change_under_our_hands_is_looked_at_again(api: Running) -> None:
    put_vm(api, strategy="Manual")
    api.fake.fail("patch", VMS, 409, 2)
    assert await _do(api, "start") == (202, "")
    assert _stored(api)["status"]["stateChangeRequests"] == [{"action": "Start"}]


async def test_an_object_that_never_stays_is_a_conflict(api: Running) -> None:
    put_vm(api, strategy="Manual")
    api.fake.fail("patch", VMS, 409, 50)
    code, message = await _do(api, "start")
    assert code == 409
    assert "has been modified" in message


async def test_a_dry_run_changes_nothing(api: Running) -> None:
    put_vm(api, strategy="Halted")
    assert await _do(api, "start", dryRun=["All"]) == (202, "")
    assert _stored(api)["spec"]["runStrategy"] == "Halted"


async def test_options_may_be_yaml(api: Running) -> None:
    put_vm(api, strategy="Halted")
    code, _ = await api.put(api.path(VM, "demo", "start"), b"paused: true\n")
    assert code == 202
    assert _stored(api)["status"]["stateChangeRequests"][0]["data"] == {"paused": "true"}


@pytest.mark.parametrize(
    "body",
    [b"{", b'{"paused": 3}', b"[1]", b"3", b"a: [", b"\xff", b"[" * 5000, b" " * (BODY_LIMIT + 1)],
    ids=range(8),
)
async def test_options_that_cannot_be_read(api: Running, body: bytes) -> None:
    put_vm(api, strategy="Halted")
    code, status = await api.put(api.path(VM, "demo", "start"), body)
    assert (code, status["reason"]) == (400, "BadRequest")
    assert api.fake.writes == []
