"""A whole virt-api on 127.0.0.1: real TLS, certificates of a CA made for the test, a fake API
server behind it and a fake virt-handler beside it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import trustme
from aiohttp import web

from tests.kube.fake import FakeCluster
from virtpod.api.kubevirt import KubeVirtConfiguration
from virtpod.apiserver import frontproxy, tls
from virtpod.apiserver.app import Backend, application
from virtpod.apiserver.authorization import Question, Verdict
from virtpod.apiserver.call import Site
from virtpod.apiserver.metrics import Metrics
from virtpod.apiserver.nodes import Identity, KubeNodes, Pod
from virtpod.apiserver.objects import KubeObjects
from virtpod.apiserver.profiles import Components, KubeComponents
from virtpod.apiserver.routes import GROUP
from virtpod.domain.facts import Cluster
from virtpod.features.gates import resolve
from virtpod.kube.resources import VMIS, VMS
from virtpod.render import admit

Json = dict[str, Any]

HANDLER_NAME = "virt-handler.kubevirt.svc"


class Pki:
    """The CAs of cluster, front proxy and users, and files as the kubelet would mount them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cluster = trustme.CA()
        self.front = trustme.CA()
        self.users = trustme.CA()
        self.ca_file = folder / "ca-bundle"
        self.ca_file.write_bytes(self.cluster.cert_pem.bytes())
        self.serve("virt-api.kubevirt.svc", "localhost", "127.0.0.1")
        self.write(
            "kubevirt-virt-handler-certs",
            self.cluster.issue_cert(
                "virt-handler-client.invalid",
                common_name="kubevirt.io:system:client:virt-handler",
            ),
        )

    def serve(self, *names: str) -> None:
        """A new serving certificate for virt-api."""
        self.write("kubevirt-virt-api-certs", self.cluster.issue_cert(*names))

    def write(self, secret: str, certificate: trustme.LeafCert) -> None:
        place = self.folder / secret
        place.mkdir(exist_ok=True)
        key = certificate.private_key_pem.bytes()
        (place / "tls.key").write_bytes(key)
        chain = b"".join(each.bytes() for each in certificate.cert_chain_pems)
        (place / "tls.crt").write_bytes(chain)

    def front_proxy(self, **changes: Any) -> frontproxy.FrontProxy:
        known = {
            "ca": self.front.cert_pem.bytes().decode(),
            "allowed_names": ("front-proxy-client",),
        }
        return frontproxy.FrontProxy(**{**known, **changes})

    def caller(self, name: str | None = "front-proxy-client", ca: trustme.CA | None = None) -> Any:
        """A client's TLS context; `name` None brings no certificate."""
        context = ssl.create_default_context()
        self.cluster.configure_trust(context)
        if name is not None:
            issued = (ca or self.front).issue_cert("client.invalid", common_name=name)
            issued.configure_cert(context)
        return context


@dataclass
class Handler:
    """A fake virt-handler: records, answers, echoes."""

    refuse: web.Response | None = None
    puts: list[tuple[str, bytes]] = field(default_factory=list)
    gets: list[str] = field(default_factory=list)
    streams: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    client_names: list[str] = field(default_factory=list)
    talk: Callable[[web.WebSocketResponse], Any] | None = None
    ended: asyncio.Queue[int | None] = field(default_factory=asyncio.Queue)
    """Close codes of the streams that are over."""

    def _seen(self, request: web.Request) -> str:
        assert request.transport is not None
        peer = request.transport.get_extra_info("peercert")
        names = [value for part in peer["subject"] for key, value in part if key == "commonName"]
        self.client_names += names
        return request.path

    async def put(self, request: web.Request) -> web.Response:
        self.puts.append((self._seen(request), await request.read()))
        return self.refuse or web.Response()

    async def get(self, request: web.Request) -> web.Response:
        self.gets.append(self._seen(request))
        return self.refuse or web.json_response({"items": []})

    async def picture(self, request: web.Request) -> web.Response:
        self.streams.append((self._seen(request), dict(request.query)))
        return web.Response(body=b"a picture", content_type="image/png")

    async def stream(self, request: web.Request) -> web.StreamResponse:
        self.streams.append((self._seen(request), dict(request.query)))
        if self.refuse is not None:
            return self.refuse
        socket = web.WebSocketResponse(protocols=("plain.kubevirt.io",))
        await socket.prepare(request)
        if self.talk is not None:
            await self.talk(socket)
        else:
            async for message in socket:
                await socket.send_bytes(b"echo:" + message.data)
        self.ended.put_nowait(socket.close_code)
        return socket

    @asynccontextmanager
    async def running(self, pki: Pki, name: str = HANDLER_NAME) -> AsyncIterator[int]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pki.cluster.issue_cert(name).configure_cert(context)
        pki.cluster.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        app = web.Application()
        app.router.add_put("/{path:.*}", self.put)
        app.router.add_get("/{path:.*}/{what:guestosinfo|userlist|filesystemlist}", self.get)
        app.router.add_get("/{path:.*}/sev/{what}", self.get)
        app.router.add_get("/{path:.*}/screenshot", self.picture)
        app.router.add_get("/{path:.*}", self.stream)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        try:
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()


