"""The demo on a cluster that KUBECONFIG names: images go through a registry."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcluster import layout
from tests.e2e.support import ENVIRONMENT, ROOT, Namespace, kubectl

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def registry(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry on 127.0.0.1, which the nodes reach by the same name; yields the prefix."""
    folder = tmp_path_factory.mktemp("registry")
    port = free_port()
    process = subprocess.Popen(
        [
            *(str(layout.BIN / "registry"), "-address", f"127.0.0.1:{port}"),
            *("-folder", str(folder / "blobs")),
        ],
        stdout=(folder / "log").open("w"),
        stderr=subprocess.STDOUT,
    )
    try:
        answers(port, process, folder / "log")
        subprocess.run(
            [
                *(sys.executable, "-m", "localcluster", "up"),
                *("--nodes", "2", "--forward", str(port)),
            ],
            cwd=ROOT,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        yield f"127.0.0.1:{port}/virtpod"
    finally:
        process.terminate()
        process.wait(timeout=30)


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def answers(port: int, process: subprocess.Popen[bytes], log: Path, seconds: float = 30) -> None:
    """Waits until somebody listens; that this takes no pause, the kernel's refusal sees to."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")


def test_the_demo_runs_from_a_registry(registry: str) -> None:
    kubectl("delete", "vm", "demo", "-n", "default", "--ignore-not-found", "--timeout=90s")
    done = subprocess.run(
        [sys.executable, "-m", "scripts.demo"],
        cwd=ROOT,
        env={**ENVIRONMENT, "IMAGE_PREFIX": registry},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=540,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "demo login:" in done.stdout
    assert "virtctl console demo" in done.stdout
    default = Namespace("default")
    pod = default.launcher(default.get("vmi", "demo"))
    pulled = [each["image"] for each in pod["spec"]["containers"]]
    assert all(image.startswith(registry) for image in pulled)
    default.delete("vm", "demo")
