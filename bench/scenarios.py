"""What is measured: pods and VMIs that are made, watched and taken away again.

All is made in one namespace of the benchmark's own, which goes in the end, whatever happens.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from bench import audit, memory
from bench.sightings import TOLD, Failed, Sightings
from virtpod.kube import apply
from virtpod.kube.client import Client
from virtpod.kube.errors import AlreadyExists, ApiError, NotFound
from virtpod.kube.resources import KUBEVIRTS, NAMESPACES, PODS, VMIS, VMS, Key, Obj

NAMESPACE = "virtpod-bench"
SYSTEM = "kubevirt"
CONSOLE = "/apis/subresources.kubevirt.io/v1/namespaces/{}/virtualmachineinstances/{}/console"
RESTART = "/apis/subresources.kubevirt.io/v1/namespaces/{}/virtualmachines/{}/restart"
PROMPT = b"login:"
FINAL = ("Succeeded", "Failed")
APART = 0.1  # seconds between two creations of a batch
SETTLE = 1.0  # seconds after Running and after the end whose requests count too
REST = 35.0
# A pod that does nothing and ends when told to: the least that Kubernetes itself takes.
SLEEPER = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [15]); signal.sigwait([15])"
# What the launcher's log tells by its own clock, and how we call it.
LOGGED = {"guest prepared": "prepared", "domain changed": "domain"}


@dataclass(frozen=True)
class Deadlines:
    one: float = 120.0
    boot: float = 300.0
    batch: float = 600.0
    removal: float = 180.0


@dataclass
class Timing:
    """Seconds from the create call, or from the delete call, to each step."""

    steps: dict[str, float]
    life: audit.Life


@dataclass
class Batch:
    running: list[float]
    gone: float
    lives: dict[str, audit.Life]
    timings: list[Timing]
    launchers: list[list[memory.Process]] = field(default_factory=list)
    components: dict[str, list[memory.Process]] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)


def guestless() -> Obj:
    """No disk and 1 MiB of memory: what is left is the path itself."""
    return {
        "domain": {
            "memory": {"guest": "1Mi"},
            "devices": {"interfaces": [{"name": "default", "masquerade": {}}]},
        },
        "networks": [{"name": "default", "pod": {}}],
        "terminationGracePeriodSeconds": 0,
    }


@asynccontextmanager
async def namespace(client: Client) -> AsyncIterator[None]:
    """The benchmark's namespace, empty; an earlier run's is taken away first."""
    await _remove(client)
    await client.create(NAMESPACES, {"metadata": {"name": NAMESPACE}})
    try:
        yield
    finally:
        await asyncio.shield(_remove(client))


async def _remove(client: Client) -> None:
    with suppress(NotFound):
        await client.delete(NAMESPACES, Key("", NAMESPACE))
        gone: Callable[[Obj | None], bool] = lambda found: found is None  # noqa: E731
        await apply.wait_for(client, NAMESPACES, Key("", NAMESPACE), gone, Deadlines.removal)


@dataclass
class Resting:
    """A time without work, and the components' processes before and after it."""

    begin: float
    end: float
    before: dict[str, list[memory.Process]]
    after: dict[str, list[memory.Process]]

    def cpu(self, component: str) -> float:
        """Milliseconds of a processor in a minute; of processes that were there all the time."""
        known = {each.pid: each.cpu for each in self.before[component]}
        used = sum(p.cpu - known[p.pid] for p in self.after[component] if p.pid in known)
        return used * 1000 * 60 / (self.end - self.begin)


