"""A limit on a client's requests: a bucket of tokens that fills with time.

https://pkg.go.dev/k8s.io/client-go/util/flowcontrol
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class Limiter:
    """No limit until there is one. One token a request; those who find none wait in turn."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rate = 0.0
        self._burst = 0
        self._tokens = 0.0
        self._at = clock()

    def limit(self, rate: float, burst: int) -> None:
        """Requests a second in the long run, and how many at once; a rate of 0 takes it away."""
        if (rate, burst) != (self._rate, self._burst):
            self._rate, self._burst = rate, burst
            self._tokens, self._at = float(burst), self._clock()

    async def take(self) -> float:
        """Waits for a token; the seconds that it took."""
        if self._rate <= 0:
            return 0.0
        now = self._clock()
        self._tokens = min(float(self._burst), self._tokens + (now - self._at) * self._rate)
        self._at = now
        self._tokens -= 1  # below nothing: taken from what will come, by those who wait
        if self._tokens >= 0:
            return 0.0
        wait = -self._tokens / self._rate
        await asyncio.sleep(wait)
        return wait
