"""virt-api as a process: starts, serves, follows its certificate, ends cleanly on SIGTERM."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from tests.apiserver.site import Handler, Pki, vmi
from tests.kube.fake import FakeCluster
from virtpod.apiserver.nodes import Identity
from virtpod.apiserver.profiles import KubeComponents
from virtpod.kube.resources import CONFIGMAPS, EVENTS, KUBEVIRTS, PODS, PRESETS, VMIS, Obj

STREAMS = 1000
MEMORY_PER_STREAM = 400 * 1024
"""Bytes: two TLS connections, and what they have in hand."""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _kubeconfig(folder: Path, server: str) -> Path:
    path = folder / "kubeconfig"
    path.write_text(
        json.dumps(
            {
                "current-context": "test",
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
                "clusters": [{"name": "test", "cluster": {"server": server}}],
                "users": [{"name": "test", "user": {}}],
            }
        )
    )
    return path


def virt_handler(node: str) -> Obj:
    """The pod of a virt-handler on this machine."""
    return {
        "metadata": {
            "namespace": "kubevirt",
            "name": "virt-handler-1",
            "labels": {"kubevirt.io": "virt-handler"},
        },
        "spec": {"nodeName": node},
        "status": {"podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]},
    }


@dataclass
class Process:
    url: str
    profiler: int
    fake: FakeCluster
    process: asyncio.subprocess.Process

    @property
    def memory(self) -> int:
        """Bytes that are resident."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGESIZE")


@asynccontextmanager
async def virt_api(pki: Pki, *arguments: str) -> AsyncIterator[Process]:
    """A virt-api of a cluster that knows its front proxy."""
    folder = pki.folder
    port, profiler = _free_port(), _free_port()
    async with FakeCluster() as fake:
        fake.put(
            KUBEVIRTS,
            {"metadata": {"namespace": "kubevirt", "name": "kubevirt"}, "spec": {}},
        )
        fake.put(
            CONFIGMAPS,
            {
                "metadata": {
                    "namespace": "kube-system",
                    "name": "extension-apiserver-authentication",
                },
                "data": {
                    "requestheader-client-ca-file": pki.front.cert_pem.bytes().decode(),
                    "requestheader-allowed-names": '["front-proxy-client"]',
                },
            },
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "virtpod.apiserver",
            f"--port={port}",
            "--address=127.0.0.1",
            f"--profiler-port={profiler}",
            f"--certs={folder}",
            f"--ca={pki.ca_file}",
            f"--kubeconfig={_kubeconfig(folder, fake.config().server)}",
            *arguments,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stderr is not None
            async with asyncio.timeout(30):
                while b"virt-api listens" not in (line := await process.stderr.readline()):
                    assert line, "virt-api ended"
            yield Process(f"https://127.0.0.1:{port}", profiler, fake, process)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def test_a_new_machine_gets_what_presets_of_its_namespace_say(tmp_path: Path) -> None:
    pki = Pki(tmp_path)

    def review(namespace: str, name: str) -> Obj:
        labels, spec = {"size": "small"}, {"domain": {"devices": {}, "ioThreadsPolicy": "shared"}}
        made = {"metadata": {"name": name, "namespace": namespace, "labels": labels}, "spec": spec}
        request = {"uid": "u", "operation": "CREATE", "namespace": namespace, "object": made}
        return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}

    async with virt_api(pki) as api:
        connector = aiohttp.TCPConnector(ssl=pki.caller(None))
        async with aiohttp.ClientSession(connector=connector) as session:

            async def cpu(namespace: str) -> bool:
                sent = review(namespace, "demo")
                url = f"{api.url}/virtualmachineinstances-mutate"
                async with session.post(url, json=sent) as reply:
                    response = (await reply.json())["response"]
                assert response["allowed"] is True
                patch = json.loads(base64.b64decode(response["patch"]))
                return any("cores" in str(each.get("value")) for each in patch) and any(
                    "virtualmachinepreset.kubevirt.io" in str(each) for each in patch
                )

            assert not await cpu("default")
            selector = {"matchLabels": {"size": "small"}}
            domain = {"cpu": {"cores": 3}, "ioThreadsPolicy": "auto"}
            api.fake.put(
                PRESETS,
                {
                    "metadata": {"name": "small", "namespace": "default"},
                    "spec": {"selector": selector, "domain": domain},
                },
            )
            for _ in range(200):
                if await cpu("default") and (told := list(api.fake.objects(EVENTS).values())):
                    break
                await asyncio.sleep(0.05)
            assert not await cpu("other")
            assert [each["reason"] for each in told] == ["Override"]
            assert told[0]["involvedObject"]["name"] == "demo"


