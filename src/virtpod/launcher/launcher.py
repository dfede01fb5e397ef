"""The life of a launcher: wait for virt-handler, run the guest, end with it.

Whatever ends the launcher ends the guest: it is the first process of the container, so the kernel
takes QEMU with it. It therefore ends in order: the guest is down, virt-handler has seen it, then
the daemon goes, then the launcher, with 0 where the guest went down by itself or was asked to.

virt-handler waits for the socket, so what is not needed to listen is imported after it is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from traceback import format_exc
from typing import TYPE_CHECKING, Protocol

import msgspec

from virtpod.domain import paths
from virtpod.launcher.hypervisor import Hypervisor, Refused, StartFailed
from virtpod.launcher.log import log
from virtpod.launcher.processes import Processes
from virtpod.wire import codec
from virtpod.wire.messages import (
    Answer,
    AskAgent,
    Attest,
    DomainChanged,
    Done,
    DumpMemory,
    Execute,
    Failed,
    Freeze,
    Hello,
    Kill,
    Measure,
    Message,
    Pause,
    Pictured,
    Ping,
    Release,
    Request,
    Reset,
    Screenshot,
    Shutdown,
    SoftReboot,
    Stopping,
    Sync,
    Thaw,
    Unpause,
    Welcome,
)

if TYPE_CHECKING:
    from virtpod.launcher.boot import Boot
    from virtpod.launcher.dump import Dumps

SEEN_TIMEOUT = 10
"""Seconds that virt-handler has to see the guest's end while it is connected."""
UNSEEN_TIMEOUT = 30
"""Seconds that it has to come back and see it."""
ASK_AGAIN = 2
"""Seconds after which a guest is asked to power off once more: one that was still booting did not
hear it the first time."""
FIRST_RETRY, LONGEST_RETRY = 10.0, 180.0
"""Seconds after which a guest that an I/O error has stopped is let go on, doubled each time."""
TERMINATION_LOG = "/dev/termination-log"
WORDS = 3072
"""Characters of a termination message: the kubelet keeps 4096 bytes."""


class _Over(Exception):
    """The launcher's work is done."""


@dataclass(frozen=True)
class Identity:
    """Whose launcher this is. Nobody else's VMI is run here."""

    namespace: str
    name: str
    uid: str


class Make(Protocol):
    """Makes the hypervisor, given the domain's name and whom to tell its states."""

    def __call__(
        self, name: str, processes: Processes, changed: Callable[[DomainChanged], None]
    ) -> Hypervisor: ...


def _libvirt(
    name: str, processes: Processes, changed: Callable[[DomainChanged], None]
) -> Hypervisor:
    from virtpod.launcher.libvirt import Libvirt

    return Libvirt(name, processes, changed)


async def run(
    identity: Identity,
    grace: int,
    start_timeout: int,
    make: Make = _libvirt,
    *,
    side_cars: int = 0,
) -> int:
    """Returns the exit code. `side_cars`: so many are to be asked about the machine."""
    launcher = Launcher(identity, grace, start_timeout, make)
    launcher.side_cars = side_cars
    return await launcher.run()