@dataclass
class Running:
    """A running virt-api and what is around it."""

    url: str
    pki: Pki
    fake: FakeCluster
    handler: Handler
    questions: list[Question] = field(default_factory=list)
    verdict: Verdict = field(default_factory=lambda: Verdict(True))
    config: KubeVirtConfiguration = field(default_factory=KubeVirtConfiguration)
    components: Components | None = None
    guestfs_image: str = ""
    gates: frozenset[str] = resolve(KubeVirtConfiguration())
    front_proxy: frontproxy.FrontProxy = field(default_factory=frontproxy.FrontProxy)

    def path(self, kind: str, name: str, subresource: str, version: str = "v1") -> str:
        return f"{self.url}/apis/{GROUP}/{version}/namespaces/default/{kind}/{name}/{subresource}"

    @asynccontextmanager
    async def session(
        self, context: Any = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientSession]:
        """A client as the front proxy is one, speaking for alice."""
        connector = aiohttp.TCPConnector(ssl=context or self.pki.caller())
        speaking = {"X-Remote-User": "alice"} if headers is None else headers
        async with aiohttp.ClientSession(connector=connector, headers=speaking) as session:
            yield session

    async def put(self, url: str, body: bytes = b"") -> tuple[int, Any]:
        async with self.session() as session, session.put(url, data=body) as reply:
            return reply.status, await reply.json() if await reply.read() else None


@asynccontextmanager
async def running(
    folder: Path,
    handler: Handler | None = None,
    handler_name: str = HANDLER_NAME,
    components: Components | None = None,
) -> AsyncIterator[Running]:
    """Everything up."""
    pki = Pki(folder)
    handler = handler or Handler()
    async with (
        FakeCluster() as fake,
        fake.client("virt-api") as client,
        handler.running(pki, handler_name) as port,
    ):
        around = Running("", pki, fake, handler, front_proxy=pki.front_proxy())
        around.components = components

        async def authorize(question: Question) -> Verdict:
            around.questions.append(question)
            return around.verdict

        identity = Identity(folder / "kubevirt-virt-handler-certs", pki.ca_file, HANDLER_NAME)
        objects = KubeObjects(client)
        backend = Backend(
            cluster=lambda: Cluster(launcher_image="virt-launcher:test", config=around.config),
            front_proxy=lambda: around.front_proxy,
            authorize=authorize,
            rules=admit,
            site=Site(
                objects=objects,
                nodes=KubeNodes(lambda node: [Pod(node, "127.0.0.1", True)], identity, port),
                cluster=lambda: Cluster(gates=around.gates),
            ),
            metrics=Metrics(),
            evictions=objects,
            reads=objects,
            components=around.components or KubeComponents(client, "kubevirt", identity),
            guestfs_image=lambda: around.guestfs_image,
        )
        context = tls.serving(folder / "kubevirt-virt-api-certs", lambda: around.front_proxy.ca)
        runner = web.AppRunner(application(backend), access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        around.url = f"https://localhost:{runner.addresses[0][1]}"
        try:
            yield around
        finally:
            await runner.cleanup()


def vm(name: str = "demo", strategy: str = "Always", **status: Any) -> Json:
    """A VirtualMachine as it is stored."""
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"namespace": "default", "name": name},
        "spec": {
            "runStrategy": strategy,
            "template": {"spec": {"domain": {"devices": {}}, "terminationGracePeriodSeconds": 30}},
        },
        "status": status,
    }


def vmi(name: str = "demo", phase: str = "Running", **status: Any) -> Json:
    """A VirtualMachineInstance as it is stored."""
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"namespace": "default", "name": name},
        "spec": {"domain": {"devices": {}}, "terminationGracePeriodSeconds": 30},
        "status": {"phase": phase, "nodeName": "node-1", **status},
    }


def put_vm(around: Running, **given: Any) -> Json:
    stored: Json = around.fake.put(VMS, vm(**given))
    return stored


def put_vmi(around: Running, **given: Any) -> Json:
    stored: Json = around.fake.put(VMIS, vmi(**given))
    return stored
