"""The one reconcile loop: see, decide, act, for every controller.

    key -> seen(key) -> decide(Seen) -> Plan -> act(action) for each -> again later, or when told

`decide` is pure; everything that can fail is here. What an error means is told by its type
(`kube.errors`). After a write the loop does not decide on that key again before the store has shown
what was written: else it would decide on the past, and do things twice.

Source: controller-runtime's FAQ, https://github.com/kubernetes-sigs/controller-runtime/blob/main/FAQ.md
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import time
import zlib
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from virtpod.kube import errors
from virtpod.kube.client import Client, lingers
from virtpod.kube.metrics import metered
from virtpod.kube.plan import Create, Delete, Event, Evict, Patch, Plan, Written
from virtpod.kube.queue import Queue
from virtpod.kube.resources import PODS, Key, Obj, Resource, key_of
from virtpod.kube.store import Informer

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
S = TypeVar("S")

SHOWN_WITHIN = 10.0  # seconds for the store to show a write; then we decide on what it has
STUBBORN = 5  # tries after which a conflict is no longer ordinary
SOONEST = 0.02
"""Seconds before a plan's next turn: one that always wants it at once must leave others theirs."""
ACT_WITHIN = 120.0  # seconds for one plan
ENDS_WITHIN = 30.0
"""Seconds before the next look at what is in a namespace that is being deleted: what the plan is
for will be gone by then, or the namespace be another one."""


class Tells(Protocol):
    """Takes events without ever waiting: `kube.events.Recorder`."""

    def record(self, event: Event) -> None: ...


class Acts:
    """Performs actions against the API server; `perform` says how for a process's own actions."""

    def __init__(
        self,
        client: Client,
        recorder: Tells | None = None,
        perform: Mapping[type[Any], Callable[[Any], Awaitable[Written | None]]] | None = None,
    ) -> None:
        self.client = client
        self.recorder = recorder
        self.perform = dict(perform or {})

    async def __call__(self, action: Any) -> Written | None:
        """What was written, so that the loop can wait for it."""
        match action:
            case Create(resource, body, unless_there):
                try:
                    return _written(resource, await self.client.create(resource, body))
                except errors.AlreadyExists:
                    if not unless_there:
                        raise
                    return None
            case Patch(resource, key, body, kind, subresource):
                after = await self.client.patch(
                    resource, key, body, kind, subresource=subresource, force=kind == "apply"
                )
                return _written(resource, after)
            case Delete():
                return await self._delete(action)
            case Evict():
                await self._evict(action)
                return None
            case Event():
                if self.recorder is not None:
                    self.recorder.record(action)
                return None
            case _:
                return await self.perform[type(action)](action)

    async def _delete(self, action: Delete) -> Written | None:
        try:
            left = await self.client.delete(
                action.resource,
                action.key,
                uid=action.uid,
                resource_version=action.resource_version,
                grace=action.grace,
                propagation=action.propagation,
            )
        except errors.NotFound:
            return None
        if lingers(left):
            return _written(action.resource, left)
        told = left.get("details") if left.get("kind") == "Status" else left["metadata"]
        return Written(action.resource, Key(*action.key), "", (told or {}).get("uid") or action.uid)

    async def _evict(self, action: Evict) -> None:
        options: Obj = {}
        if action.uid:
            options["preconditions"] = {"uid": action.uid}
        if action.grace is not None:
            options["gracePeriodSeconds"] = action.grace
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"namespace": action.key[0], "name": action.key[1]},
            "deleteOptions": options,
        }
        try:
            await self.client.post(PODS, action.key, "eviction", body)
        except errors.NotFound:
            pass
        except errors.TooMany as error:
            why = f"a disruption budget keeps the pod: {error.message}"
            raise errors.NotYet(why, error.retry_after or 5.0) from error


def _written(resource: Resource, obj: Obj) -> Written | None:
    metadata = obj.get("metadata") or {}
    if not metadata.get("resourceVersion"):
        return None  # a dry run, or a subresource that answers with something else
    return Written(resource, key_of(obj), metadata["resourceVersion"], metadata.get("uid", ""))


