"""virt-operator is killed at every step of an installation and of a removal: the end is the same.

On a real kube-apiserver. A life ends when it has written once: whatever it wanted to write next is
never sent, and nothing that it knew is left. So the next life begins at each of the states that an
undisturbed one goes through. Of each kind two objects are made, which shortens it to a third; all
of them, and a process that the kernel kills at moments of a random clock, are the second test.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.kube import server
from tests.operator.playing import client, kubelet
from tests.operator.test_install import CR, NAMESPACE, OPTIONS, WITHIN, deployed, until
from virtpod.kube import apply, errors
from virtpod.kube.client import Client, Reply
from virtpod.kube.config import Config
from virtpod.kube.resources import (
    KUBEVIRTS,
    SECRETS,
    VMS,
    Obj,
    of,
)
from virtpod.operator import installer
from virtpod.operator.__main__ import Operator
from virtpod.render.install import Site, components, kubevirt_cr

__all__ = ["client"]

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(900)]

MOST_LIVES = 400
ROOT = Path(__file__).resolve().parents[2]
MADE = components({}, OPTIONS, Site(nodes=2))
OF_A_KIND = 2
CRD, RUN = "CustomResourceDefinition", ("Deployment", "DaemonSet")
KINDS = sorted({SECRETS, *map(of, MADE)}, key=lambda each: (each.group, each.plural))
SECRET = ("caBundle", "ca-bundle", "tls.crt", "tls.key")


class Mortal(Client):
    """Its first write is its last; from then on it hangs, as who is dead does."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, "virt-operator")
        self.dead = asyncio.Event()
        self.wrote = ""
        self._one = asyncio.Lock()

    async def request(self, method: str, path: str, *rest: Any, **named: Any) -> Reply:
        query = rest[0] if rest else named.get("query")
        if method == "GET" or (query or {}).get("dryRun"):
            return await super().request(method, path, *rest, **named)
        async with self._one:
            # What is refused was no step: the next one in line may try.
            reply = await super().request(method, path, *rest, **named)
            self.wrote = f"{method} {path}"
            self.dead.set()
            await asyncio.Event().wait()
        return reply


async def life(config: Config, over: asyncio.Task[Any] | None = None) -> str:
    """One life of virt-operator; what it wrote. With `over` it lives until that is done."""
    async with Client(config, "virt-operator") as immortal, Mortal(config) as mortal:
        client: Client = mortal if over is None else immortal
        running = Operator(client, client, OPTIONS)
        async with asyncio.TaskGroup() as tasks:
            working = [tasks.create_task(each.run()) for each in running.informers]
            await running.wait_synced()
            working.append(tasks.create_task(running.loop.run()))
            try:
                if over is not None:
                    await over
                else:
                    async with asyncio.timeout(5.0):
                        await mortal.dead.wait()
            except TimeoutError:
                return ""
            finally:
                for task in working:
                    task.cancel()
        return mortal.wrote


async def lives(client: Client, config: Config, so: Any) -> list[str]:
    """Until the KubeVirt object is so; what was written, life after life."""
    wrote: list[str] = []
    done = asyncio.create_task(apply.wait_for(client, KUBEVIRTS, CR, so, 500.0))
    try:
        while not done.done():
            assert len(wrote) < MOST_LIVES, wrote[-20:]
            wrote.append(await life(config))
            await asyncio.sleep(0)
    finally:
        done.cancel()
    return wrote


async def installed(client: Client) -> dict[str, Any]:
    """All that there is of an installation, without what differs from one to the next."""
    found = {}
    for resource in KINDS:
        for obj in (await client.list(resource)).items:
            labels = obj["metadata"].get("labels") or {}
            if labels.get("app.kubernetes.io/managed-by") == "virt-operator":
                name = f"{resource.plural} {obj['metadata'].get('namespace', '')}/"
                found[name + obj["metadata"]["name"]] = lasting(obj)
    return found


def lasting(value: Any) -> Any:
    """Without times, versions, keys and who allotted what."""
    passing: tuple[str, ...] = (
        *SECRET,
        "status",
        "managedFields",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    )
    passing += ("generation", "clusterIP", "clusterIPs", "virtpod.io/manifest-hash")
    if isinstance(value, dict):
        return {name: lasting(each) for name, each in value.items() if name not in passing}
    return [lasting(each) for each in value] if isinstance(value, list) else value


