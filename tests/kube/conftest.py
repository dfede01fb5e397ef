"""`api`: every test that asks for it runs twice, against the fake and a real kube-apiserver."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from tests.kube import server
from tests.kube.fake import FakeCluster
from virtpod.kube.client import Client
from virtpod.kube.config import Config
from virtpod.kube.resources import NAMESPACES


@dataclass
class Api:
    """An API server, and a namespace of the test's own."""

    config: Config
    namespace: str
    fake: FakeCluster | None

    def client(self, component: str = "test") -> Client:
        return Client(self.config, component=component)


@pytest.fixture(scope="session")
def apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Config]:
    if not server.programs():
        if os.environ.get("CI"):
            pytest.fail("the local cluster's programs are not built: make cluster")
        pytest.skip("the local cluster's programs are not built: make cluster")
    with server.running(tmp_path_factory.mktemp("apiserver")) as config:
        yield config


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.apiserver)])
async def api(request: pytest.FixtureRequest) -> AsyncIterator[Api]:
    namespace = f"test-{uuid.uuid4().hex[:8]}"
    if request.param == "fake":
        async with FakeCluster() as fake:
            yield Api(fake.config(), namespace, fake)
        return
    config: Config = request.getfixturevalue("apiserver")
    async with Client(config, component="fixture") as client:
        await client.create(NAMESPACES, {"metadata": {"name": namespace}})
    yield Api(config, namespace, None)


@pytest.fixture
async def fake() -> AsyncIterator[FakeCluster]:
    async with FakeCluster() as cluster:
        yield cluster
