"""Certificates rotate under load, and nobody who asks virt-api notices.

A real kube-apiserver, virt-operator, and a virt-api of its own process. The test plays the kubelet,
which brings new secrets into mounted folders late and all at once; and API servers, which ask the
webhook over a new connection each time and believe what the webhook's configuration says.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509

from tests.kube import server
from tests.operator.playing import client, kubelet
from tests.operator.test_install import CR, NAMESPACE, OPTIONS, deployed
from virtpod.kube import apply
from virtpod.kube.client import Client
from virtpod.kube.config import Config
from virtpod.kube.resources import CONFIGMAPS, KUBEVIRTS, SECRETS, VALIDATING_WEBHOOKS, Obj
from virtpod.kube.store import Informer
from virtpod.operator.__main__ import Operator
from virtpod.render.install import kubevirt_cr

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(300)]

__all__ = ["client"]

SECONDS = 40
A_SECOND = 50
NAME = f"virt-api.{NAMESPACE}.svc"
LATE = 2.0
"""Seconds until a mounted secret is the new one; a kubelet takes up to a minute or two."""
ANSWER_WITHIN = 10.0
"""An API server's patience with a webhook."""
ROTATION = {
    # All at the scale of seconds: certificates of 12 s are renewed 9 s before their end.
    "ca": {"duration": "60s", "renewBefore": "30s"},
    "server": {"duration": "12s", "renewBefore": "9s"},
}
REVIEW = {
    "apiVersion": "admission.k8s.io/v1",
    "kind": "AdmissionReview",
    "request": {
        "uid": "u",
        "kind": {"group": "kubevirt.io", "version": "v1", "kind": "VirtualMachineInstance"},
        "resource": {
            "group": "kubevirt.io",
            "version": "v1",
            "resource": "virtualmachineinstances",
        },
        "operation": "CREATE",
        "namespace": "default",
        "userInfo": {"username": "somebody"},
        "object": {
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachineInstance",
            "metadata": {"name": "a", "namespace": "default"},
            "spec": {"domain": {"devices": {}, "memory": {"guest": "64Mi"}}},
        },
    },
}


class Mounts:
    """Secrets as the kubelet has them in a container: a link that is turned to a new folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0

    def told(self, name: str, obj: Obj | None) -> None:
        if obj is not None:
            loop = asyncio.get_running_loop()
            wait = LATE if (self.folder / name).exists() else 0.0
            loop.call_later(wait, self._put, name, obj)

    def _put(self, name: str, obj: Obj) -> None:
        self._count += 1
        fresh = self.folder / f"..{name}-{self._count}"
        fresh.mkdir()
        for file, content in (obj.get("data") or {}).items():
            secret = obj.get("kind") == "Secret" or file.startswith("tls")
            (fresh / file).write_bytes(base64.b64decode(content) if secret else content.encode())
        link = self.folder / f".link-{self._count}"
        link.symlink_to(fresh)
        link.replace(self.folder / name)


class Asking:
    """As many reviews a second as wanted, whatever becomes of those before."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.trust: ssl.SSLContext | None = None
        self.answers = 0
        self.failures: list[str] = []
        self.served: set[int] = set()
        self.authorities: set[str] = set()

    def configured(self, webhooks: Obj | None) -> None:
        if webhooks is not None:
            bundle = base64.b64decode(webhooks["webhooks"][0]["clientConfig"]["caBundle"])
            self.trust = ssl.create_default_context(cadata=bundle.decode())

    async def ask(self) -> None:
        body = json.dumps(REVIEW).encode()
        head = (
            f"POST /virtualmachineinstances-validate-create HTTP/1.1\r\nHost: virt-api\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            f"Connection: close\r\n\r\n"
        )
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1",
                    self.port,
                    ssl=self.trust,
                    server_hostname=f"virt-api.{NAMESPACE}.svc",
                )
                der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
                writer.write(head.encode() + body)
                said = await reader.read()
                writer.close()
        except (OSError, TimeoutError) as error:
            self.failures.append(f"{type(error).__name__}: {error}")
            return
        certificate = x509.load_der_x509_certificate(der)
        self.served.add(certificate.serial_number)
        self.authorities.add(certificate.issuer.rfc4514_string())
        if b'"allowed":true' in said.replace(b" ", b""):
            self.answers += 1
        else:
            self.failures.append(said.decode(errors="replace")[-500:])


@contextlib.asynccontextmanager
async def virt_api(config: Config, folder: Path, port: int) -> AsyncIterator[None]:
    kubeconfig = server.kubeconfig(config, folder)
    more = server.free_ports(2)
    words = ("--address", "127.0.0.1", "--port", str(port), "--profiler-port", str(more[0]))
    files = ("--certs", str(folder), "--ca", str(folder / "ca" / "ca-bundle"))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "virtpod.apiserver", *words, *files),
        *("--kubeconfig", str(kubeconfig)),
        env={**os.environ, "POD_NAMESPACE": NAMESPACE},
    )
    try:
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(ConnectionError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.1)
        yield
        assert process.returncode is None
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_no_review_fails_while_certificates_rotate(
    client: Client, apiserver: Config, tmp_path: Path
) -> None:
    cr = kubevirt_cr(OPTIONS)
    cr["spec"]["certificateRotateStrategy"] = {"selfSigned": ROTATION}
    (port,) = server.free_ports(1)
    mounts, asking = Mounts(tmp_path), Asking(port)
    async with Client(apiserver, "virt-operator") as own, asyncio.TaskGroup() as tasks:
        running = Operator(own, own, OPTIONS)
        secrets: Informer[Obj] = Informer(client, SECRETS, namespace=NAMESPACE)
        secrets.on_change(
            lambda key, _old, new: (
                mounts.told(key.name, new) if key.name.startswith("kubevirt-virt-") else None
            )
        )
        maps: Informer[Obj] = Informer(client, CONFIGMAPS, namespace=NAMESPACE)
        maps.on_change(
            lambda key, _old, new: mounts.told("ca", new) if key.name == "kubevirt-ca" else None
        )
        webhooks: Informer[Obj] = Informer(
            client, VALIDATING_WEBHOOKS, fields="metadata.name=virt-api-validator"
        )
        webhooks.on_change(lambda _key, _old, new: asking.configured(new))
        working = [
            tasks.create_task(each.run()) for each in (*running.informers, secrets, maps, webhooks)
        ]
        await running.wait_synced()
        working.append(tasks.create_task(running.loop.run()))
        async with kubelet(client):
            await client.create(KUBEVIRTS, cr)
            await apply.wait_for(client, KUBEVIRTS, CR, deployed, 60.0)
            async with virt_api(apiserver, tmp_path, port):
                await asked(asking)
            await client.delete(KUBEVIRTS, CR)
            await apply.wait_for(client, KUBEVIRTS, CR, lambda cr: cr is None, 180.0)
        for task in working:
            task.cancel()
    assert asking.failures == []
    assert asking.answers == SECONDS * A_SECOND
    assert len(asking.served) >= SECONDS / 12, "no rotation was seen"
    assert len(asking.authorities) >= 2, "the authority did not rotate"


async def asked(asking: Asking) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.TaskGroup() as tasks:
        for number in range(SECONDS * A_SECOND):
            await asyncio.sleep(max(0.0, began + number / A_SECOND - loop.time()))
            tasks.create_task(asking.ask())