class Launcher:
    _hypervisor: Hypervisor
    _helpers: asyncio.TaskGroup
    side_cars = 0

    def __init__(self, identity: Identity, grace: int, start_timeout: int, make: Make) -> None:
        self._identity = identity
        self._grace = grace
        self._start_timeout = start_timeout
        self._processes = Processes()
        self._make = make
        self._boot: Boot | None = None
        self._dumps: Dumps | None = None
        self._peers: set[asyncio.StreamWriter] = set()
        self._synced = asyncio.Event()
        self._stop = asyncio.Event()
        self._ended = asyncio.Event()
        self._released = asyncio.Event()
        self._stopping: asyncio.Task[None] | None = None
        self._recovering: asyncio.Task[None] | None = None
        self._deadline = 0.0
        self._daemon: asyncio.Task[None] | None = None

    async def run(self) -> int:
        self._processes.watch()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
        code = 1
        try:
            async with asyncio.TaskGroup() as helpers:
                self._helpers = helpers
                await self._listen()
                name = f"{self._identity.namespace}_{self._identity.name}"
                self._hypervisor = self._make(name, self._processes, self._domain_changed)
                code = await self._live()
                raise _Over  # ends the helpers, which would go on for ever
        except* _Over:
            pass
        return code

    async def _listen(self) -> asyncio.Server:
        """The socket appears under its name when it can be connected to."""
        folder = Path(paths.SOCKETS)
        folder.mkdir(parents=True, exist_ok=True)
        new = folder / "launcher-init-sock"
        new.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._conversation, new, limit=codec.LIMIT)
        os.replace(new, folder / paths.LAUNCHER_SOCKET)
        log("waiting for virt-handler", socket=str(folder / paths.LAUNCHER_SOCKET))
        return server

    async def _live(self) -> int:
        stop = asyncio.ensure_future(self._stop.wait())
        synced = asyncio.ensure_future(self._synced.wait())
        ended = asyncio.ensure_future(self._ended.wait())
        await asyncio.wait(
            {stop, synced}, timeout=self._start_timeout, return_when=asyncio.FIRST_COMPLETED
        )
        if not synced.done():
            if stop.done():
                return 0
            return _complain(f"no virt-handler came within {self._start_timeout} s to start the VM")
        await asyncio.wait({stop, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            if self._hypervisor.last is None:
                return 0
            self._send(Stopping(grace=self._grace))
            self._begin_shutdown(self._grace)
            await ended
        await self._wait_until_seen()
        if self._boot is not None:
            await self._boot.farewell()
        last = self._hypervisor.last
        if last is None or last.state != "Crashed":
            return 0
        return _complain(": ".join(filter(None, [f"the guest ended: {last.reason}", last.message])))

    async def _wait_until_seen(self) -> None:
        timeout = SEEN_TIMEOUT if self._peers else UNSEEN_TIMEOUT
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._released.wait()

    def _domain_changed(self, domain: DomainChanged) -> None:
        self._send(domain)
        if domain.state in ("Shutoff", "Crashed"):
            self._ended.set()
        if self._recovering is not None and not _stopped_by_io(domain):
            self._recovering.cancel()
            self._recovering = None
        elif self._recovering is None and _stopped_by_io(domain):
            self._recovering = self._helpers.create_task(self._recover())

    def _send(self, message: Message) -> None:
        for peer in self._peers:
            peer.write(codec.frame(message))

    def _begin_shutdown(self, grace: int) -> None:
        """The guest is to be down within `grace` seconds; a later request can only hasten it."""
        deadline = asyncio.get_running_loop().time() + grace
        if self._stopping is not None:
            if deadline >= self._deadline:
                return
            self._stopping.cancel()
        self._deadline = deadline
        self._stopping = self._helpers.create_task(self._shut_down(grace))

    async def _shut_down(self, grace: int) -> None:
        """The guest powers off within `grace` seconds, or is ended."""
        log("guest is asked to power off", grace=grace)
        if grace <= 0:
            with contextlib.suppress(Refused):
                await self._hypervisor.destroy()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while not self._ended.is_set():
                    with contextlib.suppress(Refused):
                        await self._hypervisor.shutdown()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(ASK_AGAIN):
                            await self._ended.wait()
        if not self._ended.is_set():
            log("guest did not power off in time and is ended")
            with contextlib.suppress(Refused):
                await self._hypervisor.destroy()

    async def _recover(self) -> None:
        """Lets a guest go on that waits for its storage, again and again until it does; ends when
        the guest is found in another state."""
        pause = FIRST_RETRY
        while True:
            await asyncio.sleep(pause)
            log("guest is let go on after an I/O error")
            with contextlib.suppress(Refused):
                await self._hypervisor.retry()
            pause = min(pause * 2, LONGEST_RETRY)

    async def _conversation(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """One virt-handler; requests are answered as they are done, not in their order."""
        try:
            async with asyncio.TaskGroup() as requests:
                while (message := await codec.read(reader, codec.requests)) is not None:
                    if isinstance(message, Hello):
                        self._greet(message, writer)
                    else:
                        requests.create_task(self._answer(message, writer))
        except* (
            codec.TooLarge,
            msgspec.DecodeError,
            asyncio.IncompleteReadError,
            ConnectionError,
        ) as errors:
            log("conversation ended", errors=[str(error) for error in errors.exceptions])
        finally:
            self._peers.discard(writer)
            writer.close()

    def _greet(self, hello: Hello, writer: asyncio.StreamWriter) -> None:
        if self._daemon is None:
            self._daemon = self._helpers.create_task(self._hypervisor.serve(hello.capabilities))
            self._helpers.create_task(self._ready_to_boot())  # runs next: the daemon starts by then
        libvirt, qemu = self._hypervisor.version()
        writer.write(codec.frame(Welcome(libvirt=libvirt, qemu=qemu)))
        if self._hypervisor.last is not None:
            writer.write(codec.frame(self._hypervisor.last))
        self._peers.add(writer)

    async def _ready_to_boot(self) -> Boot:
        """The renderers take a while to import."""
        from virtpod.launcher.boot import Boot
        from virtpod.launcher.steps import Steps

        if self._boot is None:
            self._boot = Boot(
                self._hypervisor, Steps(self._processes, self._helpers), self.side_cars
            )
        return self._boot

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        if isinstance(request, Hello):
            return
        try:
            answer: Answer = await self._do(request) or Done(id=request.id)
        except StartFailed as error:
            log("guest did not start", reason=error.reason, error=str(error))
            answer = Failed(
                id=request.id, reason=error.reason, message=str(error), final=error.final
            )
        except Refused as error:
            answer = Failed(id=request.id, reason="Refused", message=str(error))
        except Exception as error:  # a bug: the guest goes on, and the user must hear of it
            log("a request failed", request=type(request).__name__, error=format_exc())
            answer = Failed(id=request.id, reason="InternalError", message=repr(error))
        writer.write(codec.frame(answer))

    async def _do(self, request: Request) -> Answer | None:
        simple: dict[type, Callable[[], Awaitable[None]]] = {
            Kill: self._hypervisor.destroy,
            Pause: self._hypervisor.suspend,
            Unpause: self._hypervisor.resume,
            Reset: self._hypervisor.reset,
            SoftReboot: self._hypervisor.reboot,
        }
        match request:
            case Sync():
                self._mine(request)
                self._synced.set()
                boot = await self._ready_to_boot()
                await boot.sync(request)
            case Shutdown():
                if self._hypervisor.last is None:
                    self._stop.set()
                else:
                    self._begin_shutdown(request.grace)
            case Release():
                self._released.set()
                if self._hypervisor.last is None:
                    self._stop.set()  # there never was a guest, and none is to come
            case Screenshot():
                return Pictured(
                    id=request.id, png=await self._hypervisor.picture(wake=request.wake)
                )
            case Attest():
                return await self._hypervisor.attest(request)
            case Measure():
                return await self._hypervisor.measure(request)
            case DumpMemory():
                from virtpod.launcher.dump import Dumps

                self._dumps = self._dumps or Dumps(self._hypervisor, self._helpers)
                await self._dumps.take(request)
            case Freeze() | Thaw() | AskAgent() | Ping() | Execute():
                return await self._hypervisor.ask_agent(request)
            case _:
                await simple[type(request)]()
        return None

    def _mine(self, request: Sync) -> None:
        uid = msgspec.json.decode(request.vmi, type=_Owned).metadata.get("uid")
        if uid != self._identity.uid:
            raise StartFailed(
                "NotMine", f"this launcher runs VMI {self._identity.uid}, not {uid}", final=True
            )


class _Owned(msgspec.Struct):
    metadata: dict[str, object]


def _stopped_by_io(domain: DomainChanged) -> bool:
    return (domain.state, domain.reason) == ("Paused", "IOError")


def _complain(message: str) -> int:
    log(message)
    with contextlib.suppress(OSError):
        Path(TERMINATION_LOG).write_text(message[:WORDS])
    return 1
