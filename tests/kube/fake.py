"""An API server in this process: objects in a dict, the real protocol over HTTP on 127.0.0.1.

It is a verified fake: `test_contract.py` runs the same tests against it and a real kube-apiserver.
What tests of controllers need and the real one does not give are faults: `fail`, `latency`,
`drop_watches`, `compact`, `truncate_lists`.

    async with FakeCluster() as fake, fake.client("virt-controller") as client:
        fake.put(PODS, {"metadata": {"namespace": "default", "name": "a"}})
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import datetime
import itertools
import json
import re
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from aiohttp import web

from virtpod.kube.client import Client
from virtpod.kube.config import Config
from virtpod.kube.resources import KNOWN, NAMESPACES, Key, Obj, Resource

# Resources whose `status` only the subresource writes.
WITH_STATUS = frozenset(
    {
        "pods",
        "nodes",
        "namespaces",
        "deployments",
        "daemonsets",
        "jobs",
        "persistentvolumeclaims",
        "customresourcedefinitions",
        "poddisruptionbudgets",
        "apiservices",
        "virtualmachines",
        "virtualmachineinstancemigrations",
        "virtualmachineinstancereplicasets",
        "kubevirts",
    }
)
MERGE_KEYS = ("name", "type", "uid", "containerPort", "key", "ip")
BY_PATH = {(known.group, known.version, known.plural): known for known in KNOWN.values()}


class Change(NamedTuple):
    version: int
    resource: Resource
    type: str
    obj: Obj
    before: Obj | None


class Write(NamedTuple):
    verb: str
    plural: str  # with the subresource: "pods/status"
    key: Key


@dataclass
class Fault:
    verb: str
    resource: Resource | None
    status: int
    times: int
    reason: str = ""
    message: str = "a fault of the fake"
    retry_after: int | None = None
    after: bool = False  # the write is done, only its answer is lost


class Answer(Exception):
    """An error to answer with."""

    def __init__(
        self, code: int, reason: str, message: str, details: Obj | None = None, after: int = 0
    ) -> None:
        super().__init__(message)
        self.code = code
        self.after = after
        self.status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "reason": reason,
            "message": message,
            "code": code,
            "details": details or {},
        }


@dataclass
class Request:
    verb: str
    resource: Resource
    key: Key
    subresource: str
    query: dict[str, str]
    agent: str = ""
    content_type: str = ""
    body: Any = None


@dataclass
class FakeCluster:
    latency: float = 0.0  # seconds before every answer
    watch_delay: float = 0.0  # seconds before every watched event
    admit: Callable[[str, Resource, Obj], None] | None = None  # may change the object, or raise
    allow: Callable[[Obj], bool] = lambda review: True
    writes: list[Write] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._objects: dict[Resource, dict[Key, Obj]] = {}
        self._changes: list[Change] = []
        self._version = 1
        self._compacted = 0
        self._changed = asyncio.Condition()
        self._faults: list[Fault] = []
        self._truncate = 0
        self._epoch = 0  # watches of an older one end
        self._bookmarks = 0  # how many times all watches were sent one
        self._pages: dict[str, tuple[int, list[Obj]]] = {}
        self._tokens = itertools.count(1)
        self._applied: dict[tuple[Resource, Key, str], Obj] = {}
        self._runner: web.AppRunner | None = None
        self._wakers: set[asyncio.Task[None]] = set()
        self.server = ""

    # A test's side

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.server = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.drop_watches()
        assert self._runner is not None
        await self._runner.cleanup()

    def config(self) -> Config:
        return Config(server=self.server)

    def client(self, component: str = "test") -> Client:
        return Client(self.config(), component=component)

    def objects(self, resource: Resource) -> dict[Key, Obj]:
        return copy.deepcopy(self._objects.get(resource, {}))

    def get(self, resource: Resource, namespace: str, name: str) -> Obj:
        return copy.deepcopy(self._objects[resource][Key(namespace, name)])

    def put(self, resource: Resource, obj: Obj) -> Obj:
        """Create or replace it, past all rules but the version's."""
        obj = copy.deepcopy(obj)
        metadata = obj["metadata"]
        key = Key(metadata.get("namespace", ""), metadata["name"])
        if key in self._objects.get(resource, {}):
            old = self._objects[resource][key]
            obj["metadata"] = {
                **{name: old["metadata"][name] for name in ("uid", "creationTimestamp")},
                **metadata,
            }
        return copy.deepcopy(self._store(resource, key, _born(resource, obj)))

    def remove(self, resource: Resource, key: tuple[str, str]) -> None:
        """Gone, whatever its finalizers say."""
        self._drop(resource, Key(*key))

    def fail(
        self,
        verb: str,
        resource: Resource | None = None,
        status: int = 500,
        times: int = 1,
        **more: Any,
    ) -> None:
        """The next `times` requests of that verb ("get", "list", "watch", "patch" ..) fail.

        Status 0 breaks the connection; `after=True` does so once the write is done.
        """
        self._faults.append(Fault(verb, resource, status, times, **more))

    async def drop_watches(self) -> None:
        """Every watch stream breaks now."""
        self._epoch += 1
        async with self._changed:
            self._changed.notify_all()

    async def bookmark(self) -> None:
        """Every watch is told the version it has reached."""
        self._bookmarks += 1
        async with self._changed:
            self._changed.notify_all()

    def compact(self) -> None:
        """Older versions cannot be watched from or listed on any more."""
        self._version += 1
        self._compacted = self._version
        self._changes.clear()
        self._pages.clear()

    def truncate_lists(self, times: int = 1) -> None:
        """The next lists break off in the middle of their bytes."""
        self._truncate += times

    # The store

    def _store(self, resource: Resource, key: Key, obj: Obj) -> Obj:
        before = self._objects.setdefault(resource, {}).get(key)
        if before is not None and _same(before, obj):
            return before
        self._version += 1
        obj["metadata"]["resourceVersion"] = str(self._version)
        if before is not None and before.get("spec") != obj.get("spec"):
            obj["metadata"]["generation"] = before["metadata"].get("generation", 1) + 1
        self._objects[resource][key] = obj
        kind = "ADDED" if before is None else "MODIFIED"
        self._tell(Change(self._version, resource, kind, copy.deepcopy(obj), before))
        if _leaving(obj):
            self._drop(resource, key)
        return obj

    def _drop(self, resource: Resource, key: Key) -> None:
        before = self._objects[resource].pop(key)
        for applied in [name for name in self._applied if name[:2] == (resource, key)]:
            del self._applied[applied]
        self._version += 1
        last = copy.deepcopy(before)
        last["metadata"]["resourceVersion"] = str(self._version)
        self._tell(Change(self._version, resource, "DELETED", last, before))

    def _tell(self, change: Change) -> None:
        self._changes.append(change)
        try:
            waker = asyncio.get_running_loop().create_task(self._wake())
        except RuntimeError:
            return
        self._wakers.add(waker)
        waker.add_done_callback(self._wakers.discard)

    async def _wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    # The wire's side

    async def _serve(self, http: web.Request) -> web.StreamResponse:
        if self.latency:
            await asyncio.sleep(self.latency)
        if http.path == "/version":
            return web.json_response({"major": "1", "minor": "34", "gitVersion": "v1.34.0-fake"})
        try:
            request = await _parsed(http)
            self.requests.append(request)
            fault = self._fault(request)
            if fault is not None and not fault.after:
                return self._break(http, fault)
            if request.verb == "watch":
                with contextlib.suppress(ConnectionError):  # the watcher went away
                    return await self._watch(http, request)
                return web.Response()
            if request.verb == "list" and self._truncate:
                self._truncate -= 1
                return await self._half(http, self._list(request))
            answered = self._answer(request)
            if fault is not None:
                return self._break(http, fault)
            code = 201 if request.verb == "create" else 200
            return web.json_response(answered, status=code)
        except Answer as error:
            headers = {"Retry-After": str(error.after)} if error.after else {}
            return web.json_response(error.status, status=error.code, headers=headers)

    def _fault(self, request: Request) -> Fault | None:
        for fault in self._faults:
            named = fault.resource is None or fault.resource == request.resource
            if named and fault.verb in (request.verb, "*"):
                fault.times -= 1
                if fault.times <= 0:
                    self._faults.remove(fault)
                return fault
        return None

    def _break(self, http: web.Request, fault: Fault) -> web.StreamResponse:
        if fault.status:
            raise Answer(fault.status, fault.reason, fault.message, after=fault.retry_after or 0)
        if http.transport is not None:
            http.transport.abort()
        return web.Response()

    async def _half(self, http: web.Request, answer: Obj) -> web.StreamResponse:
        body = json.dumps(answer).encode()
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.content_length = len(body)
        await response.prepare(http)
        await response.write(body[: len(body) // 2])
        if http.transport is not None:
            http.transport.abort()
        return response

    def _answer(self, request: Request) -> Obj:
        if request.verb == "list":
            return self._list(request)
        if request.verb == "get":
            return self._found(request)
        self.writes.append(
            Write(
                request.verb,
                "/".join(part for part in (request.resource.plural, request.subresource) if part),
                Key(request.key.namespace, request.key.name or _name(request.body)),
            )
        )
        return {
            "create": self._create,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
            "deletecollection": self._delete_collection,
        }[request.verb](request)

    def _found(self, request: Request) -> Obj:
        found = self._objects.get(request.resource, {}).get(request.key)
        if found is None:
            raise Answer(
                404, "NotFound", f'{request.resource.plural} "{request.key.name}" not found'
            )
        return found

    def _selected(self, request: Request) -> Callable[[Obj], bool]:
        namespace = request.key.namespace
        labels = label_selector(request.query.get("labelSelector", ""))
        fields = field_selector(request.query.get("fieldSelector", ""))

        def selected(obj: Obj) -> bool:
            metadata = obj["metadata"]
            inside = not namespace or metadata.get("namespace", "") == namespace
            return inside and labels(metadata.get("labels") or {}) and fields(obj)

        return selected

    def _list(self, request: Request) -> Obj:
        token = request.query.get("continue")
        if token:
            if token not in self._pages:
                raise Answer(410, "Expired", "the continue token is too old")
            version, items = self._pages.pop(token)
        else:
            selected = self._selected(request)
            found = self._objects.get(request.resource, {})
            version = self._version
            items = [copy.deepcopy(found[key]) for key in sorted(found) if selected(found[key])]
        limit = int(request.query.get("limit") or 0) or len(items)
        metadata: Obj = {"resourceVersion": str(version)}
        if len(items) > limit:
            metadata["continue"] = f"page-{next(self._tokens)}"
            metadata["remainingItemCount"] = len(items) - limit
            self._pages[metadata["continue"]] = (version, items[limit:])
        return {
            "apiVersion": request.resource.api_version,
            "kind": f"{request.resource.kind}List",
            "metadata": metadata,
            "items": items[:limit],
        }

    async def _watch(self, http: web.Request, request: Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(http)
        epoch, selected = self._epoch, self._selected(request)
        bookmarked = self._bookmarks
        since = int(request.query.get("resourceVersion") or self._version)
        ends = asyncio.get_running_loop().time() + float(
            request.query.get("timeoutSeconds") or 3600
        )
        while self._epoch == epoch:
            if since < self._compacted:
                gone = Answer(410, "Expired", f"too old resource version: {since}")
                await response.write(_line("ERROR", gone.status))
                break
            for change in [c for c in self._changes if c.version > since]:
                since = change.version
                kind = _seen_as(change, selected) if change.resource == request.resource else None
                if kind:
                    await asyncio.sleep(self.watch_delay)
                    await response.write(_line(kind, change.obj))
            if self._version > since:
                continue
            if bookmarked < self._bookmarks:
                bookmarked = self._bookmarks
                await response.write(_bookmark(request.resource, since))
            try:
                async with asyncio.timeout_at(ends), self._changed:
                    if (self._version, self._epoch, self._bookmarks) == (since, epoch, bookmarked):
                        await self._changed.wait()
            except TimeoutError:
                await response.write(_bookmark(request.resource, since))
                break
        await response.write_eof()
        return response

    def _create(self, request: Request) -> Obj:
        resource, body = request.resource, copy.deepcopy(request.body)
        if request.subresource == "eviction":
            return self._delete(
                Request("delete", resource, request.key, "", {}, body=body.get("deleteOptions"))
            )
        if resource.plural == "subjectaccessreviews":
            return {**body, "status": {"allowed": self.allow(body)}}
        metadata = body.setdefault("metadata", {})
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + uuid.uuid4().hex[:5]
        if resource.namespaced:
            metadata["namespace"] = request.key.namespace
        self._open(request)
        key = Key(request.key.namespace, metadata["name"])
        if key in self._objects.get(resource, {}):
            message = f'{resource.plural} "{key.name}" already exists'
            raise Answer(409, "AlreadyExists", message)
        if resource.plural in WITH_STATUS:
            body.pop("status", None)
        if self.admit:
            self.admit("create", resource, body)
        if request.query.get("dryRun"):
            return _born(resource, body)
        return self._store(resource, key, _born(resource, body))

    def _open(self, request: Request) -> None:
        """Nothing new comes into a namespace that is being deleted."""
        name = request.key.namespace
        found = self._objects.get(NAMESPACES, {}).get(Key("", name)) if name else None
        if found is None or not found["metadata"].get("deletionTimestamp"):
            return
        message = f"unable to create new content in namespace {name} because it is being terminated"
        cause = {"reason": "NamespaceTerminating", "field": "metadata.namespace"}
        raise Answer(403, "Forbidden", message, {"causes": [cause]})

    def _update(self, request: Request) -> Obj:
        return self._changed_to(request, self._found(request), copy.deepcopy(request.body))

    def _patch(self, request: Request) -> Obj:
        kind = request.content_type
        if kind == "application/apply-patch+yaml":
            return self._apply(request)
        before = self._found(request)
        if kind == "application/json-patch+json":
            after = json_patch(before, request.body)
        elif kind == "application/merge-patch+json":
            after = merge(before, request.body)
        else:
            after = strategic(before, request.body)
        return self._changed_to(request, before, after)

    def _apply(self, request: Request) -> Obj:
        resource, key, manager = request.resource, request.key, request.query["fieldManager"]
        body = copy.deepcopy(request.body)
        before = self._objects.get(resource, {}).get(key)
        ours = (resource, key, manager)
        if before is None:
            body.setdefault("metadata", {})["name"] = key.name
            made = self._create(
                Request("create", resource, Key(key.namespace, ""), "", request.query, body=body)
            )
            self._applied[ours] = copy.deepcopy(request.body)
            return made
        if not request.query.get("force"):
            for (at, of, other), theirs in self._applied.items():
                if (at, of) == (resource, key) and other != manager:
                    for path, value in _leaves(body):
                        there = dict(_leaves(theirs))
                        if path in there and there[path] != value:
                            raise Answer(
                                409, "Conflict", f"Apply failed: conflict with {other!r}: {path}"
                            )
        after = strategic(before, body)
        if ours in self._applied:
            _unapply(after, self._applied[ours], body)
        done = self._changed_to(request, before, after)
        self._applied[ours] = copy.deepcopy(request.body)
        return done

    def _changed_to(self, request: Request, before: Obj, after: Obj) -> Obj:
        old, new = before["metadata"], after["metadata"]
        version, uid = new.get("resourceVersion"), new.get("uid")
        if version and version != old["resourceVersion"]:
            raise Answer(409, "Conflict", "the object has been modified")
        if uid and uid != old["uid"]:
            raise Answer(409, "Conflict", f"Precondition failed: UID {uid} is not {old['uid']}")
        after = {**before, "status": after.get("status")} if request.subresource else after
        after = copy.deepcopy(after)
        if not request.subresource and request.resource.plural in WITH_STATUS:
            after["status"] = copy.deepcopy(before.get("status"))
        if after.get("status") is None:
            after.pop("status", None)
        for fixed in ("uid", "creationTimestamp", "resourceVersion", "name", "namespace"):
            if fixed in old:
                after["metadata"][fixed] = old[fixed]
        for fixed in ("deletionTimestamp", "deletionGracePeriodSeconds"):
            after["metadata"].pop(fixed, None)
            if fixed in old:
                after["metadata"][fixed] = old[fixed]
        if self.admit:
            self.admit(request.verb, request.resource, after)
        if request.query.get("dryRun"):
            return after
        return self._store(request.resource, request.key, after)

    def _delete(self, request: Request) -> Obj:
        found = self._found(request)
        options = request.body or {}
        metadata = found["metadata"]
        wanted = options.get("preconditions") or {}
        for name in ("uid", "resourceVersion"):
            if wanted.get(name) and wanted[name] != metadata[name]:
                raise Answer(409, "Conflict", f"Precondition failed: {name} differs")
        if options.get("dryRun"):
            return found
        grace = options.get("gracePeriodSeconds")
        if request.resource.plural == "pods":
            spec = found.get("spec") or {}
            default = spec.get("terminationGracePeriodSeconds", 30) if spec.get("nodeName") else 0
            grace = default if grace is None else grace
        kept = metadata.get("finalizers") or (found.get("spec") or {}).get("finalizers")
        if kept or (request.resource.plural == "pods" and grace):
            leaving = copy.deepcopy(found)
            leaving["metadata"].setdefault("deletionTimestamp", now())
            leaving["metadata"]["deletionGracePeriodSeconds"] = grace or 0
            return self._store(request.resource, request.key, leaving)
        self._drop(request.resource, request.key)
        if request.resource.plural == "pods":
            return found
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": {
                "name": request.key.name,
                "kind": request.resource.plural,
                "uid": metadata["uid"],
            },
        }

    def _delete_collection(self, request: Request) -> Obj:
        selected = self._selected(request)
        for key, obj in list(self._objects.get(request.resource, {}).items()):
            if selected(obj):
                self._delete(Request("delete", request.resource, key, "", {}, body=request.body))
        return {"kind": "Status", "apiVersion": "v1", "status": "Success"}


def now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _name(body: Any) -> str:
    metadata = body.get("metadata") or {} if isinstance(body, dict) else {}
    name: str = metadata.get("name") or metadata.get("generateName") or ""
    return name


def _born(resource: Resource, obj: Obj) -> Obj:
    metadata = obj["metadata"]
    metadata.setdefault("uid", str(uuid.uuid4()))
    metadata.setdefault("creationTimestamp", now())
    if resource == NAMESPACES:
        obj.setdefault("spec", {"finalizers": ["kubernetes"]})
    elif "spec" in obj:
        metadata.setdefault("generation", 1)
    return {"apiVersion": resource.api_version, "kind": resource.kind, **obj}


def _same(one: Obj, other: Obj) -> bool:
    def bare(obj: Obj) -> Obj:
        return {**obj, "metadata": {**obj["metadata"], "resourceVersion": ""}}

    return bare(one) == bare(other)


def _leaving(obj: Obj) -> bool:
    metadata = obj["metadata"]
    return bool(
        metadata.get("deletionTimestamp")
        and not metadata.get("finalizers")
        and not (obj.get("spec") or {}).get("finalizers")  # of a namespace, which nobody empties
        and not metadata.get("deletionGracePeriodSeconds")
    )


def _line(kind: str, obj: Obj) -> bytes:
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


def _bookmark(resource: Resource, version: int) -> bytes:
    metadata = {"resourceVersion": str(version)}
    kind = {"apiVersion": resource.api_version, "kind": resource.kind}
    return _line("BOOKMARK", {**kind, "metadata": metadata})


def _seen_as(change: Change, selected: Callable[[Obj], bool]) -> str | None:
    """What a watch with a selector shows of a change: things may enter and leave the selection."""
    was = change.before is not None and selected(change.before)
    is_now = change.type != "DELETED" and selected(change.obj)
    if is_now:
        return "MODIFIED" if was else "ADDED"
    return "DELETED" if was else None


async def _parsed(http: web.Request) -> Request:
    parts = http.path.strip("/").split("/")
    if parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 2:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        raise Answer(404, "NotFound", f"the fake has no {http.path}")
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] != "status":
        namespace, rest = rest[1], rest[2:]
    resource = BY_PATH.get((group, version, rest[0]))
    if resource is None:
        raise Answer(404, "NotFound", f"the server could not find {http.path}")
    name = rest[1] if len(rest) > 1 else ""
    query = dict(http.query)
    verb = {"POST": "create", "PUT": "update", "PATCH": "patch"}.get(http.method, "get")
    if http.method == "DELETE":
        verb = "delete" if name else "deletecollection"
    if http.method == "GET" and not name:
        verb = "watch" if query.get("watch") == "true" else "list"
    body = await http.read()
    return Request(
        verb,
        resource,
        Key(namespace, name),
        rest[2] if len(rest) > 2 else "",
        query,
        http.headers.get("User-Agent", ""),
        http.content_type,
        json.loads(body) if body else None,
    )


