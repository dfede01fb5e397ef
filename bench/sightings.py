"""When a client's watch first showed each step of a VMI's life, or of a pod's.

Times of arrival are the measure: the API's own time stamps are whole seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from virtpod.kube.client import Client
from virtpod.kube.resources import PODS, VMIS, Key, Obj, owner_of
from virtpod.kube.store import Informer

TOLD = {
    "created": "the create call returned",
    "Pending": "VMI Pending",
    "pod": "launcher pod created",
    "scheduled": "pod scheduled",
    "Scheduling": "VMI Scheduling",
    "sandbox": "sandbox ready",
    "process": "launcher process started",
    "prepared": "launcher: guest prepared",
    "domain": "launcher: domain runs",
    "compute": "compute container started, says the kubelet",
    "Scheduled": "VMI Scheduled",
    "Running": "VMI Running",
    "login": "the guest's login prompt",
    "pod gone": "delete to pod gone",
    "gone": "delete to gone",
}


class Failed(Exception):
    """A measurement that could not be made."""


class Sightings:
    """`marks[name][step]` is the wall-clock time; run `run()` in a task."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.marks: dict[str, dict[str, float]] = defaultdict(dict)
        self.pods: dict[str, Obj] = {}
        self._failures: dict[str, str] = {}
        self._changed = asyncio.Condition()
        self._events: dict[tuple[str, str], asyncio.Event] = defaultdict(asyncio.Event)
        self._vmis = Informer(client, VMIS, namespace=namespace)
        self._pods = Informer(client, PODS, namespace=namespace)
        self._vmis.on_change(self._vmi)
        self._pods.on_change(self._pod)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._vmis.run())
            tasks.create_task(self._pods.run())

    async def ready(self) -> None:
        await self._vmis.wait_synced()
        await self._pods.wait_synced()

    def mark(self, name: str, step: str) -> None:
        self.marks[name].setdefault(step, time.time())
        self._events[name, step].set()

    async def until(self, name: str, step: str, timeout: float) -> float:
        """The time of a step. Raises Failed where it does not come, or cannot any more."""
        try:
            async with asyncio.timeout(timeout):
                await self._events[name, step].wait()
        except TimeoutError:
            seen = ", ".join(self.marks[name])
            raise Failed(f"{name}: no {step} within {timeout:g} s; seen: {seen}") from None
        if name in self._failures and step != "gone":
            raise Failed(f"{name}: {self._failures[name]}")
        return self.marks[name][step]

    def _vmi(self, key: Key, old: Obj | None, new: Obj | None) -> None:
        if new is None:
            self.mark(key.name, "gone")
            return
        phase = new.get("status", {}).get("phase", "")
        if phase:
            self.mark(key.name, phase)
        if phase in ("Failed", "Succeeded"):
            conditions = new["status"].get("conditions", [])
            said = "; ".join(c["message"] for c in conditions if c.get("message"))
            self._failures[key.name] = f"{phase}: {said}"
            self.mark(key.name, "Running")

    def _pod(self, key: Key, old: Obj | None, new: Obj | None) -> None:
        owner = owner_of(new or old or {"metadata": {}})
        name = owner["name"] if owner is not None else key.name
        if new is None:
            self.mark(name, "pod gone" if owner is not None else "gone")
            return
        self.pods[name] = new
        for step in steps_of(new):
            self.mark(name, step)
        if owner is None and new.get("status", {}).get("phase") == "Running":
            self.mark(name, "Running")


def steps_of(pod: dict[str, Any]) -> Iterator[str]:
    """What a pod's object says has happened."""
    yield "pod"
    if pod["spec"].get("nodeName"):
        yield "scheduled"
    status = pod.get("status", {})
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodReadyToStartContainers" and condition["status"] == "True":
            yield "sandbox"
    for container in status.get("containerStatuses", ()):
        if container["name"] == "compute" and "running" in container.get("state", {}):
            yield "compute"
