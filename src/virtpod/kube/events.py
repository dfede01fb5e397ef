"""Kubernetes Events, told without ever making a reconciler wait.

One event per transition is the caller's rule; ours is that the same event told again only counts
up on the one that is there, and that a flood is dropped rather than written.

Source: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from virtpod.kube import errors
from virtpod.kube.client import Client
from virtpod.kube.plan import Event, Reference
from virtpod.kube.resources import EVENTS, Key, Obj

log = logging.getLogger(__name__)

REMEMBERED = 4096  # events that a repetition is matched against
WAITING = 1000  # events not written yet; older ones are dropped
SAME_FOR = 600.0  # seconds after which the same words are a new event
LONGEST_MESSAGE = 1024  # the API server refuses more


@dataclass
class _Told:
    key: Key
    count: int
    first: str
    at: float


class Recorder:
    """`run()` it in a task; `event(...)` from anywhere."""

    def __init__(
        self,
        client: Client,
        component: str,
        host: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.client = client
        self.component = component
        self.host = host
        self._clock = clock
        self._waiting: deque[Event] = deque()
        self._told: OrderedDict[Event, _Told] = OrderedDict()
        self._more = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.dropped = 0

    def event(
        self, about: Reference, type: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None:
        self.record(Event(about, type, reason, message))

    def record(self, event: Event) -> None:
        """Keep it for writing; where too many wait, the oldest is dropped."""
        if len(self._waiting) >= WAITING:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(event)
        self._idle.clear()
        self._more.set()

    async def flush(self, timeout: float = 5.0) -> None:
        """Until all is written; TimeoutError after `timeout` seconds."""
        async with asyncio.timeout(timeout):
            await self._idle.wait()

    async def run(self) -> None:
        while True:
            await self._more.wait()
            while self._waiting:
                event = self._waiting.popleft()
                try:
                    await self._write(event)
                except errors.ApiError as error:
                    # An event is news, not state: it is not worth a second attempt of ours.
                    log.info(
                        "an event is lost", extra={"reason": event.reason, "error": str(error)}
                    )
            self._more.clear()
            self._idle.set()

    async def _write(self, event: Event) -> None:
        now = self._clock()
        told = self._told.get(event)
        if told is not None and now - told.at < SAME_FOR:
            try:
                await self.client.patch(
                    EVENTS,
                    told.key,
                    {"count": told.count + 1, "lastTimestamp": _stamp(now)},
                )
                told.count += 1
                told.at = now
                self._told.move_to_end(event)
                return
            except errors.NotFound:
                pass  # events live an hour: begin anew
        body = self._body(event, now)
        try:
            await self.client.create(EVENTS, body)
        except errors.AlreadyExists:
            return
        except errors.NotFound:
            return  # the namespace went away
        except errors.Forbidden:
            return  # the namespace is going away
        name = Key(body["metadata"]["namespace"], body["metadata"]["name"])
        self._told[event] = _Told(name, 1, body["firstTimestamp"], now)
        while len(self._told) > REMEMBERED:
            self._told.popitem(last=False)

    def _body(self, event: Event, now: float) -> Obj:
        about = event.about
        said = f"{about.uid}{event.type}{event.reason}{event.message}{self.component}{now}"
        digest = hashlib.sha256(said.encode()).hexdigest()[:16]
        stamp = _stamp(now)
        source = {"component": self.component}
        if self.host:
            source["host"] = self.host
        return {
            "metadata": {
                "namespace": about.namespace or "default",
                "name": f"{about.name[:200]}.{digest}",
            },
            "involvedObject": {
                "apiVersion": about.api_version,
                "kind": about.kind,
                **({"namespace": about.namespace} if about.namespace else {}),
                "name": about.name,
                **({"uid": about.uid} if about.uid else {}),
            },
            "type": event.type,
            "reason": event.reason,
            "message": event.message[:LONGEST_MESSAGE],
            "source": source,
            "reportingComponent": self.component,
            "reportingInstance": self.host,
            "count": 1,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
        }


def _stamp(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
