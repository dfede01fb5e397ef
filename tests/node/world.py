"""A node for tests of virt-handler: a fake API server, a kubelet's pods folder, and a launcher that
speaks the real protocol from this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.kube.fake import FakeCluster
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.kube.events import Recorder
from virtpod.kube.resources import PODS, VMIS
from virtpod.node.attended import Place, Ways
from virtpod.node.inotify import Inotify
from virtpod.node.peer import Peer
from virtpod.node.probe import Probe
from virtpod.node.sync import VOLUMES, NodeSync
from virtpod.wire import codec
from virtpod.wire.messages import (
    DomainChanged,
    Done,
    Failed,
    Hello,
    Link,
    Request,
    Welcome,
)

NODE = "node1"
UID = "5f0d1c4e-0000-4000-8000-000000000001"
POD_UID = "5f0d1c4e-0000-4000-8000-00000000000a"
WITHIN = 10.0
RUNNING = DomainChanged(seq=1, state="Running", reason="Unknown", machine="pc-q35", started=True)


def vmi(phase: str = "Scheduling", **status: Any) -> dict[str, Any]:
    """A VMI as virt-controller leaves it; from Scheduled on it bears the node's label."""
    obj: dict[str, Any] = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {
            "namespace": "default",
            "name": "demo",
            "uid": UID,
            "finalizers": ["kubevirt.io/foregroundDeleteVirtualMachine"],
        },
        "spec": {
            "domain": {
                "devices": {"interfaces": [{"name": "default", "masquerade": {}}]},
                "firmware": {"uuid": "11111111-0000-4000-8000-000000000001"},
            },
            "networks": [{"name": "default", "pod": {}}],
        },
        "status": {
            "phase": phase,
            "phaseTransitionTimestamps": [
                {"phase": phase, "phaseTransitionTimestamp": "2026-01-01T00:00:00Z"}
            ],
            **status,
        },
    }
    if phase not in ("Pending", "Scheduling"):
        obj["metadata"]["labels"] = {"kubevirt.io/nodeName": NODE}
        obj["status"]["nodeName"] = NODE
    return obj


def pod(running: bool = False, ended: int | None = None, **metadata: Any) -> dict[str, Any]:
    """The launcher's pod; `ended` is the compute container's exit code."""
    status: dict[str, Any] = {"phase": "Pending"}
    if running:
        status = {
            "phase": "Running",
            "podIPs": [{"ip": "10.1.0.7"}],
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "compute", "state": {"running": {}}}],
        }
    if ended is not None:
        status = {
            "phase": "Failed" if ended else "Succeeded",
            "containerStatuses": [
                {"name": "compute", "state": {"terminated": {"exitCode": ended}}}
            ],
        }
    owner = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "name": "demo",
        "uid": UID,
        "controller": True,
    }
    return {
        "metadata": {
            "namespace": "default",
            "name": "virt-launcher-demo-abcde",
            "uid": POD_UID,
            "labels": {"kubevirt.io": "virt-launcher"},
            "ownerReferences": [owner],
            **metadata,
        },
        "spec": {
            "nodeName": NODE,
            "containers": [{"name": "compute"}],
            "terminationGracePeriodSeconds": 60,
        },
        "status": status,
    }