async def test_the_process_serves_and_ends(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    async with virt_api(pki) as api:
        for caller in (pki.caller(None), pki.caller()):
            connector = aiohttp.TCPConnector(ssl=caller)
            async with aiohttp.ClientSession(connector=connector) as session:
                healthz = f"{api.url}/apis/subresources.kubevirt.io/v1/healthz"
                async with session.get(healthz) as reply:
                    assert reply.status == 200
                async with session.get(f"{api.url}/metrics") as reply:
                    assert b"kubevirt_virt_api_up 1.0" in await reply.read()
        api.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(15):
            assert await api.process.wait() == 0


async def test_who_keeps_a_connection_is_answered_on_it_before_the_end(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    connector = aiohttp.TCPConnector(ssl=pki.caller(None))
    async with virt_api(pki) as api, aiohttp.ClientSession(connector=connector) as session:
        healthz = f"{api.url}/apis/subresources.kubevirt.io/v1/healthz"

        async def asked() -> str:
            async with session.get(healthz) as reply:
                assert reply.status == 200
                await reply.read()
                return reply.headers.get("Connection", "")

        assert await asked() == ""
        api.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(4):
            while not await asked():  # noqa: ASYNC110 # it tells nobody of the signal
                await asyncio.sleep(0.01)
            # No connection is left: it waits for nobody.
            assert await api.process.wait() == 0


async def test_it_profiles_itself_and_its_peers(tmp_path: Path) -> None:
    """As one of the components, asked with the certificate that all of them know virt-api by."""
    pki = Pki(tmp_path)
    identity = Identity(tmp_path / "kubevirt-virt-handler-certs", pki.ca_file, "")
    async with virt_api(pki) as api, api.fake.client("test") as client:
        ports = {"virt-api": api.profiler}
        components = KubeComponents(client, "kubevirt", identity, ports)
        pod = {"metadata": {"namespace": "kubevirt", "name": "virt-api-1"}, "spec": {}}
        pod["metadata"]["labels"] = {"kubevirt.io": "virt-api"}
        api.fake.put(PODS, {**pod, "status": {"podIP": "127.0.0.1"}})
        (member,) = await components.members("")
        assert await components.members("kubevirt.io=virt-handler") == []
        await components.ask(member, "/start-profiler")
        await asyncio.sleep(0.3)
        await components.ask(member, "/stop-profiler")
        told = await components.ask(member, "/dump-profiler")
    stacks = base64.b64decode(told["pprofData"]["cpu.folded"]).decode()
    assert "MainThread;" in stacks
    assert "__main__.main;" in stacks


@pytest.mark.timeout(300)
async def test_a_thousand_streams_at_once(tmp_path: Path) -> None:
    """Each carries bytes while all others are open, and none of them costs much."""
    pki, handler = Pki(tmp_path), Handler()
    connector = aiohttp.TCPConnector(ssl=pki.caller(), limit=0)
    async with (
        handler.running(pki) as port,
        virt_api(pki, f"--console-server-port={port}") as api,
        aiohttp.ClientSession(connector=connector, headers={"X-Remote-User": "a"}) as session,
    ):
        api.fake.put(PODS, virt_handler("node-1"))
        api.fake.put(VMIS, vmi())
        url = f"{api.url}/apis/subresources.kubevirt.io/v1/namespaces/default"
        console = f"{url}/virtualmachineinstances/demo/console"

        async def opened(number: int) -> aiohttp.ClientWebSocketResponse:
            async with few:
                stream = await session.ws_connect(console)
            await stream.send_bytes(b"%d" % number)
            assert await stream.receive_bytes(timeout=60) == b"echo:%d" % number
            return stream

        few = asyncio.Semaphore(20)
        first = await opened(0)
        before = api.memory
        streams = [first, *await asyncio.gather(*map(opened, range(1, STREAMS)))]
        each = (api.memory - before) / STREAMS
        for number, stream in enumerate(streams):
            await stream.send_bytes(b"again")
            assert await stream.receive_bytes(timeout=60) == b"echo:again", number
        assert each < MEMORY_PER_STREAM, f"{each / 1024:.0f} KiB per stream"
        await asyncio.gather(*(stream.close() for stream in streams))
        for _ in streams:
            async with asyncio.timeout(30):
                assert await handler.ended.get() == 1000