class Bench:
    """The scenarios, on one client."""

    def __init__(self, client: Client, seen: Sightings, local: bool) -> None:
        self.client = client
        self.seen = seen
        self.local = local

    # One at a time

    async def plain(self, name: str, image: str) -> Timing:
        """A pod of the launcher's image that only waits."""
        compute = {
            "name": "compute",
            "image": image,
            "command": ["/usr/bin/python3", "-I", "-c", SLEEPER],
            "resources": {"requests": {"cpu": "100m"}},
        }
        user = {"runAsUser": 107, "runAsGroup": 107, "runAsNonRoot": True}
        spec = {
            "containers": [compute],
            "securityContext": user,
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
        }
        body: Obj = {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}
        begin = await self._create(PODS, name, body)
        await self.seen.until(name, "Running", Deadlines.one)
        end = time.time()
        await self.client.delete(PODS, Key(NAMESPACE, name))
        await self.seen.until(name, "gone", Deadlines.one)
        return self._timing(name, begin, end)

    async def vmi(self, name: str, spec: Obj) -> Timing:
        """One with a disk is deleted when it has booted: only then does it know the power key."""
        begin = await self._create(VMIS, name, _vmi(name, spec))
        await self.seen.until(name, "Running", Deadlines.one)
        await self._look_inside(name)
        await self._settled(name, spec)
        end = time.time()
        await self.client.delete(VMIS, Key(NAMESPACE, name))
        await self.seen.until(name, "gone", Deadlines.one)
        await asyncio.sleep(SETTLE)
        return self._timing(name, begin, end)

    async def _create(self, resource: Any, name: str, body: Obj) -> float:
        begin = time.time()
        await self.client.create(resource, body)
        self.seen.mark(name, "created")
        return begin

    async def _settled(self, name: str, spec: Obj) -> None:
        """A span that is measured too: what is asked soon after Running counts."""
        if spec.get("volumes"):
            await self._booted(name)
        await asyncio.sleep(SETTLE)

    async def _booted(self, name: str) -> None:
        """The guest's own login prompt, on its serial console."""
        seen = b""
        try:
            async with (
                asyncio.timeout(Deadlines.boot),
                self.client.websocket(
                    CONSOLE.format(NAMESPACE, name), protocols=("plain.kubevirt.io",)
                ) as console,
            ):
                await console.send_bytes(b"\n")
                while PROMPT not in seen:
                    seen += await console.receive_bytes()
        except (ApiError, TypeError, TimeoutError) as error:
            raise Failed(f"{name}: no login prompt: {error!r}; {seen[-200:]!r}") from error
        self.seen.mark(name, "login")

    def _timing(self, name: str, begin: float, end: float) -> Timing:
        marks = self.seen.marks[name]
        after_delete = ("pod gone", "gone")
        steps = {step: at - (end if step in after_delete else begin) for step, at in marks.items()}
        return Timing(steps, self._life(name, begin, end))

    def _life(self, name: str, begin: float, end: float) -> audit.Life:
        return audit.Life(begin, self.seen.marks[name]["Running"] + SETTLE, end)

    async def _look_inside(self, name: str) -> None:
        """What the launcher tells by its log and by /proc; nothing of it is needed."""
        pod = self.seen.pods[name]["metadata"]
        if self.local:
            inside = await asyncio.to_thread(memory.of_pods, [pod["uid"]], False)
            started = [p.started for p in inside[pod["uid"]] if p.name == "virt-launcher"]
            if started:
                self.seen.marks[name]["process"] = min(started)
        path = PODS.path(NAMESPACE, pod["name"], "log")
        try:
            said = await self.client.request("GET", path, query={"container": "compute"})
        except ApiError:
            return
        for at, message in logged(said.body):
            if message in LOGGED:
                self.seen.marks[name].setdefault(LOGGED[message], at)

    # Ends and restarts

    async def poweroff(self, name: str, spec: Obj) -> float:
        """Seconds from the guest's own `poweroff` to Succeeded."""
        await self.client.create(VMIS, _vmi(name, spec))
        await self.seen.until(name, "Running", Deadlines.one)
        async with (
            asyncio.timeout(Deadlines.boot),
            self.client.websocket(
                CONSOLE.format(NAMESPACE, name), protocols=("plain.kubevirt.io",)
            ) as console,
        ):
            for word, answer in ((b"\n", PROMPT), (b"root\n", b"assword:"), (b"demo\n", b"# ")):
                await console.send_bytes(word)
                seen = b""
                while answer not in seen:
                    seen += await console.receive_bytes()
            begin = time.time()
            await console.send_bytes(b"poweroff -f\n")
            await self._phase(name, FINAL)
            took = time.time() - begin
        return await self._taken(VMIS, name, took)

    async def pod_deleted(self, name: str, spec: Obj) -> float:
        """Seconds from the deletion of a booted guest's pod to the guest's end."""
        await self.client.create(VMIS, _vmi(name, spec))
        await self.seen.until(name, "Running", Deadlines.one)
        await self._settled(name, spec)
        begin = time.time()
        await self.client.delete(PODS, Key(NAMESPACE, self.seen.pods[name]["metadata"]["name"]))
        await self._phase(name, FINAL)
        return await self._taken(VMIS, name, time.time() - begin)

    async def restart(self, name: str, spec: Obj) -> tuple[float, float]:
        """Seconds from a VM's restart to the next guest: until it runs, and to its login prompt."""
        template = {"metadata": {}, "spec": spec}
        body: Obj = {
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"runStrategy": "Always", "template": template},
        }
        await self.client.create(VMS, body)
        await self.seen.until(name, "Running", Deadlines.one)
        await self._settled(name, spec)
        before = (await self.client.get(VMIS, Key(NAMESPACE, name)))["metadata"]["uid"]
        begin = time.time()
        await self.client.request("PUT", RESTART.format(NAMESPACE, name))
        await self._phase(name, ("Running",), other_than=before)
        running = time.time() - begin
        await self._booted(name)
        login = time.time() - begin
        await self._taken(VMS, name, 0.0)
        return running, login

    async def _phase(self, name: str, phases: tuple[str, ...], other_than: str = "") -> None:
        def so(found: Obj | None) -> bool:
            if found is None or found["metadata"]["uid"] == other_than:
                return False
            return (found.get("status") or {}).get("phase") in phases

        await apply.wait_for(self.client, VMIS, Key(NAMESPACE, name), so, Deadlines.one)

    async def _taken(self, resource: Any, name: str, result: float) -> float:
        """The object is taken away, and its instance is gone."""
        await self.client.delete(resource, Key(NAMESPACE, name))
        gone: Callable[[Obj | None], bool] = lambda found: found is None  # noqa: E731
        await apply.wait_for(self.client, VMIS, Key(NAMESPACE, name), gone, Deadlines.removal)
        return result

    # Many at once

    async def batch(self, prefix: str, spec: Obj, number: int) -> Batch:
        """Created 100 ms apart, deleted together when all run."""
        names = [f"{prefix}-{index}" for index in range(number)]
        loop = asyncio.get_running_loop()
        before = await self.components(memory_too=False)
        first, begins = loop.time(), {}
        async with asyncio.TaskGroup() as tasks:
            for index, name in enumerate(names):
                await asyncio.sleep(max(0.0, first + index * APART - loop.time()))
                begins[name] = time.time()
                tasks.create_task(self._create(VMIS, name, _vmi(name, spec)))
        for name in names:
            await self.seen.until(name, "Running", Deadlines.batch)
        after = await self.components()
        uids = [self.seen.pods[name]["metadata"]["uid"] for name in names]
        inside = await asyncio.to_thread(memory.of_pods, uids) if self.local else {}
        async with asyncio.TaskGroup() as tasks:
            for name in names:
                tasks.create_task(self._look_inside(name))
                tasks.create_task(self._settled(name, spec))
        end = time.time()
        async with asyncio.TaskGroup() as tasks:
            for name in names:
                tasks.create_task(self.client.delete(VMIS, Key(NAMESPACE, name)))
        gone = [await self.seen.until(name, "gone", Deadlines.batch) for name in names]
        await asyncio.sleep(SETTLE)
        return Batch(
            running=[self.seen.marks[name]["Running"] - begins[name] for name in names],
            gone=max(gone) - end,
            lives={name: self._life(name, begins[name], end) for name in names},
            timings=[self._timing(name, begins[name], end) for name in names],
            launchers=list(inside.values()),
            components=after,
            cpu={
                component: sum(p.cpu for p in processes) - sum(p.cpu for p in before[component])
                for component, processes in after.items()
            },
        )

    # Without work

    async def components(self, memory_too: bool = True) -> dict[str, list[memory.Process]]:
        """The processes of each component, of all its replicas."""
        found: dict[str, list[memory.Process]] = {name: [] for name in audit.COMPONENTS.values()}
        if not self.local:
            return found
        pods = (await self.client.list(PODS, namespace=SYSTEM, labels="kubevirt.io")).items
        owners = {pod["metadata"]["uid"]: pod["metadata"]["labels"]["kubevirt.io"] for pod in pods}
        inside = await asyncio.to_thread(memory.of_pods, owners, memory_too)
        for uid, processes in inside.items():
            if owners[uid] in found:
                found[owners[uid]] += processes
        return found

    async def rest(self) -> Resting:
        """A time in which nobody asks for anything."""
        before = await self.components(memory_too=False)
        begin = time.time()
        await asyncio.sleep(REST)
        end = time.time()
        return Resting(begin, end, before, await self.components())

    async def install(self) -> tuple[float, float]:
        """Seconds until all of an installation is gone, and until it is there again: images are on
        the nodes, and virt-operator runs."""
        key = Key(SYSTEM, "kubevirt")
        before = await self.client.get(KUBEVIRTS, key)
        wish = {"metadata": {"name": key.name, "namespace": key.namespace}, "spec": before["spec"]}
        began = time.time()
        await self.client.delete(KUBEVIRTS, key)
        try:
            await apply.wait_for(
                self.client, KUBEVIRTS, key, lambda found: found is None, Deadlines.removal
            )
            gone = time.time()
        finally:
            with suppress(AlreadyExists):
                await self.client.create(KUBEVIRTS, wish)
        await apply.wait_for(self.client, KUBEVIRTS, key, settled, Deadlines.batch)
        return gone - began, time.time() - gone


