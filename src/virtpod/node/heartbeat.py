"""This node, as virt-handler writes it: may VMs be scheduled here, is the agent alive, what can
the node do. One patch a minute; labels only where they differ.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from virtpod.controllers import conditions
from virtpod.kube import errors
from virtpod.kube.client import Client
from virtpod.kube.resources import NODES, Key
from virtpod.node import labels

log = logging.getLogger(__name__)

EVERY = 60.0
"""Seconds; a node is thought dead after five minutes without."""
RETRY = 5.0
LONGEST = 4000
"""Characters of a condition's message."""
SCHEDULABLE = "kubevirt.io/schedulable"
CPU_MANAGER = "kubevirt.io/cpumanager"
HEARTBEAT = "kubevirt.io/heartbeat"
SKIP = "node-labeller.kubevirt.io/skip-node"

Json = dict[str, Any]


class Heartbeat:
    """`run()` it in a task. `abilities` gives the labels of what the node can do; `ready` whether
    VMs may come; `own_cpus` whether a guest can have CPUs of its own; `wake()` looks again at
    once."""

    def __init__(
        self,
        client: Client,
        node: str,
        abilities: Callable[[], Awaitable[Mapping[str, str]]],
        ready: Callable[[], bool],
        own_cpus: Callable[[], Awaitable[bool]],
    ) -> None:
        self.client = client
        self.node = node
        self.abilities = abilities
        self.ready = ready
        self.own_cpus = own_cpus
        self._known: Json | None = None
        self._wake = asyncio.Event()

    @property
    def known(self) -> Json | None:
        """The node as it was at the last heartbeat."""
        return self._known

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        while True:
            pause = EVERY * random.uniform(0.9, 1.1)
            self._wake.clear()
            try:
                await self.beat()
            except errors.ApiError as error:
                log.warning("no heartbeat", extra={"node": self.node, "error": str(error)})
                pause = RETRY * random.uniform(0.5, 1.5)
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def stop(self) -> None:
        """No new VMs here: we are leaving."""
        body = {"metadata": {"labels": {SCHEDULABLE: "false"}}}
        await self.client.patch(NODES, Key("", self.node), body)

    async def condition(self, kind: str, complaints: Sequence[str]) -> None:
        """A condition of the node: True where nobody complains. Raises ApiError."""
        before = conditions.of(await self.client.get(NODES, Key("", self.node)))
        now = time.time()
        said: conditions.Condition = {
            "type": kind,
            "status": "False" if complaints else "True",
            "reason": "NotAsConfigured" if complaints else "AsConfigured",
            "message": "; ".join(complaints)[:LONGEST],
        }
        after = conditions.find(conditions.put(before, said, now), kind) or said
        beats = {**after, "lastHeartbeatTime": conditions.stamp(now)}
        body = {"status": {"conditions": [beats]}}
        await self.client.patch(NODES, Key("", self.node), body, "strategic", subresource="status")

    async def beat(self) -> None:
        """One heartbeat: one patch, or two where somebody has meddled with the labels."""
        ready, cpus, abilities = self.ready(), await self.own_cpus(), await self.abilities()
        if self._known is None:
            self._known = await self.client.get(NODES, Key("", self.node))
        body = patch(self._known, abilities, ready, cpus, datetime.now(UTC))
        after = await self.client.patch(NODES, Key("", self.node), body)
        # What somebody else took away or added is seen in the answer, without watching the node.
        wanted = patch(after, abilities, ready, cpus, datetime.now(UTC))
        if wanted["metadata"]["labels"]:
            after = await self.client.patch(NODES, Key("", self.node), wanted)
        self._known = after


def patch(
    node: Json, abilities: Mapping[str, str], ready: bool, own_cpus: bool, now: datetime
) -> Json:
    """The merge patch: the heartbeat, and labels that differ."""
    metadata = node["metadata"]
    have = metadata.get("labels") or {}
    wanted = {SCHEDULABLE: str(ready).lower(), CPU_MANAGER: str(own_cpus).lower()}
    if not abilities or SKIP in (metadata.get("annotations") or {}):
        # What is not known is not gone: nothing is taken away.
        change: dict[str, str | None] = {
            name: value for name, value in wanted.items() if have.get(name) != value
        }
    else:
        change = labels.difference(have, {**wanted, **abilities})
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"metadata": {"labels": change, "annotations": {HEARTBEAT: stamp}}}
