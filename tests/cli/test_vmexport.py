"""virtctl vmexport: the object, its token, and downloads from a server with TLS of its own."""

from __future__ import annotations

import asyncio
import base64
import gzip
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from tests.cli.conftest import Commands
from tests.kube.fake import FakeCluster
from virtpod.cli import _export as export
from virtpod.cli import memory_dump, vmexport
from virtpod.kube.resources import EXPORTS, PODS, SECRETS, SERVICES, VMS, Resource

Json = dict[str, Any]

DISK = bytes(range(256)) * 4096
NAMES = ("127.0.0.1", "virt-export-mine.team.svc")


@dataclass
class Exporter:
    """As virt-exportserver answers. `busy`: how often it is not ready."""

    token: str = ""
    ca: trustme.CA = field(default_factory=trustme.CA)
    port: int = 0
    busy: int = 0
    cut: bool = False
    asked: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        if request.headers.get("x-kubevirt-export-token") != self.token:
            return web.Response(status=401)
        if self.busy:
            self.busy -= 1
            return web.Response(status=503)
        if "manifests" in request.path:
            kind = request.path.rpartition("/")[2]
            return web.Response(text=f"{kind}: {request.headers['Accept']}\n")
        body = gzip.compress(DISK) if request.path.endswith(".gz") else DISK
        if self.cut:
            response = web.StreamResponse(headers={"Content-Length": str(len(body))})
            await response.prepare(request)
            await response.write(body[:100])
            request.transport.abort()  # type: ignore[union-attr]
            return response
        return web.Response(body=body)

    def links(self, host: str, *formats: str) -> Json:
        files = {"gzip": "disk.img.gz", "raw": "disk.img"}
        base = f"https://{host}"
        return {
            "cert": self.ca.cert_pem.bytes().decode(),
            "volumes": [
                {
                    "name": name,
                    "formats": [
                        {"format": each, "url": f"{base}/volumes/{name}/{files[each]}"}
                        for each in formats
                    ],
                }
                for name in ("root", "data")
            ],
            "manifests": [
                {"type": kind, "url": f"{base}/manifests/{kind}"}
                for kind in ("all", "auth-header-secret")
            ],
        }


@pytest.fixture
async def exporter() -> AsyncIterator[Exporter]:
    found = Exporter()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.ca.issue_cert(*NAMES).configure_cert(context)
    app = web.Application()
    app.router.add_get("/{path:.*}", found.answer)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    found.port = runner.addresses[0][1]
    try:
        yield found
    finally:
        await runner.cleanup()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((export, "PERIOD"), (vmexport, "BETWEEN"), (memory_dump, "PERIOD")):
        monkeypatch.setattr(module, name, 0.02)


async def there(fake: FakeCluster, resource: Resource, name: str) -> None:
    for _ in range(3000):
        if ("team", name) in fake.objects(resource):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"no {resource.kind} {name}")


@asynccontextmanager
async def served(
    fake: FakeCluster, exporter: Exporter, status: Callable[[], Json], name: str = "mine"
) -> AsyncIterator[None]:
    """Plays the controller: the export that appears is Ready some time later."""

    async def control() -> None:
        await there(fake, EXPORTS, name)
        found = fake.get(EXPORTS, "team", name)
        fake.put(EXPORTS, {**found, "status": {"phase": "Pending"}})
        await asyncio.sleep(0.05)
        await there(fake, SECRETS, f"secret-{name}")
        data = fake.get(SECRETS, "team", f"secret-{name}")["data"]
        exporter.token = base64.b64decode(data["token"]).decode()
        found = fake.get(EXPORTS, "team", name)
        fake.put(EXPORTS, {**found, "status": {"phase": "Ready", **status()}})

    task = asyncio.create_task(control())
    try:
        yield
    finally:
        task.cancel()


def outside(exporter: Exporter, *formats: str) -> Callable[[], Json]:
    at = f"127.0.0.1:{exporter.port}"
    return lambda: {"links": {"external": exporter.links(at, *(formats or ("raw", "gzip")))}}