def few(*given: Any) -> list[Obj]:
    """Of each kind the first ones; all that runs, and the kinds of machines."""
    found: list[Obj] = []
    for each in components(*given):
        machines = each["metadata"]["name"].startswith("virtualmachine") and each["kind"] == CRD
        known = sum(other["kind"] == each["kind"] for other in found)
        if each["kind"] in RUN or machines or known < OF_A_KIND:
            found.append(each)
    return found


async def test_killed_after_each_write_the_end_is_the_same(
    client: Client, apiserver: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installer, "components", few)
    async with kubelet(client):
        await client.create(KUBEVIRTS, kubevirt_cr(OPTIONS))
        await life(apiserver, asyncio.create_task(until(client, deployed)))
        undisturbed = await installed(client)
        assert len(undisturbed) > 30
        await client.delete(KUBEVIRTS, CR)
        gone = asyncio.create_task(
            apply.wait_for(client, KUBEVIRTS, CR, lambda cr: cr is None, 3 * WITHIN)
        )
        await life(apiserver, gone)
        assert await installed(client) == {}

        await client.create(KUBEVIRTS, kubevirt_cr(OPTIONS))
        steps = await lives(client, apiserver, deployed)
        assert len([step for step in steps if step]) >= len(undisturbed)
        assert await installed(client) == undisturbed
        vm = {
            "metadata": {"name": "vm", "namespace": "default"},
            "spec": {"runStrategy": "Halted", "template": {"spec": {"domain": {"devices": {}}}}},
        }
        with contextlib.suppress(errors.Unavailable):
            await client.create(VMS, vm)  # whose webhooks nobody answers
        await client.delete(KUBEVIRTS, CR)
        steps = await lives(client, apiserver, lambda cr: cr is None)
        assert sum(step.startswith("DELETE") for step in steps) >= len(undisturbed)
        assert await installed(client) == {}


KILLS = 6
BETWEEN = (0.3, 4.0)
"""Seconds from a start to the kill."""


@contextlib.asynccontextmanager
async def process(config: Config, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """virt-operator as it is installed, without virt-api's answers, which nobody gives here."""
    kubeconfig = server.kubeconfig(config, folder)
    environ = {
        **os.environ,
        "POD_NAMESPACE": NAMESPACE,
        "VIRTPOD_IMAGE": OPTIONS.image,
        "VIRT_LAUNCHER_IMAGE": OPTIONS.launcher_image,
    }
    (port,) = server.free_ports(1)
    words = ("--kubeconfig", str(kubeconfig), "--run", str(folder), "--port", str(port))
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", MAIN, "--address", "127.0.0.1", *words), env=environ
    )
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            running.kill()
        await running.wait()


MAIN = """
from virtpod.operator import __main__, installer

async def answers(_):
    return ""

installer.Installer.answers = answers
__main__.main()
"""


async def killed(config: Config, folder: Path, rng: random.Random, done: asyncio.Task[Any]) -> int:
    """Kills processes of it until the end is there, the last of which lives; how many."""
    count = 0
    while not done.done():
        async with process(config, folder) as running:
            left = rng.uniform(*BETWEEN) if count < KILLS else 300.0
            await asyncio.wait([done], timeout=left)
            if not done.done():
                assert running.returncode is None
                count += 1
    await done
    return count


async def test_killed_by_the_kernel_the_end_is_the_same(
    client: Client, apiserver: Config, tmp_path: Path
) -> None:
    rng = random.Random(7)
    async with kubelet(client):
        await client.create(KUBEVIRTS, kubevirt_cr(OPTIONS))
        there = asyncio.create_task(apply.wait_for(client, KUBEVIRTS, CR, deployed, 300.0))
        assert await killed(apiserver, tmp_path, rng, there)
        found = await installed(client)
        assert len(found) >= len(MADE)
        await client.delete(KUBEVIRTS, CR)
        gone = asyncio.create_task(
            apply.wait_for(client, KUBEVIRTS, CR, lambda cr: cr is None, 300.0)
        )
        assert await killed(apiserver, tmp_path, rng, gone)
        assert await installed(client) == {}
