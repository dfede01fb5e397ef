"""A work queue with the promises of client-go's: fair, stingy, and no key worked on twice at once.

Three things hold a key: `dirty` (must be worked on), `processing` (is being worked on) and the line
of those whose turn comes. A key that is added while it is worked on waits in `dirty` and joins the
line when it is done: so it is seen again, and never by two workers.

Source: https://pkg.go.dev/k8s.io/client-go/util/workqueue
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Backoff:
    """Seconds before the nth try again: doubled, bounded, and spread by up to `jitter`."""

    first: float = 0.05
    most: float = 60.0
    jitter: float = 0.5

    def after(self, failures: int) -> float:
        pause = min(self.first * 2.0 ** min(failures, 40), self.most)
        return pause * (1 + self.jitter * (random.random() - 0.5))


class Meter(Protocol):
    """What is measured of a queue; `kube.metrics` has the one for Prometheus."""

    def added(self, depth: int) -> None: ...
    def got(self, waited: float, depth: int) -> None: ...
    def done(self, worked: float) -> None: ...
    def retried(self) -> None: ...


class Queue(Generic[K]):
    def __init__(
        self,
        name: str,
        backoff: Backoff | None = None,
        meter: Meter | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.name = name
        self.backoff = backoff or Backoff()
        self.meter = meter
        self._clock = clock
        self._line: deque[K] = deque()
        self._dirty: dict[K, float] = {}  # since when
        self._processing: dict[K, float] = {}
        self._failures: dict[K, int] = {}
        self._later: dict[K, asyncio.TimerHandle] = {}
        self._ready: deque[asyncio.Future[None]] = deque()

    def add(self, key: K) -> None:
        """Its turn will come; that it waits already changes nothing."""
        if key in self._dirty:
            return
        self._dirty[key] = self._now()
        if key not in self._processing:
            self._line.append(key)
            self._wake()
        if self.meter:
            self.meter.added(len(self._line))

    def add_after(self, key: K, seconds: float) -> None:
        """Add it later; of several times for a key, the soonest holds."""
        if seconds <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        waiting = self._later.get(key)
        if waiting is not None:
            if waiting.when() <= due:
                return
            waiting.cancel()
        self._later[key] = loop.call_at(due, self._due, key)

    def retry(self, key: K) -> float:
        """Add it after its back-off, which grows until `forget`; returns the seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        seconds = self.backoff.after(failures)
        if self.meter:
            self.meter.retried()
        self.add_after(key, seconds)
        return seconds

    def forget(self, key: K) -> None:
        """It went well: the next back-off begins anew."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """The key whose turn it is; `done` must follow."""
        while not self._line:
            ready = asyncio.get_running_loop().create_future()
            self._ready.append(ready)
            try:
                await ready
            except asyncio.CancelledError:
                if ready.done() and not ready.cancelled():
                    self._wake()  # we were woken and are going: wake another
                raise
            finally:
                if ready in self._ready:
                    self._ready.remove(ready)
        return self._begin(self._line.popleft())

    def done(self, key: K) -> None:
        began = self._processing.pop(key)
        if self.meter:
            self.meter.done(self._now() - began)
        if key in self._dirty:
            self._line.append(key)
            self._wake()

    def processing(self) -> dict[K, float]:
        """What is worked on now, and for how many seconds."""
        now = self._now()
        return {key: now - began for key, began in self._processing.items()}

    def close(self) -> None:
        """Forget what was to come later."""
        for timer in self._later.values():
            timer.cancel()
        self._later.clear()

    def __len__(self) -> int:
        return len(self._line)

    def _begin(self, key: K) -> K:
        now = self._now()
        waited = now - self._dirty.pop(key)
        self._processing[key] = now
        if self.meter:
            self.meter.got(waited, len(self._line))
        return key

    def _due(self, key: K) -> None:
        self._later.pop(key, None)
        self.add(key)

    def _wake(self) -> None:
        while self._ready:
            ready = self._ready.popleft()
            if not ready.done():
                ready.set_result(None)
                return

    def _now(self) -> float:
        return self._clock() if self._clock else asyncio.get_running_loop().time()
