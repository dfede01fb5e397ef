"""virt-api as a process: starts, serves, follows its certificate, ends cleanly on SIGTERM."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path

import aiohttp

from tests.apiserver.site import Pki
from tests.kube.fake import FakeCluster
from virtpod.kube.resources import CONFIGMAPS, KUBEVIRTS


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


async def test_the_process_serves_and_ends(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    port = _free_port()
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
            f"--certs={tmp_path}",
            f"--ca={pki.ca_file}",
            f"--kubeconfig={_kubeconfig(tmp_path, fake.config().server)}",
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stderr is not None
            async with asyncio.timeout(30):
                while b"virt-api listens" not in (line := await process.stderr.readline()):
                    assert line, "virt-api ended"
            url = f"https://127.0.0.1:{port}"
            for caller in (pki.caller(None), pki.caller()):
                connector = aiohttp.TCPConnector(ssl=caller)
                async with aiohttp.ClientSession(connector=connector) as session:
                    healthz = f"{url}/apis/subresources.kubevirt.io/v1/healthz"
                    async with session.get(healthz) as reply:
                        assert reply.status == 200
                    async with session.get(f"{url}/metrics") as reply:
                        assert b"kubevirt_virt_api_up 1.0" in await reply.read()
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(15):
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