@dataclass(frozen=True)
class Decision:
    """One turn, for /debug/decisions. What is told is complete: `virtctl replay` decides on it
    again."""

    at: float
    key: str
    seen: Any
    plan: Plan | None
    outcome: str
    seconds: float

    def packed(self) -> bytes:
        """As it is kept: a VMI and its pod are 100 KiB as trees, and 2 KiB so."""
        told = {
            "at": self.at,
            "key": self.key,
            "type": _type(self.seen),
            "seen": _json(self.seen),
            "plan": plain_plan(self.plan) if self.plan else None,
            "outcome": self.outcome,
            "seconds": round(self.seconds, 6),
        }
        return zlib.compress(msgspec.json.encode(told), level=1)

    def plain(self) -> dict[str, Any]:
        return unpacked(self.packed())


def unpacked(told: bytes) -> dict[str, Any]:
    """A decision that was packed, as plain JSON values."""
    return msgspec.json.decode(zlib.decompress(told), type=dict[str, Any])


class Loop(Generic[K, S]):
    """One controller. `add` keys to it from change handlers and `run` it in a task.

    `stores` are the mirrors that `seen` looks into: the ones that must show what was written.
    """

    def __init__(
        self,
        name: str,
        seen: Callable[[K], S | Awaitable[S | None] | None],
        decide: Callable[[S], Plan],
        act: Callable[[Any], Awaitable[Written | None]],
        *,
        stores: Sequence[Informer[Any]] = (),
        queue: Queue[K] | None = None,
        workers: int = 4,
        on_refused: Callable[[K, errors.Refused], Awaitable[None]] | None = None,
        keep: int = 200,
    ) -> None:
        self.name = name
        self.seen = seen
        self.decide = decide
        self.act = act
        self.stores = tuple(stores)
        self.queue: Queue[K] = queue if queue is not None else metered(name)
        self.workers = workers
        self.on_refused = on_refused
        self._decisions: deque[bytes] = deque(maxlen=keep)
        self._unseen: dict[K, tuple[float, list[Written]]] = {}
        self._awaited: set[K] = set()
        self._tasks: asyncio.TaskGroup | None = None

    def add(self, key: K) -> None:
        self.queue.add(key)

    def add_after(self, key: K, seconds: float) -> None:
        self.queue.add_after(key, seconds)

    def decisions(self) -> list[dict[str, Any]]:
        """The last turns, newest first, as plain JSON values."""
        return [unpacked(told) for told in reversed(self._decisions)]

    async def run(self) -> None:
        """Work until cancelled; a key in work is not torn: cancelling takes effect at an await."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                for _ in range(self.workers):
                    tasks.create_task(self._work())
        finally:
            self._tasks = None
            self.queue.close()

    async def step(self, key: K) -> Plan | None:
        """One turn for a key: the plan, or None where there was nothing to see or to decide yet."""
        began = time.monotonic()
        seen: S | None = None
        plan: Plan | None = None
        outcome = "done"
        try:
            async with asyncio.timeout(ACT_WITHIN):
                if await self._still_unseen(key):
                    return None
                found = self.seen(key)
                seen = await found if inspect.isawaitable(found) else found
                if seen is None:
                    self.queue.forget(key)
                    return None
                plan = self.decide(seen)
                await self._perform(key, plan)
            self.queue.forget(key)
            if plan.again_in is not None:
                self.queue.add_after(key, max(plan.again_in, SOONEST))
        except errors.NotYet as error:
            outcome = f"not yet: {error.why}"
            self.queue.add_after(key, error.again_in)
        except errors.Refused as error:
            outcome = f"refused: {error}"
            await self._refused(key, error)
        except (errors.Conflict, errors.Gone) as error:
            outcome = f"again: {error}"
            self.queue.retry(key)
            if self.queue.failures(key) > STUBBORN:
                log.warning(
                    "a write does not fit again and again",
                    extra={"loop": self.name, "key": str(key), "error": str(error)},
                )
        except errors.NotLeading:
            raise
        except errors.Terminating as error:
            outcome = f"not yet: {error.message}"
            self.queue.forget(key)
            self.queue.add_after(key, ENDS_WITHIN)
        except errors.ApiError as error:
            outcome = f"failed: {error}"
            after = max(self.queue.retry(key), error.retry_after or 0)
            log.warning(
                "a write or read failed",
                extra={"loop": self.name, "key": str(key), "error": str(error), "after": after},
            )
        except Exception as error:
            outcome = f"bug: {error!r}"
            self.queue.retry(key)
            log.exception("a turn failed", extra={"loop": self.name, "key": str(key)})
        seconds = time.monotonic() - began
        self._note(Decision(time.time(), str(key), seen, plan, outcome, seconds))
        return plan

    async def _refused(self, key: K, refused: errors.Refused) -> None:
        """Tell the user; only that may be worth another try, the spec is not."""
        self.queue.forget(key)
        if self.on_refused is None:
            return
        try:
            await self.on_refused(key, refused)
        except errors.ApiError as error:
            log.info("cannot say what is wrong", extra={"key": str(key), "error": str(error)})
            self.queue.retry(key)

    async def _perform(self, key: K, plan: Plan) -> None:
        for action in (*plan.actions, *([plan.status] if plan.status else [])):
            written = await self.act(action)
            if written is None:
                continue
            if any(store.resource == written.resource for store in self.stores):
                deadline = asyncio.get_running_loop().time() + SHOWN_WITHIN
                _, waiting = self._unseen.get(key, (0.0, []))
                self._unseen[key] = (deadline, [*waiting, written])

    async def _still_unseen(self, key: K) -> bool:
        """Whether a write on this key is not shown yet; then the key comes back when it is."""
        if key not in self._unseen:
            return False
        deadline, waiting = self._unseen[key]
        waiting = [written for written in waiting if not self._shown(written)]
        if not waiting:
            del self._unseen[key]
            return False
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0:
            del self._unseen[key]
            log.warning(
                "the store does not show what was written",
                extra={"loop": self.name, "key": str(key), "written": str(waiting)},
            )
            return False
        self._unseen[key] = (deadline, waiting)
        if self._tasks is None:
            self.queue.add_after(key, min(left, 0.1))
        elif key not in self._awaited:
            self._awaited.add(key)
            self._tasks.create_task(self._when_shown(key, waiting, left))
        return True

    async def _when_shown(self, key: K, waiting: Sequence[Written], within: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                for written in waiting:
                    await self._until_shown(written)
        self._awaited.discard(key)
        self.queue.add(key)

    async def _until_shown(self, written: Written) -> None:
        """Until one store shows it: another of the same resource may not select the object."""
        looks = [
            asyncio.ensure_future(store.wait_until(written.key, written.version, written.uid))
            for store in self._stores_of(written)
        ]
        try:
            await asyncio.wait(looks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for look in looks:
                look.cancel()
            await asyncio.gather(*looks, return_exceptions=True)

    def _shown(self, written: Written) -> bool:
        return any(
            store.shows(written.key, written.version, written.uid)
            for store in self._stores_of(written)
        )

    def _stores_of(self, written: Written) -> list[Informer[Any]]:
        return [store for store in self.stores if store.resource == written.resource]

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                await self.step(key)
            finally:
                self.queue.done(key)
            # A decision that wants to be made again at once must not be all that happens.
            await asyncio.sleep(0)

    def _note(self, decision: Decision) -> None:
        self._decisions.append(decision.packed())
        plan = decision.plan
        if plan is None and decision.outcome == "done":
            return
        acted = plan is not None and (plan.actions or plan.status)
        log.log(
            logging.INFO if acted else logging.DEBUG,
            "decided",
            extra={
                "loop": self.name,
                "key": decision.key,
                "why": plan.why if plan else "",
                "actions": [type(action).__name__ for action in plan.actions] if plan else [],
                "outcome": decision.outcome,
                "ms": round(decision.seconds * 1000, 1),
            },
        )


def plain_plan(plan: Plan) -> dict[str, Any]:
    """A plan, each action with the name of its type."""
    return {
        "why": plan.why,
        "actions": [_action(action) for action in plan.actions],
        "status": _action(plan.status) if plan.status else None,
        "again_in": plan.again_in,
    }


def _action(action: Any) -> dict[str, Any]:
    fields = plain(action)
    return {"do": type(action).__name__, **(fields if isinstance(fields, dict) else {})}


def _type(value: Any) -> str:
    """Where a type is to be found again."""
    return f"{type(value).__module__}:{type(value).__qualname__}"


def plain(value: Any) -> Any:
    """Plain JSON values out of Structs, dataclasses and what they hold; words where it has none."""
    return msgspec.json.decode(_json(value))


def _json(value: Any) -> msgspec.Raw:
    try:
        return msgspec.Raw(msgspec.json.encode(value, enc_hook=repr))
    except (TypeError, ValueError, OverflowError):
        return msgspec.Raw(msgspec.json.encode(repr(value)))
