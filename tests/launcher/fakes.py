"""A hypervisor that only remembers, and a launcher in this very process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from virtpod.domain import paths
from virtpod.launcher.hypervisor import Entrusted, Refused
from virtpod.launcher.inotify import appears
from virtpod.launcher.launcher import Identity, run
from virtpod.launcher.processes import Processes
from virtpod.wire import codec
from virtpod.wire.messages import (
    AgentRequest,
    Answer,
    Attest,
    Attested,
    DomainChanged,
    DomainState,
    Done,
    Failed,
    Hello,
    Measure,
    Measured,
    Message,
    OwnDevice,
    Release,
    Sync,
    Welcome,
)

UID = "0f5d3d54-6b0f-4b2f-9a87-1c0ffee00002"
IDENTITY = Identity("default", "vm", UID)
VMI: dict[str, Any] = {
    "apiVersion": "kubevirt.io/v1",
    "kind": "VirtualMachineInstance",
    "metadata": {"namespace": "default", "name": "vm", "uid": UID},
    "spec": {
        "domain": {
            "memory": {"guest": "16Mi"},
            "machine": {"type": "q35"},
            "devices": {"autoattachPodInterface": False},
        }
    },
}
WITHIN = 5.0


class Fake:
    """`deaf`: a guest that does not power off when asked. `trouble`: what `create` raises.
    `mended`: the storage of a guest that an I/O error has stopped."""

    def __init__(self) -> None:
        self.name = ""
        self.changed: Callable[[DomainChanged], None] = lambda _: None
        self.asked: list[str] = []
        self.capabilities: Mapping[str, bytes] = {}
        self.xml = ""
        self.deaf = False
        self.trouble: Exception | None = None
        self.mended = False
        self.retried = asyncio.Semaphore(0)
        self.own: tuple[OwnDevice, ...] = ()
        self._last: DomainChanged | None = None

    def __call__(
        self, name: str, processes: Processes, changed: Callable[[DomainChanged], None]
    ) -> Fake:
        self.name, self.changed = name, changed
        return self

    @property
    def last(self) -> DomainChanged | None:
        return self._last

    def tell(self, state: DomainState, reason: str = "Unknown") -> None:
        number = self._last.seq + 1 if self._last else 1
        self._last = DomainChanged(seq=number, state=state, reason=reason, started=True)
        self.changed(self._last)

    async def serve(self, capabilities: Mapping[str, bytes]) -> None:
        self.asked.append("serve")
        self.capabilities = capabilities
        await asyncio.Event().wait()

    def version(self) -> tuple[str, str]:
        return "1.2.3", ""

    async def exists(self) -> bool:
        return False

    async def create(self, xml: str, *, paused: bool = False) -> None:
        self.asked.append("create")
        if self.trouble:
            raise self.trouble
        self.xml = xml
        if paused:
            self.tell("Paused", "User")
        else:
            self.tell("Running")

    async def shutdown(self) -> None:
        self.asked.append("shutdown")
        if not self.deaf:
            self.tell("Shutoff", "Shutdown")

    async def destroy(self) -> None:
        self.asked.append("destroy")
        if self._last is None:
            raise Refused("the guest does not run")
        self.tell("Shutoff", "Destroyed")

    async def suspend(self) -> None:
        self.asked.append("suspend")

    async def resume(self) -> None:
        self.asked.append("resume")

    async def retry(self) -> None:
        self.asked.append("retry")
        self.retried.release()
        if self.mended:
            self.tell("Running")

    async def reset(self) -> None:
        self.asked.append("reset")

    async def reboot(self) -> None:
        self.asked.append("reboot")

    async def picture(self, *, wake: bool) -> bytes:
        self.asked.append("picture")
        return b"a picture"

    async def attest(self, request: Attest) -> Attested:
        self.asked.append(f"attest {request.what}")
        return Attested(id=request.id, facts={"pdh": "AA=="})

    async def dump(self, path: str) -> None:
        self.asked.append("dump")
        Path(path).write_bytes(b"the guest's memory")

    async def measure(self, request: Measure) -> Measured:
        return Measured(id=request.id, counted={"state.state": 1})

    def owns(self, devices: tuple[OwnDevice, ...], without: Collection[str] = ()) -> None:
        gone = {*without, *(each.name for each in devices)}
        self.own = (*(each for each in self.own if each.name not in gone), *devices)

    def entrust(self, given: tuple[Entrusted, ...]) -> None:
        self.asked.append("entrust")

    async def ask_agent(self, request: AgentRequest) -> Answer:
        raise Refused("the guest agent is not connected")


@dataclass
class Handler:
    """virt-handler's end; everything that came is in `came`."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    came: list[Message] = field(default_factory=list)
    _ids: int = 0

    def send(self, message: Message) -> None:
        self.writer.write(codec.frame(message))

    async def until(self, wanted: Callable[[Message], bool]) -> Message:
        async with asyncio.timeout(WITHIN):
            while True:
                message = await codec.read(self.reader, codec.replies)
                assert message is not None, f"hung up after {self.came}"
                self.came.append(message)
                if wanted(message):
                    return message

    async def ask(self, make: Callable[[int], Message]) -> Done | Failed:
        self._ids += 1
        number = self._ids
        self.send(make(number))
        found = await self.until(lambda m: isinstance(m, Done | Failed) and m.id == number)
        assert isinstance(found, Done | Failed)
        return found

    async def sync(self, vmi: dict[str, Any] | None = None) -> Done | Failed:
        raw = msgspec.Raw(msgspec.json.encode(vmi or VMI))
        return await self.ask(lambda n: Sync(id=n, vmi=raw, emulation=True))

    async def domain(self, state: str) -> DomainChanged:
        found = next((m for m in self.came if _is(m, state)), None)
        found = found or await self.until(lambda m: _is(m, state))
        assert isinstance(found, DomainChanged)
        return found

    async def release(self) -> None:
        await self.ask(lambda n: Release(id=n))


def _is(message: Message, state: str) -> bool:
    return isinstance(message, DomainChanged) and message.state == state


class Running:
    """A launcher under test."""

    def __init__(self, task: asyncio.Task[int], fake: Fake) -> None:
        self._task = task
        self.fake = fake

    async def code(self) -> int:
        """Its exit code; it must end by itself."""
        async with asyncio.timeout(WITHIN):
            return await self._task

    @asynccontextmanager
    async def handler(self) -> AsyncIterator[Handler]:
        path = Path(paths.SOCKETS, paths.LAUNCHER_SOCKET)
        async with asyncio.timeout(WITHIN):
            await appears(str(path))
        handler = Handler(*await asyncio.open_unix_connection(path, limit=codec.LIMIT))
        try:
            handler.send(Hello(node="n", capabilities={"a.xml": b"<a/>"}))
            await handler.until(lambda m: isinstance(m, Welcome))
            yield handler
        finally:
            handler.writer.close()


@asynccontextmanager
async def launcher(grace: int = 60, start_timeout: int = 60) -> AsyncIterator[Running]:
    fake = Fake()
    task = asyncio.create_task(run(IDENTITY, grace, start_timeout, fake))
    try:
        yield Running(task, fake)
    finally:
        task.cancel()
        await asyncio.wait({task})
