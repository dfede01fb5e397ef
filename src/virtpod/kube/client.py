"""The API server's client: a dozen verbs over one HTTP session.

Objects are plain dicts, or a msgspec Struct where the caller says `decode=`. The generated clients
are not used: they take seconds to import and tens of seconds to list thousands of objects.

What may be repeated is repeated here, a few times with jitter: every verb that does the same twice,
and any request that surely did not arrive. A `create` whose answer is lost is not: its caller finds
out by name.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

import asyncio
import copy
import random
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, Literal, Self, TypeVar, overload

import aiohttp
import msgspec

from virtpod.kube import errors
from virtpod.kube.config import Config
from virtpod.kube.limiter import Limiter
from virtpod.kube.resources import Key, Obj, Resource

T = TypeVar("T")
_Items = list[Any]  # `Client.list` hides the name
AnyKey = Key | tuple[str, str]

ATTEMPTS = 5
FIRST_PAUSE = 0.1  # seconds, doubled each time, times 0.5 to 1.5
LONGEST_PAUSE = 5.0
ANSWER_WITHIN = 30.0  # seconds for a request that is not a stream
WATCH_LASTS = 300  # seconds, up to twice as long, so that watches do not all end together
SILENCE = 150.0  # seconds without even a bookmark (one a minute): the connection is dead

CONTENT_TYPE = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
REPEATABLE = frozenset({429, 500, 502, 503, 504})
WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Observation:
    """One finished request, for metrics. `code` is 0 where no answer came."""

    method: str
    verb: str
    path: str
    resource: str
    host: str
    code: int
    seconds: float
    held: float = 0.0
    """Seconds that our own limit held it back before."""


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


@dataclass(frozen=True)
class Listed(Generic[T]):
    items: list[T]
    resource_version: str


@dataclass(frozen=True)
class WatchEvent:
    """`raw` is the object's own bytes, so that a caller decodes only what it wants."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    raw: bytes

    @property
    def object(self) -> Obj:
        decoded: Obj = msgspec.json.decode(self.raw)
        return decoded


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _Page(msgspec.Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


class _Line(msgspec.Struct):
    type: str
    object: msgspec.Raw


_page = msgspec.json.Decoder(_Page)
_line = msgspec.json.Decoder(_Line)


_ESCAPES = {
    b"<": b"\\u003c",
    b">": b"\\u003e",
    b"&": b"\\u0026",
    "\u2028".encode(): b"\\u2028",
    "\u2029".encode(): b"\\u2029",
}


def lingers(left: Mapping[str, Any]) -> bool:
    """Whether what `Client.delete` answered with is still there: finalizers or a grace period. A
    namespace has its finalizers in its spec."""
    if left.get("kind") == "Status":
        return False
    metadata, spec = left["metadata"], left.get("spec") or {}
    held = metadata.get("finalizers") or spec.get("finalizers")
    return bool(held or metadata.get("deletionGracePeriodSeconds"))


def encoded(body: Any) -> bytes:
    """JSON with those characters escaped that Go escapes.

    The API server compares the texts in a JSON patch's `test` byte by byte with its own encoding
    of the object: an `&` in an image's URL would never equal itself.
    """
    raw = msgspec.json.encode(body)
    for character, escape in _ESCAPES.items():
        raw = raw.replace(character, escape)
    return raw


class Client:
    """`async with Client(Config.load(), component="virt-controller") as client: ...`

    `component` is the User-Agent, by which an audit log tells our processes apart, and the field
    manager of what it writes.
    """

    def __init__(
        self,
        config: Config,
        component: str,
        on_warning: Callable[[str], None] | None = None,
        observe: Callable[[Observation], None] | None = None,
    ) -> None:
        self.config = config
        self.component = component
        self.on_warning = on_warning
        self.observe = observe
        self.limiter = Limiter()
        self._session: aiohttp.ClientSession | None = None
        self._check: Callable[[], None] | None = None

    async def __aenter__(self) -> Self:
        tls = self.config.tls()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=tls if tls is not None else True, limit=0, keepalive_timeout=60
            ),
            headers={
                "User-Agent": self.component,
                "Accept": "application/json",
                # Compressing costs the API server more than our network gains.
                "Accept-Encoding": "identity",
            },
            timeout=aiohttp.ClientTimeout(total=ANSWER_WITHIN, sock_connect=10),
            middlewares=(_refused_upgrade,),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def guarded(self, check: Callable[[], None]) -> Client:
        """The same client, but every write first calls `check`, which raises to forbid it."""
        twin = copy.copy(self)
        twin._check = check
        return twin

    # Reading

    @overload
    async def get(
        self, resource: Resource, key: AnyKey, *, resource_version: str = "", subresource: str = ""
    ) -> Obj: ...
    @overload
    async def get(
        self,
        resource: Resource,
        key: AnyKey,
        *,
        decode: type[T],
        resource_version: str = "",
        subresource: str = "",
    ) -> T: ...
    async def get(
        self,
        resource: Resource,
        key: AnyKey,
        *,
        decode: Any = Any,
        resource_version: str = "",
        subresource: str = "",
    ) -> Any:
        """One object; NotFound where there is none."""
        reply = await self._call(
            "GET", "get", resource, key, subresource, {"resourceVersion": resource_version}
        )
        return msgspec.json.decode(reply.body, type=decode)

    @overload
    async def list(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        limit: int = 500,
    ) -> Listed[Obj]: ...
    @overload
    async def list(
        self,
        resource: Resource,
        *,
        decode: type[T],
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        limit: int = 500,
    ) -> Listed[T]: ...
    async def list(
        self,
        resource: Resource,
        *,
        decode: Any = Any,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        limit: int = 500,
    ) -> Any:
        """All objects, read in pages and all of one version.

        Expired where the version is compacted between two pages: a half list is never returned.
        """
        raws, version = await self.list_raw(
            resource, namespace=namespace, labels=labels, fields=fields, limit=limit
        )
        return Listed([msgspec.json.decode(raw, type=decode) for raw in raws], version)

    async def list_raw(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        limit: int = 500,
        each: Callable[[msgspec.Raw], Any] | None = None,
    ) -> tuple[_Items, str]:
        """Like `list`, undecoded; `each` makes an item small before the next page is read."""
        query = {"labelSelector": labels, "fieldSelector": fields, "limit": str(limit or "")}
        items: _Items = []
        while True:
            reply = await self._call("GET", "list", resource, (namespace, ""), "", query)
            page = _page.decode(reply.body)
            found = page.items or []
            items.extend(found if each is None else [each(item) for item in found])
            if not page.metadata.continue_:
                return items, page.metadata.resource_version
            query["continue"] = page.metadata.continue_

    async def watch(
        self,
        resource: Resource,
        *,
        resource_version: str,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        seconds: float = 0,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Changes after `resource_version`, bookmarks among them.

        Ends when the server closes or breaks the stream, which is ordinary: watch on from the last
        version seen. Raises Expired where that version is compacted: list again. Who leaves early
        does so under `contextlib.aclosing`, so that the stream is closed there and then.
        """
        lasts = seconds or WATCH_LASTS * (1 + random.random())
        query = {
            "watch": "true",
            "resourceVersion": resource_version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(max(1, int(lasts))),
            "labelSelector": labels,
            "fieldSelector": fields,
        }
        path = resource.path(namespace)
        timeout = aiohttp.ClientTimeout(total=lasts + 30, sock_connect=10, sock_read=SILENCE)
        rest = b""
        async with self.stream(
            "GET", path, query, timeout=timeout, verb="watch", resource=resource.plural
        ) as response:
            try:
                async for chunk in response.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        if line:
                            yield _event(line)
            except (aiohttp.ClientError, TimeoutError):
                return  # a broken stream loses nothing: the caller goes on from its last version

    # Writing

    async def create(
        self, resource: Resource, obj: Obj, *, namespace: str = "", dry_run: bool = False
    ) -> Obj:
        """AlreadyExists where the name is taken."""
        namespace = namespace or obj.get("metadata", {}).get("namespace") or ""
        query = self._write_query(dry_run, self.component)
        body = {"apiVersion": resource.api_version, "kind": resource.kind, **obj}
        return await self._write("POST", "create", resource, (namespace, ""), "", query, body)

    async def post(
        self,
        resource: Resource,
        key: AnyKey,
        subresource: str,
        body: Obj,
        *,
        dry_run: bool = False,
    ) -> Obj:
        """Create on a subresource: `eviction`, `binding`, `token`."""
        query = self._write_query(dry_run, self.component)
        return await self._write("POST", "create", resource, key, subresource, query, body)

    async def patch(
        self,
        resource: Resource,
        key: AnyKey,
        body: Any,
        type: Literal["json", "merge", "strategic", "apply"] = "merge",
        *,
        subresource: str = "",
        dry_run: bool = False,
        manager: str = "",
        force: bool = False,
    ) -> Obj:
        """Conflict where a `test` fails or a `metadata.resourceVersion` in the body is old."""
        query = self._write_query(dry_run, manager or self.component)
        if force:
            query["force"] = "true"
        return await self._write("PATCH", "patch", resource, key, subresource, query, body, type)

    async def apply(
        self,
        resource: Resource,
        obj: Obj,
        *,
        manager: str = "",
        force: bool = True,
        subresource: str = "",
        dry_run: bool = False,
    ) -> Obj:
        """Server-side apply: make it so, whether it exists or not, owning what is named.

        Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/
        """
        metadata = obj["metadata"]
        return await self.patch(
            resource,
            (metadata.get("namespace") or "", metadata["name"]),
            {"apiVersion": resource.api_version, "kind": resource.kind, **obj},
            "apply",
            subresource=subresource,
            dry_run=dry_run,
            manager=manager,
            force=force,
        )

    async def update(
        self, resource: Resource, obj: Obj, *, subresource: str = "", dry_run: bool = False
    ) -> Obj:
        """PUT the whole object. A patch is better: fields that we do not know survive it."""
        metadata = obj["metadata"]
        key = (metadata.get("namespace") or "", metadata["name"])
        body = {"apiVersion": resource.api_version, "kind": resource.kind, **obj}
        query = self._write_query(dry_run, self.component)
        return await self._write("PUT", "update", resource, key, subresource, query, body)

    async def delete(
        self,
        resource: Resource,
        key: AnyKey,
        *,
        uid: str = "",
        resource_version: str = "",
        grace: int | None = None,
        propagation: str = "",
        dry_run: bool = False,
    ) -> Obj:
        """The object on its way out, or a Status where it is gone at once (of some kinds the object
        even then: `lingers` tells)."""
        body = _delete_options(uid, resource_version, grace, propagation)
        if dry_run:  # beside a body the query is not looked at
            body["dryRun"] = ["All"]
        return await self._write("DELETE", "delete", resource, key, "", {}, body)

    async def delete_collection(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        grace: int | None = None,
        propagation: str = "",
    ) -> None:
        query = {"labelSelector": labels, "fieldSelector": fields}
        body = _delete_options("", "", grace, propagation)
        verb = "deletecollection"
        await self._write("DELETE", verb, resource, (namespace, ""), "", query, body)

    # Anything

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = ANSWER_WITHIN,
        *,
        verb: str = "",
        resource: str = "",
    ) -> Reply:
        """One request, repeated where that is safe; ApiError for an answer of 400 or more."""
        if self._check is not None and method not in ("GET", "HEAD"):
            self._check()
        pause = FIRST_PAUSE
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._once(
                    method, path, query, body, headers, timeout, verb or method.lower(), resource
                )
            except errors.ApiError as error:
                if attempt == ATTEMPTS or not _repeatable(method, error):
                    raise
                if (error.retry_after or 0) > LONGEST_PAUSE:
                    raise  # longer than a caller may be kept: it has its own back-off
                wait = max(pause * random.uniform(0.5, 1.5), error.retry_after or 0)
            await asyncio.sleep(wait)
            if self._check is not None and method not in ("GET", "HEAD"):
                self._check()
            pause = min(pause * 2, LONGEST_PAUSE)
        raise AssertionError("unreachable")

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: aiohttp.ClientTimeout | None = None,
        *,
        verb: str = "",
        resource: str = "",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer whose body is read as it comes; not repeated."""
        began = time.monotonic()
        code = 0
        try:
            response = await self._http.request(
                method,
                self.config.server + path,
                params=_filled(query),
                headers={**self.config.authorization(), **(headers or {})},
                timeout=timeout or aiohttp.ClientTimeout(total=None, sock_connect=10),
                server_hostname=self.config.server_name or None,
            )
            code = response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _no_answer(error) from error
        finally:
            self._observed(method, verb or method.lower(), path, resource, code, began)
        async with response:
            self._warned(response)
            if response.status >= 400:
                raise _error(response.status, response.headers, await response.read())
            yield response

    @asynccontextmanager
    async def websocket(
        self,
        path: str,
        protocols: Sequence[str] = (),
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = ANSWER_WITHIN,
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A stream both ways: consoles, VNC, port-forwards.

        `timeout` is for the handshake; the stream itself lasts as long as its ends like.
        """
        try:
            async with asyncio.timeout(timeout):
                socket = await self._http.ws_connect(
                    self.config.server + path,
                    protocols=protocols,
                    params=_filled(query),
                    # A kubelet refuses (406) who takes nothing but JSON.
                    headers={"Accept": "*/*", **self.config.authorization(), **(headers or {})},
                    max_msg_size=0,
                    compress=0,
                    server_hostname=self.config.server_name or None,
                )
        except aiohttp.WSServerHandshakeError as error:
            raise errors.from_status(error.status, {"message": error.message}) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _no_answer(error) from error
        async with socket:
            yield socket

    # Below the verbs

    @property
    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the client is used outside `async with`")
        return self._session

    def _write_query(self, dry_run: bool, manager: str) -> dict[str, str]:
        return {"dryRun": "All" if dry_run else "", "fieldManager": manager}

    async def _write(
        self,
        method: str,
        verb: str,
        resource: Resource,
        key: AnyKey,
        subresource: str,
        query: dict[str, str],
        body: Any,
        type: str = "",
    ) -> Obj:
        reply = await self._call(method, verb, resource, key, subresource, query, body, type)
        obj: Obj = msgspec.json.decode(reply.body) if reply.body else {}
        return obj

    async def _call(
        self,
        method: str,
        verb: str,
        resource: Resource,
        key: AnyKey,
        subresource: str,
        query: dict[str, str],
        body: Any = None,
        type: str = "",
    ) -> Reply:
        content = CONTENT_TYPE.get(type, "application/json")
        if not all(map(_segment, key)):
            # Names come out of users' specs as well: none may lead to another resource.
            message = f"no {resource.kind} can be called {key[1]!r} in {key[0]!r}"
            raise errors.NotFound(404, "NotFound", message)
        return await self.request(
            method,
            resource.path(key[0], key[1], subresource),
            query,
            None if body is None else encoded(body),
            None if body is None else {"Content-Type": content},
            verb=verb,
            resource=f"{resource.plural}/{subresource}" if subresource else resource.plural,
        )

    async def _once(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: bytes | None,
        headers: Mapping[str, str] | None,
        timeout: float,
        verb: str,
        resource: str,
    ) -> Reply:
        held = await self.limiter.take()
        began = time.monotonic()
        code = 0
        try:
            async with self._http.request(
                method,
                self.config.server + path,
                params=_filled(query),
                data=body,
                headers={**self.config.authorization(), **(headers or {})},
                timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=10),
                server_hostname=self.config.server_name or None,
            ) as response:
                content = await response.read()
                code = response.status
                self._warned(response)
                if code >= 400:
                    raise _error(code, response.headers, content)
                return Reply(code, response.headers, content)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _no_answer(error) from error
        finally:
            self._observed(method, verb, path, resource, code, began, held)

    def _observed(
        self,
        method: str,
        verb: str,
        path: str,
        resource: str,
        code: int,
        began: float,
        held: float = 0.0,
    ) -> None:
        if self.observe is not None:
            host = self.config.server.partition("://")[2]
            seconds = time.monotonic() - began
            self.observe(Observation(method, verb, path, resource, host, code, seconds, held))

    def _warned(self, response: aiohttp.ClientResponse) -> None:
        if self.on_warning is None:
            return
        for header in response.headers.getall("Warning", ()):
            for text in WARNING.findall(header):
                self.on_warning(re.sub(r"\\(.)", r"\1", text))


async def _refused_upgrade(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Why a websocket is refused stands in the body, which aiohttp's own error does not have."""
    response = await handler(request)
    if response.status >= 400 and "Upgrade" in request.headers:
        raise _error(response.status, response.headers, await response.read())
    return response


def _segment(name: str) -> bool:
    """Whether a name is one part of a path, whoever reads it.

    https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#path-segment-names
    """
    return name not in (".", "..") and not set(name) & set("/%?#\\")


def _event(line: bytes) -> WatchEvent:
    try:
        decoded = _line.decode(line)
    except msgspec.DecodeError as error:
        raise errors.Unavailable(0, "BadStream", f"a watch sent no event: {error}") from error
    if decoded.type == "ERROR":
        status = msgspec.json.decode(decoded.object)
        raise errors.from_status(status.get("code") or 500, status)
    return WatchEvent(decoded.type, bytes(decoded.object))  # type: ignore[arg-type]


def _filled(query: Mapping[str, str] | None) -> dict[str, str]:
    return {name: value for name, value in (query or {}).items() if value}


def _delete_options(uid: str, resource_version: str, grace: int | None, propagation: str) -> Obj:
    options: Obj = {"apiVersion": "v1", "kind": "DeleteOptions"}
    preconditions = {"uid": uid, "resourceVersion": resource_version}
    if uid or resource_version:
        options["preconditions"] = _filled(preconditions)
    if grace is not None:
        options["gracePeriodSeconds"] = grace
    if propagation:
        options["propagationPolicy"] = propagation
    return options


def _error(code: int, headers: Mapping[str, str], body: bytes) -> errors.ApiError:
    try:
        status = msgspec.json.decode(body)
    except msgspec.DecodeError:
        status = None
    if not isinstance(status, dict):
        status = {"message": body[:500].decode(errors="replace")}
    after = headers.get("Retry-After", "")
    return errors.from_status(code, status, float(after) if after.isdigit() else None)


def _no_answer(error: BaseException) -> errors.Unavailable:
    refused = isinstance(error, aiohttp.ClientConnectorError)
    reason = "NoConnection" if refused else "NoAnswer"
    return errors.Unavailable(0, reason, f"{type(error).__name__}: {error}")


def _repeatable(method: str, error: errors.ApiError) -> bool:
    if isinstance(error, errors.TooMany) or error.reason == "NoConnection":
        return method != "POST" or error.retry_after is not None or error.status == 0
    return method != "POST" and (error.status in REPEATABLE or error.status == 0)
