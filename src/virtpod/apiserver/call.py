"""What a subresource's handler is given, and the ways it has to the cluster.

`Objects` and `Nodes` are protocols so that a handler's tests need neither a cluster nor a node.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec
from aiohttp import web

from virtpod.api.vm import VirtualMachine
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.apiserver.status import bad_request, conflict, not_found
from virtpod.domain.facts import Cluster
from virtpod.kube.resources import Key, Obj, Resource

VM = "virtualmachine"
VMI = "virtualmachineinstance"

BODY_LIMIT = 64 * 1024
"""Bytes of options that a subresource takes."""

NO_QUERY: Mapping[str, str] = {}

T = TypeVar("T")


class Objects(Protocol):
    """VMs and VMIs, read from the API server at each call. Patches are merge patches; with a
    resourceVersion in them they fail with `Outdated` when the object has changed."""

    async def vm(self, namespace: str, name: str) -> VirtualMachine | None: ...
    async def vmi(self, namespace: str, name: str) -> VirtualMachineInstance | None: ...
    async def patch_vm(
        self, namespace: str, name: str, patch: Mapping[str, Any], *, dry_run: bool
    ) -> None: ...
    async def patch_vm_status(
        self, namespace: str, name: str, patch: Mapping[str, Any], *, dry_run: bool
    ) -> None: ...
    async def patch_vmi(
        self, namespace: str, name: str, patch: Mapping[str, Any], *, dry_run: bool
    ) -> None: ...
    async def read(self, resource: Resource, key: Key) -> Obj | None: ...
    async def taints(self, node: str) -> Collection[str]: ...
    async def migrate(
        self, namespace: str, name: str, selector: Mapping[str, str], *, dry_run: bool
    ) -> None: ...


class Outdated(Exception):
    """The object has changed since it was read: read it again and decide again."""


class Stream(Protocol):
    """A websocket to a node, data in binary messages."""

    async def receive(self) -> bytes | None:
        """The next message; None at the end."""

    async def send(self, data: bytes) -> None:
        """Returns when the peer keeps up."""

    async def close(self) -> None: ...


class Nodes(Protocol):
    """The virt-handlers."""

    async def put(
        self,
        vmi: VirtualMachineInstance,
        subresource: str,
        body: bytes,
        within: float | None = None,
    ) -> None:
        """Has the VMI's node do something, within so many seconds where that is much. Raises
        Refusal with the node's own words."""

    async def get(
        self, vmi: VirtualMachineInstance, subresource: str, query: Mapping[str, str] = NO_QUERY
    ) -> bytes:
        """Asks the VMI's node for JSON, or a picture. Raises Refusal with the node's own words."""

    async def stream(
        self, vmi: VirtualMachineInstance, subresource: str, query: Mapping[str, str]
    ) -> Stream:
        """Opens a stream to the VMI's node. Raises Refusal."""


@dataclass(frozen=True)
class Site:
    """The ways to the cluster."""

    objects: Objects
    nodes: Nodes
    cluster: Callable[[], Cluster]
    """What the KubeVirt object says now."""


@dataclass(frozen=True)
class Call:
    """One authorised request for one object."""

    site: Site
    request: web.Request
    namespace: str
    name: str

    async def vm(self) -> VirtualMachine:
        """Raises Refusal (404)."""
        vm = await self.site.objects.vm(self.namespace, self.name)
        if vm is None:
            raise not_found(VM, self.name)
        return vm

    async def vmi(self) -> VirtualMachineInstance:
        """Raises Refusal (404)."""
        vmi = await self.site.objects.vmi(self.namespace, self.name)
        if vmi is None:
            raise not_found(VMI, self.name)
        return vmi

    async def options(self, kind: type[T]) -> T:
        """The body, which may be absent, JSON or YAML. Raises Refusal (400)."""
        body = await self.body()
        try:
            return msgspec.convert(_loaded(body), type=kind)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            message = f"Can not unmarshal Request body to struct, error: {error}"
            raise bad_request(message) from error

    async def body(self, limit: int = BODY_LIMIT) -> bytes:
        """As it was sent. Raises Refusal (400) where it is longer than so many bytes."""
        body = await self.request.content.read(limit + 1)
        while len(body) <= limit and (more := await self.request.content.read(limit)):
            body += more
        if len(body) > limit:
            raise bad_request(f"the body is larger than {limit} bytes")
        return body

    def done(self, code: int) -> web.Response:
        """Success, nothing to say."""
        return web.Response(status=code)

    def vm_conflict(self, message: str) -> Exception:
        return conflict(VM, self.name, message)

    def vmi_conflict(self, message: str) -> Exception:
        return conflict(VMI, self.name, message)


def _loaded(body: bytes) -> Any:
    text = body.strip()
    if not text:
        return {}
    if text[:1] == b"{":
        return msgspec.json.decode(text)
    import yaml  # rare enough: clients send JSON

    try:
        return yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