# Selectors and patches


def label_selector(text: str) -> Callable[[dict[str, str]], bool]:
    """Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/"""
    terms = [term.strip() for term in re.findall(r"[^,(]+(?:\([^)]*\))?", text)]
    tests = [_label_test(term) for term in terms if term]
    return lambda labels: all(test(labels) for test in tests)


def _label_test(term: str) -> Callable[[dict[str, str]], bool]:
    if many := re.fullmatch(r"(\S+)\s+(in|notin)\s*\(([^)]*)\)", term):
        name, verb, listed = many.groups()
        values = {value.strip() for value in listed.split(",")}
        return lambda labels: (labels.get(name) in values) == (verb == "in")
    if "!=" in term:
        name, value = term.split("!=")
        return lambda labels: labels.get(name) != value
    if "=" in term:
        name, value = re.split("==?", term)
        return lambda labels: labels.get(name) == value
    if term.startswith("!"):
        return lambda labels: term[1:] not in labels
    return lambda labels: term in labels


def field_selector(text: str) -> Callable[[Obj], bool]:
    tests: list[tuple[str, str, bool]] = []
    for term in filter(None, text.split(",")):
        name, value = re.split("!=|==?", term)
        tests.append((name, value, "!=" not in term))

    def value_of(obj: Any, path: str) -> str:
        for part in path.split("."):
            obj = obj.get(part) if isinstance(obj, dict) else None
        return str(obj or "")

    return lambda obj: all((value_of(obj, name) == value) == eq for name, value, eq in tests)


