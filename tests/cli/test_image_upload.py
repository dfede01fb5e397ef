"""virtctl image-upload: the volume, CDI's token, and the bytes to a server with TLS of its own."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from tests.cli.conftest import Commands
from tests.kube.fake import FakeCluster
from virtpod.cli import _upload as upload
from virtpod.cli import image_upload
from virtpod.kube.resources import DATA_SOURCES, DATA_VOLUMES, PVCS, Resource

Json = dict[str, Any]

IMAGE = bytes(range(256)) * 8192
GROUP = "instancetype.kubevirt.io/default-"
TOKEN = "let-me-in"


@dataclass
class Proxy:
    """As cdi-uploadproxy answers."""

    url: str = ""
    old: bool = False
    busy: int = 0
    status: int = 200
    received: list[tuple[str, bytes]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        if self.old and "async" in request.path:
            return web.Response(status=404)
        if request.method == "HEAD":
            return web.Response()
        body = await request.read()
        if request.headers["Authorization"] != f"Bearer {TOKEN}":
            return web.Response(status=401)
        if self.busy:
            self.busy -= 1
            return web.Response(status=503, text="not now")
        if self.status == 200:
            self.received.append((request.path, body))
        return web.Response(status=self.status, text="as it is")


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    found = Proxy()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{path:.*}", found.answer)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    found.url = f"127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield found
    finally:
        await runner.cleanup()


class Importer(FakeCluster):
    """With CDI, which tells the address of its proxy."""

    proxy = ""

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/cdiconfigs/config") and self.proxy:
            return web.json_response({"status": {"uploadProxyURL": self.proxy}})
        if request.path.endswith("/uploadtokenrequests"):
            asked = await request.json()
            assert asked["spec"] == {"pvcName": "debian"}
            return web.json_response({**asked, "status": {"token": TOKEN}})
        return await super()._serve(request)


@pytest.fixture
async def fake(proxy: Proxy) -> AsyncIterator[FakeCluster]:
    async with Importer() as found:
        found.proxy = proxy.url
        yield found


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (upload, image_upload):
        monkeypatch.setattr(module, "PERIOD", 0.02)


@pytest.fixture
def image(tmp_path: Path) -> str:
    path = tmp_path / "disk.img"
    path.write_bytes(IMAGE)
    return str(path)


async def there(fake: FakeCluster, resource: Resource) -> Json:
    for _ in range(3000):
        if found := fake.objects(resource).get(("team", "debian")):  # type: ignore[call-overload]
            return dict(found)
        await asyncio.sleep(0.01)
    raise AssertionError(f"no {resource.kind}")


@asynccontextmanager
async def served(fake: FakeCluster, proxy: Proxy, resource: Resource) -> AsyncIterator[None]:
    """Plays CDI: a server for what appears, and an image that is unpacked once it is there."""

    async def control() -> None:
        found = await there(fake, resource)
        if resource == DATA_VOLUMES:
            fake.put(resource, {**found, "status": {"phase": "UploadReady"}})
        else:
            note(fake, found, "ready", "true")
        for _ in range(3000):
            if proxy.received:
                break
            await asyncio.sleep(0.01)
        if resource == DATA_VOLUMES:
            fake.put(resource, {**found, "status": {"phase": "Succeeded"}})
        else:
            note(fake, found, "phase", "Succeeded")

    task = asyncio.create_task(control())
    try:
        yield
    finally:
        task.cancel()


def note(fake: FakeCluster, claim: Json, name: str, value: str) -> None:
    notes = {**claim["metadata"].get("annotations", {}), image_upload.ANNOTATIONS[name]: value}
    fake.put(PVCS, {**claim, "metadata": {**claim["metadata"], "annotations": notes}})


async def test_a_data_volume_gets_its_image(
    cluster: Commands, fake: FakeCluster, proxy: Proxy, image: str
) -> None:
    proxy.busy = 1
    flags = ("--size", "1Gi", "--storage-class", "fast", "--access-mode", "ReadWriteMany")
    flags += ("--volume-mode", "block", "--force-bind", "--datasource")
    flags += ("--default-instancetype", "u1.small", "--default-preference", "debian")
    async with served(fake, proxy, DATA_VOLUMES):
        out, err = await cluster.run(
            *("image-upload", "dv", "debian", "--image-path", image, "--insecure"), *flags
        )
    assert out.splitlines() == [
        "DataVolume team/debian created",
        "Waiting for DataVolume debian upload pod to be ready...",
        "Pod now ready",
        f"Uploading data to https://{proxy.url}",
        "Uploading data completed successfully, waiting for processing to complete",
        "DataSource team/debian created",
        f"Uploading {image} completed successfully",
    ]
    assert "the server answered 503" in err
    assert proxy.received == [("/v1beta1/upload-async", IMAGE)]
    made = fake.get(DATA_VOLUMES, "team", "debian")
    labels = {f"{GROUP}instancetype": "u1.small", f"{GROUP}preference": "debian"}
    assert made["metadata"]["labels"] == labels
    assert made["metadata"]["annotations"] == {image_upload.ANNOTATIONS["bind"]: ""}
    assert made["spec"] == {
        "source": {"upload": {}},
        "contentType": "kubevirt",
        "storage": {
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "fast",
            "accessModes": ["ReadWriteMany"],
            "volumeMode": "Block",
        },
    }
    source = fake.get(DATA_SOURCES, "team", "debian")
    assert source["metadata"]["labels"] == labels
    assert source["spec"] == {"source": {"pvc": {"namespace": "team", "name": "debian"}}}


async def test_an_archive_goes_into_a_claim_by_an_old_server(
    cluster: Commands, fake: FakeCluster, proxy: Proxy, image: str
) -> None:
    proxy.old = True
    words = ("image-upload", "pvc", "debian", "--size=1Gi", "--archive-path", image, "--insecure")
    async with served(fake, proxy, PVCS):
        await cluster.run(*words, "--uploadproxy-url", f"https://{proxy.url}/")
    assert proxy.received == [("/v1beta1/upload", IMAGE)]
    notes = fake.get(PVCS, "team", "debian")["metadata"]["annotations"]
    assert notes[image_upload.ANNOTATIONS["target"]] == ""
    assert notes[image_upload.ANNOTATIONS["content"]] == "archive"


async def test_a_volume_that_is_there_is_used_if_it_waits(
    cluster: Commands, fake: FakeCluster, proxy: Proxy, image: str
) -> None:
    words = ("image-upload", "debian", "--image-path", image, "--insecure")
    _, err = await cluster.run(*words, "--no-create", code=1)
    assert "there is no DataVolume team/debian" in err
    volume = {"metadata": {"namespace": "team", "name": "debian"}, "spec": {"source": {}}}
    fake.put(DATA_VOLUMES, volume)
    _, err = await cluster.run(*words, "--no-create", code=1)
    assert "is not one for uploads" in err
    _, err = await cluster.run(*words, "--size", "1Gi", code=1)
    assert "is there already: --no-create uses it" in err
    fake.put(DATA_VOLUMES, {**volume, "spec": {"source": {"upload": {}}}})
    async with served(fake, proxy, DATA_VOLUMES):
        out, _ = await cluster.run(*words, "--no-create")
    assert out.startswith("Using existing DataVolume team/debian\n")
    _, err = await cluster.run(*words, "--no-create", code=1)
    assert "has its image already" in err


async def test_what_the_server_refuses_is_told(
    cluster: Commands, fake: FakeCluster, proxy: Proxy, image: str
) -> None:
    proxy.status = 400
    words = ("image-upload", "debian", "--image-path", image, "--size", "1Gi")
    async with served(fake, proxy, DATA_VOLUMES):
        _, err = await cluster.run(*words, "--insecure", code=1)
    assert "the server answered 400 Bad Request: as it is" in err
    _, err = await cluster.run(*words[:4], "--no-create", "--wait-secs", "5", code=1)
    assert "--insecure believes any certificate" in err


async def test_without_cdi_it_says_so(
    cluster: Commands, fake: Importer, proxy: Proxy, image: str
) -> None:
    fake.proxy = ""
    words = ("image-upload", "debian", "--image-path", image, "--size", "1Gi")
    _, err = await cluster.run(*words, code=1)
    assert "CDI is not installed" in err
    assert fake.objects(DATA_VOLUMES) == {}
    _, err = await cluster.run(*words, "--uploadproxy-url", proxy.url, "--wait-secs", "1", code=1)
    assert "no server for the upload came up within 1 s" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("debian --size 1Gi", "--image-path"),
        ("debian --image-path {} --archive-path {} --size 1Gi", "not allowed with"),
        ("debian --image-path /nonexistent --size 1Gi", "/nonexistent is not there"),
        ("debian --image-path {}", "--size says how large"),
        ("debian --image-path {} --size large", "--size is a quantity"),
        ("debian --image-path {} --size 1Gi --no-create", "--size is that of"),
        ("vm debian --image-path {} --size 1Gi", "wants dv NAME or pvc NAME"),
        ("pvc debian --image-path {} --size 1Gi --datasource", "--datasource goes with dv"),
        ("debian --archive-path {} --size 1Gi --volume-mode block", "is for files"),
        ("debian --image-path {} --size 1Gi --default-preference-kind a", "goes with"),
        ("debian --image-path {} --size 1Gi --retry -1", "--retry is 0 or more"),
    ],
)
async def test_what_cannot_be_is_told(cluster: Commands, image: str, words: str, told: str) -> None:
    _, err = await cluster.run("image-upload", *words.format(image, image).split(), code=1)
    assert told in err
