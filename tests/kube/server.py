"""A real kube-apiserver with an etcd, on free ports of 127.0.0.1, for the verified fake's tests.

Their programs are those of the local cluster (`.local/bin`, made by `make cluster`).
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from virtpod.kube.config import Config

BIN = Path(__file__).resolve().parents[2] / ".local" / "bin"
TOKEN = "a-token-for-tests"
READY_WITHIN = 90.0  # seconds


def programs() -> bool:
    """Whether they are built here."""
    return (BIN / "kube").exists() and (BIN / "etcd").exists()


@contextlib.contextmanager
def running(folder: Path, *flags: str) -> Iterator[Config]:
    """An API server that knows one user, who may do everything; `flags` are more of its own."""
    etcd_port, peer_port, port = free_ports(3)
    tokens = folder / "tokens.csv"
    tokens.write_text(f'{TOKEN},admin,admin,"system:masters"\n')
    key = folder / "service-accounts.key"
    key.write_bytes(
        rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    etcd = [
        str(BIN / "etcd"),
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls=http://127.0.0.1:{etcd_port}",
        f"--advertise-client-urls=http://127.0.0.1:{etcd_port}",
        f"--listen-peer-urls=http://127.0.0.1:{peer_port}",
        "--unsafe-no-fsync",
        "--log-level=error",
    ]
    apiserver = [
        str(BIN / "kube"),
        "kube-apiserver",
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={folder / 'certs'}",
        f"--token-auth-file={tokens}",
        "--authorization-mode=RBAC",
        "--disable-admission-plugins=ServiceAccount",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--endpoint-reconciler-type=none",
        "--allow-privileged=true",  # as virt-handler is
        *flags,
    ]
    with process(etcd, folder / "etcd.log"), process(apiserver, folder / "apiserver.log") as server:
        config = Config(f"https://127.0.0.1:{port}", token=TOKEN, insecure=True)
        wait_ready(config, server, folder / "apiserver.log")
        yield config


def kubeconfig(config: Config, folder: Path) -> Path:
    """For programs that are to be that user."""
    path = folder / "kubeconfig"
    cluster = {"server": config.server, "insecure-skip-tls-verify": True}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": {"token": config.token}}],
    }
    path.write_text(json.dumps(document))
    return path


@contextlib.contextmanager
def process(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as child:
        try:
            yield child
        finally:
            child.kill()


def wait_ready(config: Config, server: subprocess.Popen[bytes], log: Path) -> None:
    """Its readiness can only be asked for, and asked again."""
    asked = urllib.request.Request(
        f"{config.server}/readyz", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        with (
            contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError),
            urllib.request.urlopen(asked, context=config.tls(), timeout=5),
        ):
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(0.2)
    raise RuntimeError(f"no API server:\n{log.read_text()[-3000:]}")


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