def merge(target: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def strategic(target: Any, patch: Any) -> Any:
    """Like `merge`, but lists of objects that have a name (or the like) are merged by it."""
    if isinstance(patch, list) and isinstance(target, list):
        key = next((k for k in MERGE_KEYS if _all_have(k, patch) and _all_have(k, target)), None)
        if key is None or not patch:
            return copy.deepcopy(patch)
        merged = {item[key]: item for item in target}
        for item in patch:
            if item.get("$patch") == "delete":
                merged.pop(item[key], None)
            else:
                merged[item[key]] = strategic(merged.get(item[key]), item)
        return list(merged.values())
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = strategic(result.get(name), value)
    return result


def _all_have(key: str, items: Iterable[Any]) -> bool:
    return all(isinstance(item, dict) and key in item for item in items)


# All that the real one says when a patch does not fit, a failed `test` included.
UNPATCHABLE = Answer(
    422, "Invalid", "the server rejected our request due to an error in our request"
)


def json_patch(target: Obj, operations: list[Obj]) -> Obj:
    """RFC 6902: add, remove, replace, test. Like the real one's, "replace" also adds."""
    result = copy.deepcopy(target)
    for operation in operations:
        kind, path = operation["op"], operation["path"]
        parts = [p.replace("~1", "/").replace("~0", "~") for p in path.split("/")[1:]]
        parent: Any = result
        for part in parts[:-1]:
            parent = _child(parent, part)
        name = parts[-1]
        if kind == "test":
            beyond = isinstance(parent, list) and _child(parent, name) is None
            if parent is None or beyond or _child(parent, name) != operation.get("value"):
                raise UNPATCHABLE
            continue
        there = _child(parent, name) is not None
        if parent is None or (kind == "remove" and not there):
            raise UNPATCHABLE
        if isinstance(parent, list) and kind == "replace" and not there:
            raise UNPATCHABLE
        if isinstance(parent, list):
            at = len(parent) if name == "-" else int(name)
            if kind == "remove":
                del parent[at]
            elif kind == "replace":
                parent[at] = copy.deepcopy(operation["value"])
            else:
                parent.insert(at, copy.deepcopy(operation["value"]))
        elif kind == "remove":
            del parent[name]
        else:
            parent[name] = copy.deepcopy(operation["value"])
    return result


def _child(parent: Any, name: str) -> Any:
    if isinstance(parent, dict):
        return parent.get(name)
    if isinstance(parent, list) and name.isdigit() and int(name) < len(parent):
        return parent[int(name)]
    return None


def _leaves(obj: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    if isinstance(obj, dict):
        for name, value in obj.items():
            yield from _leaves(value, f"{path}/{name}")
    else:
        yield path, obj


def _unapply(live: Any, applied: Any, wanted: Any) -> None:
    """Take out of `live` what was applied before and is wanted no more."""
    if not isinstance(live, dict) or not isinstance(applied, dict):
        return
    for name, value in applied.items():
        if not isinstance(wanted, dict) or name not in wanted:
            if not isinstance(value, dict) or name not in ("metadata", "spec", "status"):
                live.pop(name, None)
        else:
            _unapply(live.get(name), value, wanted[name])
