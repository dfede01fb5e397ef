"""sev/...: a guest's owner attests it, step by step, and hears why a step is not possible."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.apiserver.site import Running, vmi
from virtpod.kube.resources import VMIS

SESSION = {"session": "c2Vzc2lvbg==", "dhCert": "ZGg="}
SECRET = {"header": "aGVhZA==", "secret": "c2VjcmV0"}
PAUSED = [{"type": "Paused", "status": "True"}]
GATES = frozenset({"WorkloadEncryptionSEV"})


def put(api: Running, phase: str = "Running", attested: bool = True, **more: Any) -> None:
    sev = {**({"attestation": {}} if attested else {}), **more.pop("sev", {})}
    obj = vmi(phase=phase, **more)
    obj["spec"]["domain"]["launchSecurity"] = {"sev": sev}
    api.gates = GATES
    api.fake.put(VMIS, obj)


async def ask(api: Running, what: str, body: Any = None) -> tuple[int, Any]:
    url = api.path("virtualmachineinstances", "demo", f"sev/{what}")
    method = "GET" if body is None else "PUT"
    async with api.session() as session, session.request(method, url, json=body) as reply:
        return reply.status, await reply.json() if await reply.read() else None


async def test_the_platform_and_the_measurement_are_asked_of_the_node(api: Running) -> None:
    put(api, "Scheduled")
    assert (await ask(api, "fetchcertchain"))[0] == 200
    put(api)
    assert (await ask(api, "querylaunchmeasurement"))[0] == 200
    assert [path.rpartition("/sev/")[2] for path in api.handler.gets] == [
        "fetchcertchain",
        "querylaunchmeasurement",
    ]


async def test_the_session_becomes_a_part_of_the_spec(api: Running) -> None:
    put(api, "Scheduled")
    assert await ask(api, "setupsession", SESSION) == (202, None)
    sev = api.fake.get(VMIS, "default", "demo")["spec"]["domain"]["launchSecurity"]["sev"]
    assert sev == {"attestation": {}, **SESSION}
    code, told = await ask(api, "setupsession", SESSION)
    assert (code, "Session already defined" in told["message"]) == (409, True)


async def test_the_secret_goes_to_the_node(api: Running) -> None:
    put(api, conditions=PAUSED)
    assert (await ask(api, "injectlaunchsecret", SECRET))[0] == 200
    (path, body), *_ = api.handler.puts
    assert path.endswith("/sev/injectlaunchsecret")
    assert json.loads(body) == SECRET


@pytest.mark.parametrize(
    ("what", "body", "phase", "code", "says"),
    [
        ("setupsession", {"dhCert": "ZGg="}, "Scheduled", 400, "Session blob is required"),
        ("setupsession", {"session": "cw=="}, "Scheduled", 400, "DH cert is required"),
        ("setupsession", {**SESSION, "session": "#"}, "Scheduled", 400, "session is not base64"),
        ("setupsession", SESSION, "Running", 409, "VMI is not in Scheduled phase"),
        ("injectlaunchsecret", {"secret": "cw=="}, "Running", 400, "Header is required"),
        ("injectlaunchsecret", {"header": "cw=="}, "Running", 400, "Secret is required"),
        ("injectlaunchsecret", SECRET, "Running", 409, "VMI is not paused"),
        ("querylaunchmeasurement", None, "Scheduled", 409, "VMI is not running"),
        ("fetchcertchain", None, "Scheduling", 400, "phase is Scheduling"),
    ],
)
async def test_a_step_at_the_wrong_time(
    api: Running, what: str, body: Any, phase: str, code: int, says: str
) -> None:
    put(api, phase)
    status, told = await ask(api, what, body)
    assert (status, says in told["message"]) == (code, True), told


async def test_nobody_is_attested_who_did_not_ask_for_it(api: Running) -> None:
    put(api, attested=False)
    status, told = await ask(api, "fetchcertchain")
    assert (status, told["message"]) == (400, "Attestation not requested for VMI")
    api.gates = frozenset()
    status, told = await ask(api, "fetchcertchain")
    assert told["message"] == "'WorkloadEncryptionSEV' feature gate is not enabled"
