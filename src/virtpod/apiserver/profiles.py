"""Profiles of all components at once: who there is, and what each is asked.

The components answer virt-api alone, by its client certificate; virt-api asks them for users whom
the cluster's rules allow it, and only while the KubeVirt object says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from aiohttp import web

from virtpod.apiserver.nodes import Identity
from virtpod.apiserver.status import Refusal, bad_request, json
from virtpod.apiserver.tls import pair
from virtpod.domain.facts import Cluster
from virtpod.kube.client import Client
from virtpod.kube.config import Config
from virtpod.kube.errors import ApiError
from virtpod.kube.resources import PODS, Obj

PORTS = {"virt-api": 8444, "virt-controller": 8443, "virt-handler": 8443, "virt-operator": 8443}
"""By component: where its profiler listens. virt-api's own port is for users."""
WITHIN = 20.0
PAGE = 10
BODY_LIMIT = 64 * 1024
LARGEST = 16 * 1024 * 1024
"""Bytes that one component's profile may have."""


@dataclass(frozen=True)
class Member:
    """A pod of a component."""

    name: str
    component: str
    address: str


class Request(msgspec.Struct, rename="camel"):
    """ClusterProfilerRequest, which comes with a dump."""

    label_selector: str = ""
    """Which pods' profiles; all of the components' without."""
    continue_: str = msgspec.field(default="", name="continue")
    """What the last answer said to go on with."""
    page_size: int = PAGE
    """Pods in one answer."""


class Components(Protocol):
    async def members(self, selector: str) -> Sequence[Member]:
        """The pods that can be asked, by name."""

    async def ask(self, member: Member, what: str) -> dict[str, Any]:
        """Raises ApiError."""


class KubeComponents:
    """`Components` on a real cluster."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        identity: Identity,
        ports: Mapping[str, int] = PORTS,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._identity = identity
        self._ports = ports

    async def members(self, selector: str) -> list[Member]:
        names = f"kubevirt.io in ({','.join(PORTS)})"
        labels = f"{names},{selector}" if selector else names
        pods = (await self._client.list(PODS, namespace=self._namespace, labels=labels)).items
        return sorted(filter(None, map(_member, pods)), key=lambda member: member.name)

    async def ask(self, member: Member, what: str) -> dict[str, Any]:
        certificate, key = pair(self._identity.folder)
        host = f"[{member.address}]" if ":" in member.address else member.address
        config = Config(
            server=f"https://{host}:{self._ports[member.component]}",
            ca_data=self._identity.ca.read_text(),
            certificate=certificate.read_text(),
            key=key.read_text(),
            server_name=f"{member.component}.{self._namespace}.svc",
        )
        async with Client(config, component="virt-api") as client:
            reply = await client.request("GET", what, timeout=WITHIN)
        if len(reply.body) > LARGEST:
            raise ApiError(413, "RequestEntityTooLarge", "the profile is too large")
        told: dict[str, Any] = msgspec.json.decode(reply.body)
        return told


def _member(pod: Obj) -> Member | None:
    metadata, status = pod["metadata"], pod.get("status") or {}
    component = (metadata.get("labels") or {}).get("kubevirt.io")
    address = status.get("podIP")
    if component not in PORTS or not address or metadata.get("deletionTimestamp"):
        return None
    return Member(metadata["name"], component, address)


async def start(request: web.Request, cluster: Cluster, components: Components) -> web.Response:
    """Begins anew in every component; `memory=true` has them count memory as well."""
    _allowed(cluster)
    memory = "?memory=true" if request.query.get("memory") == "true" else ""
    return await _all(components, f"/start-profiler{memory}")


async def stop(request: web.Request, cluster: Cluster, components: Components) -> web.Response:
    _allowed(cluster)
    return await _all(components, "/stop-profiler")


async def dump(request: web.Request, cluster: Cluster, components: Components) -> web.Response:
    """ClusterProfilerResults: a page of pods, each with its files, base64."""
    _allowed(cluster)
    asked = await _asked(request)
    members = await components.members(asked.label_selector)
    rest = [each for each in members if each.name > asked.continue_]
    page = rest[: asked.page_size]
    answers = await _ask(components, page, "/dump-profiler")
    told: dict[str, Any] = {"componentResults": answers}
    if len(rest) > len(page):
        told["continue"] = page[-1].name
    return json(told)


async def _asked(request: web.Request) -> Request:
    body = await request.content.read(BODY_LIMIT)
    try:
        asked = msgspec.json.decode(body.strip() or b"{}", type=Request)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(f"the body is not a ClusterProfilerRequest: {error}") from error
    if not 1 <= asked.page_size <= 100:
        raise bad_request("pageSize must be from 1 to 100")
    return asked


async def _all(components: Components, what: str) -> web.Response:
    await _ask(components, await components.members(""), what)
    return web.Response(status=200)


async def _ask(
    components: Components, members: Sequence[Member], what: str
) -> Mapping[str, dict[str, Any]]:
    """Raises Refusal with the first that does not answer, by its name."""

    async def one(member: Member) -> dict[str, Any]:
        try:
            return await components.ask(member, what)
        except (ApiError, msgspec.DecodeError) as error:
            raise Refusal(500, f"{member.name} did not answer: {error}") from error

    answers = await asyncio.gather(*(one(member) for member in members))
    return {member.name: answer for member, answer in zip(members, answers, strict=True)}


def _allowed(cluster: Cluster) -> None:
    developer = cluster.config.developer_configuration
    if not (developer and developer.cluster_profiler):
        raise Refusal(
            403,
            "the cluster profiler is off: set "
            "spec.configuration.developerConfiguration.clusterProfiler of the KubeVirt object",
        )
