"""What virt-operator meets in a cluster and the tests play: a kubelet, and whoever installed it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from tests.operator.test_install import NAMESPACE, OPTIONS
from virtpod.kube import apply, errors
from virtpod.kube.client import Client
from virtpod.kube.config import Config
from virtpod.kube.resources import DAEMONSETS, DEPLOYMENTS, NAMESPACES, NODES, Key, Obj
from virtpod.kube.store import Informer
from virtpod.operator.installer import Installer
from virtpod.render.install import operator_manifests


@pytest.fixture
async def client(apiserver: Config, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    async def answers(_: Installer) -> str:
        return ""

    monkeypatch.setattr(Installer, "answers", answers)  # no virt-api runs here
    async with Client(apiserver, component="test") as client:
        with contextlib.suppress(errors.AlreadyExists):
            await client.create(NODES, {"metadata": {"name": "node1"}})
        with contextlib.suppress(errors.AlreadyExists):
            await client.create(NAMESPACES, {"metadata": {"name": "default"}})
        manifests = operator_manifests(OPTIONS)
        await apply.all(client, [m for m in manifests if m["kind"] != "Deployment"], "test")
        yield client


@contextlib.asynccontextmanager
async def kubelet(client: Client) -> AsyncIterator[None]:
    """Whatever is to run runs at once."""
    queue: asyncio.Queue[tuple[Any, Obj]] = asyncio.Queue()
    watched = [Informer(client, kind, namespace=NAMESPACE) for kind in (DEPLOYMENTS, DAEMONSETS)]

    def told(kind: Any, _key: Key, _old: Obj | None, new: Obj | None) -> None:
        if new is not None:
            queue.put_nowait((kind, new))

    async def run() -> None:
        while True:
            kind, obj = await queue.get()
            generation = obj["metadata"]["generation"]
            if (obj.get("status") or {}).get("observedGeneration") == generation:
                continue
            wanted = obj["spec"].get("replicas", 1)
            names: dict[Any, tuple[str, ...]] = {
                DEPLOYMENTS: ("replicas", "updated", "ready", "available"),
                DAEMONSETS: (),
            }
            status = {f"{name}Replicas": wanted for name in names[kind][1:]}
            if kind == DEPLOYMENTS:
                status["replicas"] = wanted
            else:
                status = {
                    "currentNumberScheduled": 1,
                    "desiredNumberScheduled": 1,
                    "numberAvailable": 1,
                    "numberMisscheduled": 0,
                    "numberReady": 1,
                    "updatedNumberScheduled": 1,
                }
            body = {"status": {**status, "observedGeneration": generation}}
            key = Key(NAMESPACE, obj["metadata"]["name"])
            with contextlib.suppress(errors.NotFound):
                await client.patch(kind, key, body, "merge", subresource="status")

    for informer, kind in zip(watched, (DEPLOYMENTS, DAEMONSETS), strict=True):
        informer.on_change(partial(told, kind))
    async with asyncio.TaskGroup() as tasks:
        working = [tasks.create_task(each.run()) for each in watched]
        working.append(tasks.create_task(run()))
        try:
            yield
        finally:
            for task in working:
                task.cancel()