async def test_an_export_and_its_token_are_made(cluster: Commands, fake: FakeCluster) -> None:
    flags = ("--vm", "demo", "--ttl", "1h", "--labels", "a=1,b=2", "--annotations", "note=x=y")
    out, _ = await cluster.run("vmexport", "create", "mine", *flags)
    assert out == "VirtualMachineExport 'team/mine' created succesfully\n"
    made = fake.get(EXPORTS, "team", "mine")
    assert made["metadata"]["labels"] == {"a": "1", "b": "2"}
    assert made["metadata"]["annotations"] == {"note": "x=y"}
    assert made["spec"] == {
        "source": {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": "demo"},
        "tokenSecretRef": "secret-mine",
        "ttlDuration": "1h",
    }
    secret = fake.get(SECRETS, "team", "secret-mine")
    assert len(base64.b64decode(secret["data"]["token"])) == 20
    assert secret["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    _, err = await cluster.run("vmexport", "create", "mine", "--pvc", "c", code=1)
    assert err == "error: VirtualMachineExport 'team/mine' already exists\n"
    out, _ = await cluster.run("vmexport", "delete", "mine")
    assert out == "VirtualMachineExport 'team/mine' deleted succesfully\n"
    out, _ = await cluster.run("vmexport", "delete", "mine")
    assert out == "VirtualMachineExport 'team/mine' does not exist\n"


@pytest.mark.parametrize(("form", "unpacked"), [("gzip", False), ("raw", True)])
async def test_a_volume_is_downloaded_and_the_export_deleted(
    cluster: Commands,
    fake: FakeCluster,
    exporter: Exporter,
    tmp_path: Path,
    form: str,
    unpacked: bool,
) -> None:
    file = tmp_path / "disk"
    words = ("vmexport", "download", "mine", "--snapshot", "before", "--volume", "root")
    async with served(fake, exporter, outside(exporter)):
        out, _ = await cluster.run(*words, "--output", str(file), "--format", form)
    assert out.splitlines()[-2:] == [
        "Download finished succesfully",
        "VirtualMachineExport 'team/mine' deleted succesfully",
    ]
    found = file.read_bytes()
    assert (found if unpacked else gzip.decompress(found)) == DISK
    assert exporter.asked == ["/volumes/root/disk.img.gz"]
    assert fake.objects(EXPORTS) == {}


async def test_what_is_raw_is_not_unpacked(
    cluster: Commands, fake: FakeCluster, exporter: Exporter, tmp_path: Path
) -> None:
    file = tmp_path / "disk"
    words = ("vmexport", "download", "mine", "--pvc", "c", "--volume", "data", "--keep-vme")
    async with served(fake, exporter, outside(exporter, "raw")):
        await cluster.run(*words, "--output", str(file), "--format", "raw")
    assert file.read_bytes() == DISK
    assert ("team", "mine") in fake.objects(EXPORTS)


async def test_a_manifest_goes_to_standard_output(
    cluster: Commands, fake: FakeCluster, exporter: Exporter
) -> None:
    words = ("vmexport", "download", "mine", "--vm", "demo", "--manifest", "--include-secret")
    async with served(fake, exporter, outside(exporter)):
        out, err = await cluster.run(*words, "--manifest-output-format", "JSON")
    assert out == "all: application/json\nauth-header-secret: application/json\n"
    assert "created succesfully" in err
    assert ("team", "mine") in fake.objects(EXPORTS)


async def test_a_server_that_is_busy_is_asked_again(
    cluster: Commands, fake: FakeCluster, exporter: Exporter, tmp_path: Path
) -> None:
    exporter.busy = 2
    words = ("vmexport", "download", "mine", "--pvc", "c", "--volume", "root")
    words += ("--output", str(tmp_path / "disk"))
    async with served(fake, exporter, outside(exporter)):
        out, _ = await cluster.run(*words, "--retry", "2", "--keep-vme")
    assert out.count("Bad status: 503") == 2
    assert out.count("Retrying...") == 2
    exporter.cut = True
    _, err = await cluster.run("vmexport", "download", "mine", *words[5:], code=1)
    assert "broke off" in err or "bytes read" in err
    assert ("team", "mine") in fake.objects(EXPORTS)  # it was there before


async def test_a_certificate_of_somebody_elses_is_not_believed(
    cluster: Commands, fake: FakeCluster, exporter: Exporter, tmp_path: Path
) -> None:
    mine, exporter.ca = exporter.ca, trustme.CA()
    words = ("vmexport", "download", "mine", "--pvc", "c", "--volume", "root", "--keep-vme")
    words += ("--output", str(tmp_path / "disk"))
    async with served(fake, exporter, outside(exporter)):
        _, err = await cluster.run(*words, code=1)
    assert "--insecure believes any certificate" in err
    assert exporter.asked == []
    await cluster.run(*words, "--insecure")
    assert mine is not exporter.ca


async def test_a_service_may_be_reached_otherwise(
    cluster: Commands, fake: FakeCluster, exporter: Exporter, tmp_path: Path
) -> None:
    """By a NodePort, say: the internal links, at another address."""
    file = tmp_path / "disk"
    words = ("vmexport", "download", "mine", "--pvc", "c", "--volume", "root")
    inside = {"links": {"internal": exporter.links("virt-export-mine.team.svc", "gzip")}}
    async with served(fake, exporter, lambda: inside):
        at = f"127.0.0.1:{exporter.port}"
        await cluster.run(*words, "--output", str(file), "--service-url", at, "--format", "raw")
    assert file.read_bytes() == DISK


class Forwarding(FakeCluster):
    """Its kubelet forwards pods' ports to this machine's."""

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/portforward"):
            return await self._forward(request)
        return await super()._serve(request)

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        port = int(request.query["ports"])
        socket = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await socket.prepare(request)
        for channel in (0, 1):
            await socket.send_bytes(bytes((channel,)) + port.to_bytes(2, "little"))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def down() -> None:
            while data := await reader.read(65536):
                await socket.send_bytes(b"\x00" + data)
            await socket.close()

        task = asyncio.create_task(down())
        async for message in socket:
            assert message.data[0] == 0
            writer.write(message.data[1:])
            await writer.drain()
        writer.close()
        await task
        return socket


@pytest.fixture
async def fake(request: pytest.FixtureRequest) -> AsyncIterator[FakeCluster]:
    async with Forwarding() as found:
        yield found


def behind(fake: FakeCluster, exporter: Exporter) -> Callable[[], Json]:
    """A service and its pod, which no ingress leads to."""
    labels = {"kubevirt.io.virt-export-service": "mine"}
    fake.put(
        SERVICES,
        {
            "metadata": {"namespace": "team", "name": "virt-export-mine"},
            "spec": {"selector": labels, "ports": [{"port": 443, "targetPort": "https"}]},
        },
    )
    container = {"name": "exporter", "ports": [{"name": "https", "containerPort": exporter.port}]}
    fake.put(
        PODS,
        {
            "metadata": {"namespace": "team", "name": "virt-export-mine", "labels": labels},
            "spec": {"containers": [container]},
        },
    )
    links = exporter.links("virt-export-mine.team.svc", "raw", "gzip")
    return lambda: {"links": {"internal": links}, "serviceName": "virt-export-mine"}


async def test_no_ingress_is_needed(
    cluster: Commands, fake: FakeCluster, exporter: Exporter, tmp_path: Path
) -> None:
    file = tmp_path / "disk"
    words = ("vmexport", "download", "mine", "--vm", "demo", "--volume", "root", "--format=raw")
    async with served(fake, exporter, behind(fake, exporter)):
        await cluster.run(*words, "--output", str(file), "--port-forward")
    assert file.read_bytes() == DISK


async def test_a_memory_dump_is_downloaded(
    cluster: Commands, fake: FakeCluster, exporter: Exporter, tmp_path: Path
) -> None:
    file = tmp_path / "dump.gz"
    dump = {"claimName": "dumps", "phase": "Completed"}
    vm = {"metadata": {"namespace": "team", "name": "demo"}, "spec": {}}
    fake.put(VMS, vm)
    words = ("memory-dump", "download", "demo", "--output", str(file), "--port-forward")
    _, err = await cluster.run(*words, code=1)
    assert "VM demo has no memory dump" in err
    fake.put(VMS, {**vm, "status": {"memoryDumpRequest": dump}})
    status = behind(fake, exporter)

    def one() -> Json:
        found = status()
        found["links"]["internal"]["volumes"].pop()
        return found

    async with served(fake, exporter, one, "export-dumps"):
        await cluster.run(*words)
    assert gzip.decompress(file.read_bytes()) == DISK
    assert fake.objects(EXPORTS) == {}
    _, err = await cluster.run("memory-dump", "download", "demo", code=1)
    assert "--output FILE" in err
    _, err = await cluster.run("memory-dump", "remove", "demo", "--claim-name", "x", code=1)
    assert "remove takes no claim" in err


async def test_an_installation_without_exports_says_so_at_once(
    cluster: Commands, fake: FakeCluster, exporter: Exporter, tmp_path: Path
) -> None:
    conditions = [
        {
            "type": "Ready",
            "status": "False",
            "reason": "NotImplemented",
            "message": "this version acts on no VirtualMachineExport",
        }
    ]
    file = str(tmp_path / "disk")
    words = ("vmexport", "download", "mine", "--pvc", "c", "--output", file)
    async with served(fake, exporter, lambda: {"phase": None, "conditions": conditions}):
        _, err = await cluster.run(*words, code=1)
    assert "nothing serves exports here: this version acts on no" in err
    assert fake.objects(EXPORTS) == {}


async def test_it_waits_no_longer_than_told(
    cluster: Commands, fake: FakeCluster, tmp_path: Path
) -> None:
    words = ("vmexport", "download", "mine", "--output", str(tmp_path / "disk"))
    _, err = await cluster.run(*words, "--readiness-timeout", "100ms", code=1)
    assert "team/mine is not ready after 0.1 s: it is not there" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("create mine", "need to specify export kind"),
        ("create mine --vm a --output x", "'--output' flag is incompatible with 'create'"),
        ("create mine --vm a --ttl soon", "--ttl is a duration"),
        ("create mine --vm a --labels x", "--labels is KEY=VALUE"),
        ("create mine --vm a --pvc b", "not allowed with"),
        ("delete mine --vm a", "should not specify export kind"),
        ("delete mine --ttl 1h", "'--ttl' flag is incompatible with 'delete'"),
        ("download mine", "'--output FILE' saves"),
        ("download mine --output x --local-port 1", "--local-port goes with --port-forward"),
        ("download mine --output x --retry -1", "--retry is 0 or more"),
        ("download mine --pvc a --manifest", "'--pvc' flag is incompatible with '--manifest'"),
        ("download mine --output x --include-secret", "go with --manifest"),
        ("download mine --output x --keep-vme --delete-vme", "not allowed with"),
        ("download mine --output x --format bzip2", "--format"),
    ],
)
async def test_what_cannot_be_is_told(cluster: Commands, words: str, told: str) -> None:
    _, err = await cluster.run("vmexport", *words.split(), code=1)
    assert told in err
