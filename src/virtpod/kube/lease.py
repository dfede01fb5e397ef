"""Leader election on a Lease: one replica works, another takes over when it falls silent.

Two guards against two leaders. The work is cancelled as soon as the lease could not be renewed in
time, well before another may take it; and a client from `client.guarded(lease.check)` refuses every
write once the time is over, even if the event loop was stalled and nobody could cancel anything.
Only our own monotonic clock counts: another's stamps are watched for change, never compared.

Sources: https://kubernetes.io/docs/concepts/architecture/leases/
https://pkg.go.dev/k8s.io/client-go/tools/leaderelection
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

from virtpod.kube import errors
from virtpod.kube.client import Client
from virtpod.kube.resources import LEASES, Key, Obj

log = logging.getLogger(__name__)

LASTS = 15.0  # seconds without renewal after which another may take it
RENEW_WITHIN = 10.0  # seconds without renewal after which the leader stops
EVERY = 2.0  # seconds between renewals, and between looks of those who wait


class Lease:
    def __init__(
        self,
        client: Client,
        key: Key,
        identity: str,
        *,
        lasts: float = LASTS,
        renew_within: float = RENEW_WITHIN,
        every: float = EVERY,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    ) -> None:
        self.client = client
        self.key = Key(*key)
        self.identity = identity
        self.lasts = lasts
        self.renew_within = renew_within
        self.every = every
        self._clock = clock
        self._pause = pause
        self._renewed: float | None = None  # when we last surely held it
        self._theirs: tuple[str, float] = ("", 0.0)  # the version last seen, and since when
        self._ours: Obj | None = None  # as our last write left it; the next rests on its version

    @property
    def leading(self) -> bool:
        return self._renewed is not None and self._clock() - self._renewed < self.renew_within

    def check(self) -> None:
        """For `client.guarded`: NotLeading once we may not be the leader any more."""
        if not self.leading:
            raise errors.NotLeading(f"{self.identity} does not hold {self.key}")

    async def lead(self, work: Callable[[], Awaitable[Any]]) -> None:
        """Wait for the lease, run `work` while it is held, release it.

        Ends when the work ends. Raises NotLeading, the work being cancelled, when the lease is
        lost; a process does best to exit then, so that nothing of its old term survives.
        """
        while not await self._try():
            await self._pause(self.every * random.uniform(1.0, 1.2))
        log.info("leading", extra={"lease": str(self.key), "identity": self.identity})
        working = asyncio.ensure_future(work())
        renewing = asyncio.ensure_future(self._renew())
        try:
            await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                log.warning("lost the lease", extra={"lease": str(self.key)})
                raise errors.NotLeading(f"{self.identity} lost {self.key}")
            try:
                await working
            except Exception as error:
                if self.leading:
                    raise
                raise errors.NotLeading(f"{self.identity} lost {self.key}") from error
        finally:
            for task in (working, renewing):
                task.cancel()
            await asyncio.gather(working, renewing, return_exceptions=True)
            await self._release()

    async def _renew(self) -> None:
        """Until it cannot be renewed in time."""
        while self.leading:
            await self._pause(self.every)
            left = self.renew_within - (self._clock() - (self._renewed or 0.0))
            if left <= 0:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    if not await self._try() and self._renewed is None:
                        return

    async def _try(self) -> bool:
        """Take or renew it; False where it is another's, or where nothing can be known."""
        asked = self._clock()  # the term counts from before the request, not from its answer
        known, self._ours = self._ours, None
        try:
            try:
                lease = known or await self.client.get(LEASES, self.key)
            except errors.NotFound:
                self._ours = await self.client.create(LEASES, self._body(None))
                self._renewed = asked
                return True
            spec = lease.get("spec") or {}
            holder = spec.get("holderIdentity") or ""
            if holder and holder != self.identity and not self._silent(lease, asked):
                self._renewed = None
                return False
            self._ours = await self.client.update(LEASES, self._body(lease))
            self._renewed = asked
            return True
        except (errors.Conflict, errors.NotFound):
            return False
        except errors.ApiError as error:
            log.warning("cannot renew", extra={"lease": str(self.key), "error": str(error)})
            return False

    def _silent(self, lease: Obj, now: float) -> bool:
        """Whether its holder has not touched it for as long as it promised to."""
        version = lease["metadata"]["resourceVersion"]
        if version != self._theirs[0]:
            self._theirs = (version, now)
            return False
        lasts = lease["spec"].get("leaseDurationSeconds") or self.lasts
        return now - self._theirs[1] > lasts

    def _body(self, lease: Obj | None) -> Obj:
        old = (lease or {}).get("spec") or {}
        ours = old.get("holderIdentity") == self.identity
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {
            "metadata": (lease or {}).get("metadata")
            or {"namespace": self.key.namespace, "name": self.key.name},
            "spec": {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": int(self.lasts),
                "acquireTime": old.get("acquireTime") if ours else now,
                "renewTime": now,
                "leaseTransitions": (old.get("leaseTransitions") or 0) + (0 if ours else 1)
                if lease
                else 0,
            },
        }

    async def _release(self) -> None:
        """Give it back, so that another need not wait for our silence."""
        if not self.leading:
            self._renewed = None
            return
        self._renewed = None
        with contextlib.suppress(errors.ApiError, TimeoutError):
            async with asyncio.timeout(self.every):
                lease = await self.client.get(LEASES, self.key)
                if (lease.get("spec") or {}).get("holderIdentity") == self.identity:
                    lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                    await self.client.update(LEASES, lease)
