"""subresources.kubevirt.io/v1alpha3: what older clients ask for is served as v1 is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.apiserver.site import Running, put_vm, put_vmi
from virtpod.apiserver.routes import GROUP
from virtpod.render import webhooks

OLD = "v1alpha3"
CALLS = [
    # method, kind, name, subresource, body, status
    ("PUT", "virtualmachines", "halted", "start", {}, 202),
    ("PUT", "virtualmachines", "demo", "stop", {}, 202),
    ("PUT", "virtualmachines", "demo", "restart", {}, 202),
    ("GET", "virtualmachines", "demo", "expand-spec", None, 200),
    ("PUT", "virtualmachineinstances", "demo", "pause", {}, 200),
    ("PUT", "virtualmachineinstances", "demo", "softreboot", {}, 200),
    ("GET", "virtualmachineinstances", "agent", "guestosinfo", None, 200),
    ("GET", "virtualmachineinstances", "agent", "userlist", None, 200),
    ("PUT", "virtualmachineinstances", "nobody", "pause", {}, 404),
]


async def test_discovery_names_it_after_v1(api: Running) -> None:
    async with api.session() as session:

        async def get(path: str) -> Any:
            async with session.get(api.url + path) as reply:
                assert reply.status == 200, path
                return await reply.json()

        group = await get(f"/apis/{GROUP}")
        assert [each["version"] for each in group["versions"]] == ["v1", OLD]
        assert group["preferredVersion"]["version"] == "v1"
        served = {}
        for version in ("v1", OLD):
            told = await get(f"/apis/{GROUP}/{version}")
            assert told["groupVersion"] == f"{GROUP}/{version}"
            served[version] = {each["name"]: each["verbs"] for each in told["resources"]}
            assert (await get(f"/apis/{GROUP}/{version}/version"))["gitVersion"].startswith("v")
            assert (await get(f"/apis/{GROUP}/{version}/healthz")) == {"status": "ok"}
            document = await get(f"/openapi/v3/apis/{GROUP}/{version}")
            assert all(f"/{version}" in path for path in document["paths"])
        assert served["v1"] == served[OLD]


def test_the_api_server_is_told_of_both() -> None:
    told = {each["spec"]["version"]: each["spec"] for each in webhooks.api_services("kubevirt", "")}
    assert set(told) == {"v1", OLD}
    assert told["v1"]["versionPriority"] >= told[OLD]["versionPriority"]


@pytest.mark.parametrize(("method", "kind", "name", "path", "body", "status"), CALLS)
async def test_it_answers_as_v1(
    api: Running, method: str, kind: str, name: str, path: str, body: Any, status: int
) -> None:
    answers = []
    for version in ("v1", OLD):
        put_vm(api)
        put_vm(api, name="halted", strategy="Halted")
        put_vmi(api)
        put_vmi(api, name="agent", conditions=[{"type": "AgentConnected", "status": "True"}])
        data = None if body is None else json.dumps(body)
        url = api.path(kind, name, path, version)
        async with api.session() as session, session.request(method, url, data=data) as reply:
            answers.append((reply.status, await reply.text()))
        asked = api.questions[-1]
        assert (asked.version, asked.attributes.subresource) == (version, path)
    assert [code for code, _ in answers] == [status, status]
    assert answers[0] == answers[1]


async def test_streams_are_served_too(api: Running) -> None:
    put_vmi(api)
    for path in ("console", "vnc"):
        url = api.path("virtualmachineinstances", "demo", path, OLD).replace("https", "wss")
        async with api.session() as session, session.ws_connect(url) as stream:
            await stream.send_bytes(b"hello")
            assert (await stream.receive_bytes()) == b"echo:hello"
