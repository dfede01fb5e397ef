"""start-, stop- and dump-cluster-profiler: who may, whom they ask, and what comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.apiserver.site import Running, running
from virtpod.api.kubevirt import DeveloperConfiguration, KubeVirtConfiguration
from virtpod.apiserver.authorization import Verdict
from virtpod.apiserver.profiles import Member
from virtpod.kube.errors import Unavailable

ON = KubeVirtConfiguration(developer_configuration=DeveloperConfiguration(cluster_profiler=True))
ALL = [
    Member("virt-api-1", "virt-api", "10.0.0.1"),
    Member("virt-controller-1", "virt-controller", "10.0.0.2"),
    Member("virt-handler-1", "virt-handler", "10.0.0.3"),
]


class Components:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.selectors: list[str] = []
        self.deaf = ""

    async def members(self, selector: str) -> Sequence[Member]:
        self.selectors.append(selector)
        return ALL

    async def ask(self, member: Member, what: str) -> dict[str, Any]:
        if member.name == self.deaf:
            raise Unavailable(0, "", "connection refused")
        self.asked.append((member.name, what))
        return {"pprofData": {"cpu.folded": "YSAx"}} if what == "/dump-profiler" else {}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[tuple[Running, Components]]:
    components = Components()
    async with running(tmp_path, components=components) as api:
        api.config = ON
        yield api, components


async def get(api: Running, name: str, **more: Any) -> tuple[int, Any]:
    url = f"{api.url}/apis/subresources.kubevirt.io/v1/{name}"
    async with api.session() as session, session.get(url, **more) as reply:
        return reply.status, await reply.json() if await reply.read() else None


async def test_all_components_begin_and_end_together(site: tuple[Running, Components]) -> None:
    api, components = site
    assert (await get(api, "start-cluster-profiler", params={"memory": "true"}))[0] == 200
    assert (await get(api, "stop-cluster-profiler"))[0] == 200
    assert components.asked == [
        *((member.name, "/start-profiler?memory=true") for member in ALL),
        *((member.name, "/stop-profiler") for member in ALL),
    ]
    right = {(q.attributes.verb, q.attributes.resource, q.namespace) for q in api.questions}
    assert right == {("get", "start-cluster-profiler", ""), ("get", "stop-cluster-profiler", "")}


async def test_a_dump_comes_in_pages(site: tuple[Running, Components]) -> None:
    api, components = site
    asked = {"labelSelector": "app=x", "pageSize": 2}
    status, told = await get(api, "dump-cluster-profiler", json=asked)
    assert status == 200
    assert list(told["componentResults"]) == ["virt-api-1", "virt-controller-1"]
    assert told["componentResults"]["virt-api-1"]["pprofData"] == {"cpu.folded": "YSAx"}
    rest = await get(api, "dump-cluster-profiler", json={**asked, "continue": told["continue"]})
    assert list(rest[1]["componentResults"]) == ["virt-handler-1"]
    assert "continue" not in rest[1]
    assert components.selectors == ["app=x", "app=x"]


async def test_nobody_profiles_without_the_right(site: tuple[Running, Components]) -> None:
    api, components = site
    api.verdict = Verdict(False, "no")
    assert (await get(api, "start-cluster-profiler"))[0] == 401
    assert components.asked == []


@pytest.mark.configures("configuration.developerConfiguration.clusterProfiler")
async def test_nobody_profiles_while_it_is_off(site: tuple[Running, Components]) -> None:
    api, components = site
    api.config = KubeVirtConfiguration()
    status, told = await get(api, "dump-cluster-profiler")
    assert status == 403
    assert "developerConfiguration.clusterProfiler" in told["message"]
    assert components.asked == []


async def test_who_does_not_answer_is_named(site: tuple[Running, Components]) -> None:
    api, components = site
    components.deaf = "virt-handler-1"
    status, told = await get(api, "start-cluster-profiler")
    assert status == 500
    assert told["message"].startswith("virt-handler-1 did not answer")


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"pageSize": 0}', b'{"pageSize": "x"}'])
async def test_a_bad_question_is_told(site: tuple[Running, Components], body: bytes) -> None:
    status, told = await get(site[0], "dump-cluster-profiler", data=body)
    assert (status, told["reason"]) == (400, "BadRequest")
