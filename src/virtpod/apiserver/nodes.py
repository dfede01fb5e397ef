"""virt-api's way to the virt-handlers: who they are, and mutual TLS with them.

A node's virt-handler is found by its pod, dialled by the pod's address, and believed only when
its certificate bears virt-handler's name: another component's certificate of the same CA does
not do (CVE-2025-64434). Our certificate is read for each connection, so a rotated one is used
at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from aiohttp import ClientWebSocketResponse, WSMsgType

from virtpod.api.vmi import VirtualMachineInstance
from virtpod.apiserver.call import NO_QUERY, VMI, Stream
from virtpod.apiserver.status import Refusal, bad_request, conflict
from virtpod.apiserver.tls import pair
from virtpod.kube.client import Client
from virtpod.kube.config import Config
from virtpod.kube.errors import ApiError

PROTOCOL = "plain.kubevirt.io"
TIMEOUT = 15.0
"""Seconds for a plain request, and for a stream to be opened."""


class Pod(msgspec.Struct, frozen=True):
    """What is kept of a virt-handler's pod."""

    node: str
    address: str
    ready: bool

    @staticmethod
    def project(raw: bytes) -> Pod:
        """From the pod's JSON."""
        pod = msgspec.json.decode(raw, type=_Pod)
        ready = any(
            each.type == "Ready" and each.status == "True" for each in pod.status.conditions
        )
        leaving = pod.metadata.deletion_timestamp is not None
        return Pod(pod.spec.node_name, pod.status.pod_ip, ready and not leaving)


class _Wire(msgspec.Struct, rename="camel"):
    pass


class _Condition(_Wire):
    type: str
    status: str


class _Metadata(_Wire):
    deletion_timestamp: str | None = None


class _Spec(_Wire):
    node_name: str = ""


class _Status(_Wire):
    pod_ip: str = msgspec.field(default="", name="podIP")
    conditions: list[_Condition] = []


class _Pod(_Wire):
    metadata: _Metadata
    spec: _Spec
    status: _Status


@dataclass(frozen=True)
class Identity:
    """Our files towards virt-handler, and the name that its certificate must have."""

    folder: Path
    """Of the mounted secret kubevirt-virt-handler-certs."""
    ca: Path
    handler_name: str


class KubeNodes:
    """`call.Nodes`: `pods` gives the virt-handler pods known on a node."""

    def __init__(
        self, pods: Callable[[str], list[Pod]], identity: Identity, port: int = 8186
    ) -> None:
        self._pods = pods
        self._identity = identity
        self._port = port

    async def put(
        self,
        vmi: VirtualMachineInstance,
        subresource: str,
        body: bytes,
        within: float | None = None,
    ) -> None:
        await self._request(vmi, "PUT", subresource, body, within or TIMEOUT)

    async def get(
        self, vmi: VirtualMachineInstance, subresource: str, query: Mapping[str, str] = NO_QUERY
    ) -> bytes:
        return await self._request(vmi, "GET", subresource + _encoded(query), None, TIMEOUT)

    async def _request(
        self,
        vmi: VirtualMachineInstance,
        method: str,
        subresource: str,
        body: bytes | None,
        within: float,
    ) -> bytes:
        async with self._client(vmi) as client:
            try:
                path = _path(vmi, subresource)
                reply = await client.request(method, path, body=body, timeout=within)
            except ApiError as error:
                raise _refusal(error) from error
            return reply.body

    async def stream(
        self, vmi: VirtualMachineInstance, subresource: str, query: Mapping[str, str]
    ) -> Stream:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(self._client(vmi))
            path = _path(vmi, subresource) + _encoded(query)
            try:
                socket = await stack.enter_async_context(
                    client.websocket(path, protocols=(PROTOCOL,))
                )
            except ApiError as error:
                raise _refusal(error) from error
            return _Stream(socket, stack.pop_all())

    @asynccontextmanager
    async def _client(self, vmi: VirtualMachineInstance) -> AsyncIterator[Client]:
        server = f"https://{self._address(vmi)}:{self._port}"
        certificate, key = pair(self._identity.folder)
        config = Config(
            server=server,
            ca_data=self._identity.ca.read_text(),
            certificate=certificate.read_text(),
            key=key.read_text(),
            server_name=self._identity.handler_name,
        )
        async with Client(config, component="virt-api") as client:
            yield client

    def _address(self, vmi: VirtualMachineInstance) -> str:
        phase, node = vmi.status.phase or "", vmi.status.node_name or ""
        if phase not in ("Running", "Scheduled"):
            raise bad_request(
                f"Unable to connect to VirtualMachineInstance because phase is {phase} "
                "instead of Running or Scheduled"
            )
        found = [pod for pod in self._pods(node) if pod.address]
        if not found:
            raise conflict(
                VMI, vmi.metadata.name or "", f"virt-handler is not running on node {node}"
            )
        # While one is replaced there are two: the ready one answers.
        address = max(found, key=lambda pod: pod.ready).address
        return f"[{address}]" if ":" in address else address


def _path(vmi: VirtualMachineInstance, subresource: str) -> str:
    where = f"/v1/namespaces/{vmi.metadata.namespace}/virtualmachineinstances/{vmi.metadata.name}"
    return f"{where}/{subresource}"


def _encoded(query: Mapping[str, str]) -> str:
    # Ours are plain words: nothing of a user's gets here.
    return "?" + "&".join(f"{key}={value}" for key, value in query.items()) if query else ""


def _refusal(error: ApiError) -> Refusal:
    if error.status == 0:
        return Refusal(500, f"virt-handler cannot be reached: {error.message}")
    # 401 and 403 here are about us, not about the user.
    if error.status in (401, 403) and error.reason in ("Unauthorized", ""):
        return Refusal(500, f"virt-handler refused virt-api: {error.message}")
    return Refusal(error.status, error.message, dict(error.details) or None)


class _Stream:
    """`call.Stream` on a websocket; closing it closes its client as well."""

    def __init__(self, socket: ClientWebSocketResponse, stack: AsyncExitStack) -> None:
        self._socket = socket
        self._stack = stack

    async def receive(self) -> bytes | None:
        async for message in self._socket:
            if message.type is WSMsgType.BINARY:
                return bytes(message.data)
        return None

    async def send(self, data: bytes) -> None:
        await self._socket.send_bytes(data)

    async def close(self) -> None:
        await self._stack.aclose()
