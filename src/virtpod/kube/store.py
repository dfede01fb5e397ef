"""A mirror of one resource: list, watch, and keep what the caller wants of each object.

Objects are kept as the small values that `project` makes of their bytes: thousands of object trees
would be hundreds of MiB. The rules that keep a mirror honest:

- A list that fails, or breaks off, changes nothing. Only a whole list of one version replaces the
  store, and only it or a DELETED event takes an object away.
- Until the first list is in, the store knows nothing, which is not the same as being empty: ask
  `synced`.
- Versions only grow. A list that is older than what the store has shown is not believed.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
(resource versions are compared as integers: KEP-5504)
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

import msgspec

from virtpod.kube import errors
from virtpod.kube.client import AnyKey, Client, WatchEvent
from virtpod.kube.resources import Key, Obj, Resource

log = logging.getLogger(__name__)

T = TypeVar("T")
Index = Callable[[Key, T], Iterable[Hashable]]
OnChange = Callable[[Key, T | None, T | None], object]

FIRST_PAUSE = 0.2  # seconds before a failed list is tried again, doubled each time
LONGEST_PAUSE = 30.0


class _Metadata(msgspec.Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""


class _Head(msgspec.Struct):
    metadata: _Metadata


_head = msgspec.json.Decoder(_Head)


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    value: T
    version: int
    uid: str


@dataclass(eq=False)
class _Wait:
    """Somebody waits for the store to show `version` of `key`, or its absence."""

    key: Key
    version: int
    uid: str
    done: asyncio.Future[None]


class Informer(Generic[T]):
    """`run()` it in a task; it keeps going until cancelled.

    `project` gets an object's JSON and makes the value kept, a dict where none is given.
    `indices` name functions from (key, value) to the index values it is found by.
    """

    @overload
    def __init__(
        self: Informer[Obj],
        client: Client,
        resource: Resource,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        indices: Mapping[str, Index[Obj]] | None = None,
        limit: int = 500,
    ) -> None: ...
    @overload
    def __init__(
        self,
        client: Client,
        resource: Resource,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        project: Callable[[bytes], T],
        indices: Mapping[str, Index[T]] | None = None,
        limit: int = 500,
    ) -> None: ...
    def __init__(
        self,
        client: Client,
        resource: Resource,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        project: Callable[[bytes], Any] = msgspec.json.decode,
        indices: Mapping[str, Index[Any]] | None = None,
        limit: int = 500,
    ) -> None:
        self.client = client
        self.resource = resource
        self.selection: Any = {"namespace": namespace, "labels": labels, "fields": fields}
        self.project = project
        self.limit = limit
        self.version = 0  # of the newest thing seen, bookmarks included
        self._entries: dict[Key, Entry[T]] = {}
        self._indices = dict(indices or {})
        self._index: dict[str, dict[Hashable, dict[Key, None]]] = {n: {} for n in self._indices}
        self._handlers: list[OnChange[T]] = []
        self._waits: list[_Wait] = []
        self._synced = asyncio.Event()

    # Reading the mirror

    @property
    def synced(self) -> bool:
        return self._synced.is_set()

    async def wait_synced(self, timeout: float = 60.0) -> None:
        """Until a whole list is in; TimeoutError after `timeout` seconds."""
        async with asyncio.timeout(timeout):
            await self._synced.wait()

    def get(self, key: AnyKey) -> T | None:
        entry = self._entries.get(Key(*key))
        return None if entry is None else entry.value

    def version_of(self, key: AnyKey) -> str:
        entry = self._entries.get(Key(*key))
        return "" if entry is None else str(entry.version)

    def keys(self) -> list[Key]:
        return list(self._entries)

    def values(self) -> list[T]:
        return [entry.value for entry in self._entries.values()]

    def items(self) -> list[tuple[Key, T]]:
        return [(key, entry.value) for key, entry in self._entries.items()]

    def keys_by(self, index: str, value: Hashable) -> list[Key]:
        return list(self._index[index].get(value, ()))

    def by(self, index: str, value: Hashable) -> list[T]:
        return [self._entries[key].value for key in self._index[index].get(value, ())]

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def on_change(self, handler: OnChange[T]) -> None:
        """`handler(key, old, new)`: quick and not async; old or new is None.

        Objects that are here already are told at once, so that it does not matter who came first.
        """
        self._handlers.append(handler)
        for key, entry in list(self._entries.items()):
            handler(key, None, entry.value)

    # Our own writes

    def shows(self, key: AnyKey, version: str, uid: str = "") -> bool:
        """Whether the store has seen this version of an object, or anything later.

        With an empty `version`: whether the object (of that uid) is gone from the store.
        """
        entry = self._entries.get(Key(*key))
        if not version:
            return self.synced and (entry is None or bool(uid and entry.uid != uid))
        wanted = int(version)
        return self.version >= wanted or (entry is not None and entry.version >= wanted)

    async def wait_until(
        self, key: AnyKey, version: str, uid: str = "", timeout: float = 10.0
    ) -> None:
        """Until `shows(...)`; TimeoutError after `timeout` seconds."""
        if self.shows(key, version, uid):
            return
        done = asyncio.get_running_loop().create_future()
        wait = _Wait(Key(*key), int(version or 0), uid, done)
        self._waits.append(wait)
        try:
            async with asyncio.timeout(timeout):
                await done
        finally:
            self._waits.remove(wait)

    # Keeping it

    async def run(self) -> None:
        """List, watch, and list again when a version has expired; never ends by itself."""
        pause = FIRST_PAUSE
        while True:
            try:
                await self._list()
                pause = FIRST_PAUSE
                await self._watch()
            except errors.Expired:
                log.info("list again", extra={"resource": self.resource.plural})
                await asyncio.sleep(FIRST_PAUSE * random.random())
            except (errors.ApiError, msgspec.MsgspecError) as error:
                log.warning(
                    "cannot list or watch",
                    extra={"resource": self.resource.plural, "error": str(error)},
                )
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))
                pause = min(pause * 2, LONGEST_PAUSE)

    async def _list(self) -> None:
        found, version = await self.client.list_raw(
            self.resource, limit=self.limit, each=self._taken, **self.selection
        )
        if int(version or 0) < self.version:
            raise errors.Unavailable(0, "OldList", f"listed {version}, had seen {self.version}")
        listed: dict[Key, Entry[T] | None] = dict(found)
        for key in [key for key in self._entries if key not in listed]:
            self._put(key, None)
        for key, entry in listed.items():
            old = self._entries.get(key)
            if entry is not None and (old is None or old.version != entry.version):
                self._put(key, entry)
        self._seen(int(version or 0))
        self._synced.set()
        self._wake()

    async def _watch(self) -> None:
        pause = FIRST_PAUSE
        clock = asyncio.get_running_loop().time
        while True:
            began, version = clock(), self.version
            watch = self.client.watch(
                self.resource, resource_version=str(self.version), **self.selection
            )
            try:
                async with contextlib.aclosing(watch):
                    async for event in watch:
                        self._take(event)
            except (errors.Unavailable, errors.TooMany) as error:
                log.info(
                    "cannot watch",
                    extra={"resource": self.resource.plural, "error": str(error)},
                )
            if self.version != version or clock() - began > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            # Even a stream that ends in good order is followed after a moment only: thousands of
            # them end together when an API server goes away.
            await asyncio.sleep(pause * random.random())
            pause = min(pause * 2, LONGEST_PAUSE)

    def _take(self, event: WatchEvent) -> None:
        if event.type == "BOOKMARK":
            self._seen(int(_head.decode(event.raw).metadata.resource_version))
        else:
            metadata = _head.decode(event.raw).metadata
            self._seen(int(metadata.resource_version))
            if event.type == "DELETED":
                self._put(Key(metadata.namespace, metadata.name), None)
            else:
                key, entry = self._taken(event.raw)
                if entry is not None:
                    self._put(key, entry)
        self._wake()

    def _taken(self, raw: msgspec.Raw | bytes) -> tuple[Key, Entry[T] | None]:
        """What is kept of an object; None where `project` cannot read it.

        Then whatever was known of it stays: one odd object must not blind us to all the others.
        """
        body = bytes(raw)
        metadata = _head.decode(body).metadata
        key = Key(metadata.namespace, metadata.name)
        try:
            value = self.project(body)
        except Exception:
            log.exception("cannot read an object", extra={"key": str(key)})
            return key, None
        return key, Entry(value, int(metadata.resource_version), metadata.uid)

    def _put(self, key: Key, entry: Entry[T] | None) -> None:
        old = self._entries.pop(key, None)
        if old is not None:
            self._unindex(key, old.value)
        if entry is not None:
            self._entries[key] = entry
            for name, values in self._indices.items():
                for value in values(key, entry.value):
                    self._index[name].setdefault(value, {})[key] = None
        if old is None and entry is None:
            return
        before = None if old is None else old.value
        after = None if entry is None else entry.value
        for handler in self._handlers:
            try:
                handler(key, before, after)
            except Exception:  # a bug of one reader must not blind the others
                log.exception("a change handler failed", extra={"key": str(key)})

    def _unindex(self, key: Key, value: T) -> None:
        for name, values in self._indices.items():
            for found in values(key, value):
                keys = self._index[name].get(found)
                if keys is not None:
                    keys.pop(key, None)
                    if not keys:
                        del self._index[name][found]

    def _seen(self, version: int) -> None:
        self.version = max(self.version, version)

    def _wake(self) -> None:
        for wait in self._waits:
            version = str(wait.version) if wait.version else ""
            if not wait.done.done() and self.shows(wait.key, version, wait.uid):
                wait.done.set_result(None)