def _vmi(name: str, spec: Obj) -> Obj:
    return {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}


def logged(body: bytes) -> list[tuple[float, str]]:
    """(time, message) of a launcher's structured lines; others are libvirt's and dnsmasq's."""
    found = []
    for line in body.splitlines():
        if line.startswith(b"{"):
            with suppress(ValueError, KeyError, TypeError):
                said = json.loads(line)
                found.append((float(said["ts"]), str(said["msg"])))
    return found


def medians(timings: list[Timing]) -> dict[str, float]:
    """Each step's median, in the order in which they happen."""
    steps = {step for timing in timings for step in timing.steps}
    found = {
        step: statistics.median(t.steps[step] for t in timings if step in t.steps)
        for step in steps & TOLD.keys()
    }
    return dict(sorted(found.items(), key=lambda item: (item[0].endswith("gone"), item[1])))


def percentile(values: list[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


__all__ = ["Batch", "Bench", "Failed", "Timing", "medians", "percentile"]


def settled(kubevirt: Obj | None) -> bool:
    """Whether what the KubeVirt object's generation asks for is there."""
    status = (kubevirt or {}).get("status") or {}
    said = {each["type"]: each["status"] for each in status.get("conditions", ())}
    return (
        kubevirt is not None
        and status.get("observedGeneration") == kubevirt["metadata"]["generation"]
        and (said.get("Available"), said.get("Progressing")) == ("True", "False")
    )