@dataclass
class FakeLauncher:
    """Listens where a launcher does; `got` are the requests, `answer` what they are answered."""

    folder: Path
    got: list[Request] = field(default_factory=list)
    answer: Callable[[Request], Failed | None] = lambda _request: None
    domain: DomainChanged | None = None
    process: subprocess.Popen[bytes] | None = None
    """The process that virt-handler is to take for the launcher's."""

    def __post_init__(self) -> None:
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None
        self._news = asyncio.Condition()

    async def listen(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.process is None:
            # A test's process lives as long as the test: asyncio need not watch it.
            self.process = subprocess.Popen(["sleep", "1000"])  # noqa: ASYNC220
        self._server = await serve(self.folder, "launcher-sock", self._converse)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while (request := await codec.read(reader, codec.requests)) is not None:
                async with self._news:
                    self.got.append(request)
                    self._news.notify_all()
                await self._reply(request)
        writer.close()

    async def _reply(self, request: Request) -> None:
        if isinstance(request, Hello):
            self.say(Welcome(libvirt="11.3.0"))
            if self.domain is not None:
                self.say(self.domain)
            return
        self.say(self.answer(request) or Done(id=request.id))

    def say(self, message: Any) -> None:
        if isinstance(message, DomainChanged):
            self.domain = message
        self.write(codec.frame(message))

    def write(self, data: bytes) -> None:
        if self._writers:
            self._writers[-1].write(data)

    async def until(self, kind: type[Any], times: int = 1) -> Any:
        """The nth request of that kind, once it is there."""
        async with asyncio.timeout(WITHIN), self._news:
            await self._news.wait_for(lambda: len(self.all(kind)) >= times)
        return self.all(kind)[times - 1]

    def all(self, kind: type[Any]) -> list[Any]:
        return [request for request in self.got if isinstance(request, kind)]

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    def die(self) -> None:
        """The process ends, as by kill -9: the kernel closes what it had."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        if self._server is not None:
            self._server.close()
        self.hang_up()

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self._server is not None:
            self._server.close()
        self.hang_up()


async def serve(folder: Path, name: str, converse: Any) -> asyncio.Server:
    """A unix server at a path that is longer than a socket's address may be."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        (folder / name).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(f"/proc/self/fd/{handle}/{name}")
    finally:
        os.close(handle)
    return await asyncio.start_unix_server(converse, sock=listener)


@dataclass
class World:
    cluster: FakeCluster
    sync: NodeSync
    launcher: FakeLauncher
    prepared: list[VirtualMachineInstance]
    volumes: Path

    def vmi(self) -> dict[str, Any]:
        return self.cluster.get(VMIS, "default", "demo")

    def put(self, obj: dict[str, Any]) -> None:
        self.cluster.put(PODS if "containers" in obj["spec"] else VMIS, obj)

    def change(self, phase: str, **metadata: Any) -> None:
        """What virt-controller would write."""
        obj = self.vmi()
        obj["status"]["phase"] = phase
        obj["metadata"]["labels"] = {"kubevirt.io/nodeName": NODE}
        obj["metadata"].update(metadata)
        self.put(obj)

    async def until(self, true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The VMI, once that is true of it: looks again with each write."""
        async with asyncio.timeout(WITHIN):
            while not true(found := self.vmi()):  # noqa: ASYNC110 # the fake has no event for it
                await asyncio.sleep(0.005)
        return found

    def events(self) -> list[str]:
        from virtpod.kube.resources import EVENTS

        return [event["reason"] for event in self.cluster.objects(EVENTS).values()]

    def writes(self) -> list[str]:
        return [f"{write.verb} {write.plural}" for write in self.cluster.writes]


@contextlib.asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    """A virt-handler's heart beating against all that."""
    pods = folder / "pods"
    volumes = pods / POD_UID / VOLUMES
    pods.mkdir(parents=True)
    launcher = FakeLauncher(volumes / "sockets")
    prepared: list[VirtualMachineInstance] = []

    def identify(connection: socket.socket, pod_uid: str, owner: int) -> Peer:
        assert launcher.process is not None
        return Peer(launcher.process.pid, os.pidfd_open(launcher.process.pid))

    async def prepare(node: str, process: Peer, spec: VirtualMachineInstance) -> list[Link]:
        prepared.append(spec)
        return [Link(name="default", tap="tap0")]

    async with FakeCluster() as cluster, cluster.client("virt-handler") as client:
        with Inotify() as inotify:
            recorder = Recorder(client, "virt-handler", host=NODE)
            place = Place(NODE, pods, Probe(folder / "probe"), owner=os.getuid())
            sync = NodeSync(
                client, recorder, place, inotify, Ways(identify, lambda *_: None, prepare)
            )
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(recorder.run()), tasks.create_task(sync.run())]
                try:
                    yield World(cluster, sync, launcher, prepared, volumes)
                    await recorder.flush()
                finally:
                    for task in running:
                        task.cancel()
        launcher.close()
