"""The whole process: a node that becomes ready, and says so when virt-handler is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
import trustme
import yaml

from tests.kube.fake import FakeCluster
from tests.node.test_devices import Kubelet
from virtpod.kube.resources import NODES
from virtpod.node.__main__ import arguments

WITHIN = 30.0
NODE = "node1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def written(tmp_path: Path, server: str) -> list[str]:
    """The files that the process reads, and its arguments."""
    ca = trustme.CA()
    issued = ca.issue_cert("virt-handler.kubevirt.svc", "127.0.0.1")
    pair = tmp_path / "certs/kubevirt-virt-handler-server-certs"
    pair.mkdir(parents=True)
    issued.cert_chain_pems[0].write_to_path(str(pair / "tls.crt"))
    issued.private_key_pem.write_to_path(str(pair / "tls.key"))
    ca.cert_pem.write_to_path(str(tmp_path / "ca"))
    kubeconfig = {
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "clusters": [{"name": "x", "cluster": {"server": server}}],
        "users": [{"name": "x", "user": {}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
    for name in ("pods", "plugins", "dev", "probe"):
        (tmp_path / name).mkdir()
    return [
        f"--kubeconfig={tmp_path}/kubeconfig",
        f"--certs={tmp_path}/certs",
        f"--ca={tmp_path}/ca",
        f"--pods-dir={tmp_path}/pods",
        f"--device-plugins-dir={tmp_path}/plugins",
        f"--seccomp-dir={tmp_path}/seccomp",
        f"--dev-dir={tmp_path}/dev",
        f"--probe-dir={tmp_path}/probe",
        "--address=127.0.0.1",
        "--console-server-port=0",
    ]


async def until(fake: FakeCluster, true: Callable[[dict[str, str]], bool]) -> None:
    async with asyncio.timeout(WITHIN):
        while not true(fake.get(NODES, "", NODE)["metadata"].get("labels") or {}):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_from_start_to_farewell(tmp_path: Path) -> None:
    port = free_port()
    async with FakeCluster() as fake:
        fake.put(NODES, {"metadata": {"name": NODE, "labels": {"mine": "stays"}}})
        arguments = written(tmp_path, fake.server)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "virtpod.node", f"--port={port}", *arguments),
            env={**os.environ, "NODE_NAME": NODE, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        try:
            await until(fake, lambda labels: labels.get("kubevirt.io/schedulable") == "false")
            assert await ready(port) == 503
            async with Kubelet(tmp_path / "plugins").running():
                await until(fake, lambda labels: labels.get("kubevirt.io/schedulable") == "true")
                assert await ready(port) == 200
                process.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(process.wait(), WITHIN) == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        metadata = fake.get(NODES, "", NODE)["metadata"]
        assert metadata["labels"]["kubevirt.io/schedulable"] == "false"
        assert metadata["labels"]["mine"] == "stays"
        assert "kubevirt.io/heartbeat" in metadata["annotations"]


async def ready(port: int) -> int:
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    url = f"https://127.0.0.1:{port}/readyz"
    async with aiohttp.ClientSession() as session, session.get(url, ssl=unverified) as response:
        return response.status


def test_a_node_without_a_name_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NODE_NAME", raising=False)
    with pytest.raises(SystemExit):
        arguments([])
    assert "NODE_NAME" in capsys.readouterr().err
    assert arguments(["--node-name", "n"]).node_name == "n"
