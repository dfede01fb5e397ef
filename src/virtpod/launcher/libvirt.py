"""libvirt: the daemon that this launcher runs, and the one domain in it.

All blocking calls go through one thread; libvirt's event loop has another. Events do not carry
what is true now: after each, the domain is asked. A daemon that died is started again and finds
its QEMU by the files it left in the runtime folder; the guest does not notice.

https://libvirt.org/html/libvirt-libvirt-domain.html
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import libvirt
from msgspec import structs

from virtpod.domain import paths
from virtpod.launcher import shown
from virtpod.launcher.affinity import on_one_processor, release
from virtpod.launcher.autopsy import Autopsy
from virtpod.launcher.hypervisor import (
    Entrusted,
    PluggedCard,
    PluggedDevice,
    PluggedDisk,
    Refused,
)
from virtpod.launcher.inotify import appears
from virtpod.launcher.log import OF_LIBVIRT, log, verbosity
from virtpod.launcher.processes import Child, Processes
from virtpod.wire.messages import (
    AgentRequest,
    Answer,
    Attest,
    Attested,
    DomainChanged,
    DomainState,
    Done,
    Execute,
    Measure,
    Measured,
    OwnDevice,
    Ping,
)

if TYPE_CHECKING:
    from virtpod.launcher.agent import Agent

T = TypeVar("T")

SOCKET = paths.LIBVIRT_SOCKET
URI = paths.LIBVIRT_URI
CONFIG = f"{paths.PRIVATE}/libvirt"
CAPABILITIES = f"{paths.PRIVATE}/libvirt/qemu/cache/capabilities"
ENVIRONMENT = {
    "HOME": paths.PRIVATE,
    "XDG_CACHE_HOME": paths.PRIVATE,
    "XDG_CONFIG_HOME": paths.PRIVATE,
    "XDG_RUNTIME_DIR": "/var/run",
    "MALLOC_ARENA_MAX": "1",  # half of the daemon's memory would be arenas of idle threads
}
START_TIMEOUT = 30
"""Seconds until a daemon that does not answer is given up."""
REAPED_WITHIN = 1.0
"""Seconds for QEMU's exit code to come after libvirt has told its end."""
SETTLED_AFTER = 1.0
"""Seconds after which a guest that was resumed has met its I/O error again, or will not."""
AGENT_REBOOT = 8
"""Seconds that an agent has to reboot its guest; ACPI comes after it."""

QEMU_CONF = """\
stdio_handler = "file"
security_driver = "none"
namespaces = []
cgroup_controllers = []
remember_owner = 0
dynamic_ownership = 0
max_core = 0
"""
LIBVIRTD_CONF = f"""\
unix_sock_dir = "{paths.LIBVIRT_RUNTIME}"
min_workers = 2
max_workers = 6
prio_workers = 1
admin_min_workers = 1
admin_max_workers = 1
max_clients = 20
keepalive_interval = -1
"""
WARNINGS = 'log_outputs = "3:stderr"\n'
EVERYTHING = """\
log_outputs = "1:stderr"
log_filters = "3:remote 4:event 3:util.json 3:util.object 3:util.netlink 3:rpc 3:access 1:*"
"""

STATES: dict[int, DomainState] = {
    libvirt.VIR_DOMAIN_NOSTATE: "NoState",
    libvirt.VIR_DOMAIN_RUNNING: "Running",
    libvirt.VIR_DOMAIN_BLOCKED: "Blocked",
    libvirt.VIR_DOMAIN_PAUSED: "Paused",
    libvirt.VIR_DOMAIN_SHUTDOWN: "ShuttingDown",
    libvirt.VIR_DOMAIN_SHUTOFF: "Shutoff",
    libvirt.VIR_DOMAIN_CRASHED: "Crashed",
    libvirt.VIR_DOMAIN_PMSUSPENDED: "PMSuspended",
}
PAUSED_REASONS = {
    libvirt.VIR_DOMAIN_PAUSED_USER: "User",
    libvirt.VIR_DOMAIN_PAUSED_IOERROR: "IOError",
    libvirt.VIR_DOMAIN_PAUSED_MIGRATION: "Migration",
    libvirt.VIR_DOMAIN_PAUSED_STARTING_UP: "StartingUp",
    libvirt.VIR_DOMAIN_PAUSED_CRASHED: "Crashed",
    libvirt.VIR_DOMAIN_PAUSED_DUMP: "Dump",
    libvirt.VIR_DOMAIN_PAUSED_FROM_SNAPSHOT: "FromSnapshot",
    libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED: "PostcopyFailed",
}
STOPPED_REASONS = {
    libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN: "Shutdown",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED: "Destroyed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED: "Crashed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_MIGRATED: "Migrated",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_SAVED: "Saved",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED: "Failed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_FROM_SNAPSHOT: "FromSnapshot",
}


IO_ERRORS = {"enospc": "no space left on the storage", "eio": "I/O error"}
"""libvirt's words for what stopped a guest, in ours."""


def quiet(context: object, error: object) -> None:
    """libvirt's Python binding prints every error besides raising it."""


class Libvirt:
    """The daemon and its domain. `changed` is called in the event loop with each new state."""

    def __init__(
        self, name: str, processes: Processes, changed: Callable[[DomainChanged], None]
    ) -> None:
        self._name = name
        self._processes = processes
        self._changed = changed
        self._thread = ThreadPoolExecutor(1, "libvirt")
        # A guest's agent may keep us waiting: it has a thread of its own, made when it comes.
        self._agent_thread = ThreadPoolExecutor(1, "libvirt-agent")
        self._agent: Agent | None = None
        self._entrusted: tuple[Entrusted, ...] = ()
        self._own: tuple[OwnDevice, ...] = ()
        self._connection: Any = None
        self._opened = 0
        self._domain: Any = None
        self._sequence = 0
        self._panicked = False
        self._barked = False
        self._last: DomainChanged | None = None
        self._described: dict[str, Any] = {}
        self._autopsy = Autopsy(f"{CONFIG}/qemu/log/{name}.log")
        self._trouble: dict[str, str] = {}
        """Disks that had an I/O error since the guest last went on, and which."""
        self._destroying = False
        """The guest is ended by force: whatever tells its end first, it did not power off."""
        self._held = False
        """The user wants the guest paused, whatever else has paused it."""
        self._trying = False
        """The guest was resumed to see whether it can go on: nobody need know yet."""
        self._qemu = 0
        self._looking: set[asyncio.Task[None]] = set()
        self._daemon: Child | None = None
        self._connected = asyncio.Event()
        self._lost = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    @property
    def last(self) -> DomainChanged | None:
        """The state last reported; None before the first start."""
        return self._last

    @property
    def ended(self) -> bool:
        """The guest has run, and runs no more."""
        return self._last is not None and self._last.state in ("Shutoff", "Crashed")

    async def serve(self, capabilities: Mapping[str, bytes]) -> None:
        """Runs the daemon and keeps connected to it, until cancelled.

        `capabilities`: libvirt's cache files of this node; files that are there stay.
        """
        _configure(capabilities)
        libvirt.registerErrorHandler(quiet, None)
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=_event_loop, name="libvirt-events", daemon=True).start()
        try:
            while True:
                await self._start()
                self._lost.clear()
                self._connected.set()
                self._ask_again()
                await self._lost.wait()
                self._connected.clear()
                log("connection to libvirt lost")
                self._connection = None
        finally:
            self._stop()

    async def connected(self) -> None:
        """Waits until the daemon answers."""
        await self._connected.wait()

    async def gone(self) -> None:
        """Waits until the daemon has ended."""
        if self._daemon is not None:
            await self._daemon.exited

    async def _start(self) -> None:
        """A daemon that answers. One that died is replaced."""
        async with asyncio.timeout(START_TIMEOUT):
            while True:
                if self._daemon is None or self._daemon.exited.done():
                    Path(SOCKET).unlink(missing_ok=True)
                    with on_one_processor():
                        self._daemon = self._processes.spawn(
                            ["libvirtd", "-f", f"{CONFIG}/libvirtd.conf"], ENVIRONMENT
                        )
                try:
                    await _listening(SOCKET, self._daemon)
                    await self._in_thread(self._open)
                    release(self._daemon.pid)
                    return
                except (libvirt.libvirtError, ConnectionError) as error:
                    log("libvirt does not answer yet", error=str(error))
                    await asyncio.sleep(0.01)  # its socket has a name before it listens

    def _open(self) -> None:
        connection = libvirt.open(URI)
        self._opened += 1
        number = self._opened
        connection.registerCloseCallback(lambda *_: self._call(self._closed, number), None)
        for event in (
            libvirt.VIR_DOMAIN_EVENT_ID_REBOOT,
            libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE,
            libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED,
            libvirt.VIR_DOMAIN_EVENT_ID_TRAY_CHANGE,
        ):
            connection.domainEventRegisterAny(
                None, event, lambda *_: self._call(self._ask_again), None
            )
        connection.domainEventRegisterAny(
            None, libvirt.VIR_DOMAIN_EVENT_ID_WATCHDOG, self._watchdog, None
        )
        connection.domainEventRegisterAny(
            None, libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON, self._io_error, None
        )
        connection.domainEventRegisterAny(
            None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._lifecycle, None
        )
        self._connection = connection
        if self._domain is not None:
            self._look()  # the domain that is known belongs to the connection before

    def _closed(self, number: int) -> None:
        """A connection is no more; what is told late of an older one is nothing new."""
        if number == self._opened:
            self._connected.clear()
            self._lost.set()

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        self._loop.call_soon_threadsafe(function, *arguments)

    def _lifecycle(self, connection: Any, domain: Any, event: int, detail: int, _: object) -> None:
        self._call(self._on_lifecycle, event, detail)

    def _watchdog(self, connection: Any, domain: Any, action: int, _: object) -> None:
        # QEMU then ends on the spot, and libvirt takes it for a crash.
        self._barked = action == libvirt.VIR_DOMAIN_EVENT_WATCHDOG_POWEROFF
        self._call(self._ask_again)

    def _io_error(
        self, connection: Any, domain: Any, path: str, alias: str, action: int, why: str, _: object
    ) -> None:
        if action == libvirt.VIR_DOMAIN_EVENT_IO_ERROR_PAUSE:
            self._call(self._on_io_error, alias.removeprefix("ua-") or path, why)

    def _on_io_error(self, disk: str, why: str) -> None:
        self._trouble[disk] = IO_ERRORS.get(why, why or "I/O error")
        self._ask_again()

    def _on_lifecycle(self, event: int, detail: int) -> None:
        if event == libvirt.VIR_DOMAIN_EVENT_CRASHED:
            self._panicked = True
        if event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
            self._later(self._end(STOPPED_REASONS.get(detail, "Unknown")))
        else:
            self._ask_again()

    async def _end(self, reason: str) -> None:
        """Reports the end, a bad one with what can be found out about it."""
        if self.ended or self._last is None:
            return
        self._domain = None
        if self._panicked:
            reason = "Panicked"
        elif self._destroying:
            reason = "Destroyed"
        if self._agent is not None:
            self._agent.end()
        if reason not in ("Crashed", "Panicked", "Failed"):
            self._report("Shutoff", reason)
            return
        code = None
        if self._qemu:
            with suppress(TimeoutError):
                async with asyncio.timeout(REAPED_WITHIN):
                    code = await self._processes.exit_code(self._qemu)
        self._report("Crashed", reason, self._autopsy.findings(reason, code, barked=self._barked))

    def _ask_again(self) -> None:
        self._later(self._refresh())

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)

    async def _refresh(self) -> None:
        """Looks at the domain and reports it where it changed."""
        try:
            found = await self._in_thread(self._look)
        except libvirt.libvirtError as error:
            log("the domain cannot be looked at", error=str(error))
            return
        if found is not None:
            self._attend_agent()
            self._alive(*found)
        elif self._qemu and self._last is not None and not self.ended:
            # The daemon was away while the guest ended: QEMU's own exit code is what is left.
            code = await self._processes.exit_code(self._qemu)
            await self._end("Shutdown" if code == 0 else "Crashed")

    def _alive(self, state: DomainState, reason: str) -> None:
        """Reports a guest that is there."""
        if state == "Running":
            if self._trying:
                return
            self._held = False
            self._trouble.clear()
        if (state, reason) != ("Paused", "IOError"):
            self._report(state, reason)
        elif self._held:
            self._report(state, "User")
        else:
            self._report(state, reason, _spoken(self._trouble))

    def _look(self) -> tuple[DomainState, str] | None:
        try:
            domain = self._connection.lookupByName(self._name)
            state, reason = domain.state()
            self._described = shown.described(domain.XMLDesc())
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                self._domain = None
                return None
            raise
        self._domain = domain
        self._qemu = self._qemu or _process(self._name)
        named = PAUSED_REASONS.get(reason, "Unknown") if state == libvirt.VIR_DOMAIN_PAUSED else ""
        return STATES.get(state, "NoState"), named or "Unknown"

    def _report(self, state: DomainState, reason: str, message: str = "") -> None:
        new = DomainChanged(
            seq=0,
            state=state,
            reason=reason,
            message=message,
            started=True,
            devices=self._own,
            **self._described,
        )
        if self._agent is not None:
            new = self._agent.onto(new)
        if self.ended or (self._last and new == structs.replace(self._last, seq=0)):
            return
        self._sequence += 1
        self._last = structs.replace(new, seq=self._sequence)
        log("domain changed", state=state, reason=reason, **({"why": message} if message else {}))
        self._changed(self._last)

    def _attend_agent(self) -> None:
        """Begins to speak with the agent when there is one; until then nothing is imported."""
        is_open = bool(self._described.get("agent_connected"))
        if self._agent is None:
            if not is_open or self.ended:
                return
            from virtpod.launcher.agent import Agent

            self._agent = Agent(
                self._command_agent, self._agent_changed, self._runs, self._entrusted
            )
        self._agent.connected(is_open)

    def _agent_changed(self) -> None:
        if self._last is not None:
            self._report(self._last.state, self._last.reason, self._last.message)

    def _runs(self) -> bool:
        return self._last is not None and self._last.state == "Running"

    def owns(self, devices: tuple[OwnDevice, ...], without: Collection[str] = ()) -> None:
        """What is told of the node's devices that the guest has to itself: these beside those that
        it had, and `without` those of these names."""
        gone = {*without, *(each.name for each in devices)}
        self._own = (*(each for each in self._own if each.name not in gone), *devices)
        if self._last is not None:
            self._ask_again()

    def entrust(self, given: tuple[Entrusted, ...]) -> None:
        """What the guest's agent is to be given, from now on."""
        self._entrusted = given

    async def ask_agent(self, request: AgentRequest) -> Answer:
        """What the guest's agent answers. Raises Refused."""
        if self._last and self._last.state == "Paused":
            if isinstance(request, Ping | Execute):
                # Nobody can answer, and that is no illness: a probe must not end a paused guest.
                return Done(id=request.id)
            raise Refused("the guest is paused")
        if self._agent is None:
            raise Refused("the guest agent is not connected")
        return await self._agent.answer(request)

    async def _command_agent(self, command: str, seconds: int) -> str:
        import libvirt_qemu

        try:
            return await self._slowly(
                lambda domain: str(libvirt_qemu.qemuAgentCommand(domain, command, seconds, 0))
            )
        except UnicodeDecodeError as error:
            raise Refused(f"the guest agent's answer is no text: {error.reason}") from None

    async def places(self, xml: str) -> dict[str, str]:
        """PCI addresses (domain:bus:slot.function) that the devices of a domain would have, by the
        VMI's names of them: libvirt gives them where a domain is defined. Raises Refused."""

        def look() -> dict[str, str]:
            defined = self._connection.defineXML(xml)
            try:
                return shown.places(defined.XMLDesc())
            finally:
                keep = libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | libvirt.VIR_DOMAIN_UNDEFINE_KEEP_TPM
                defined.undefineFlags(keep)

        return await self._asked(look)

    async def create(self, xml: str, *, paused: bool = False) -> None:
        """Defines and starts the domain in one call. Raises Refused."""

        def start() -> None:
            flags = libvirt.VIR_DOMAIN_START_PAUSED if paused else 0
            self._domain = self._connection.createXML(xml, flags)
            self._described = shown.described(self._domain.XMLDesc())

        await self._asked(start)
        if not paused:
            self._report("Running", "Unknown")
        await self._refresh()

    async def disks(self) -> dict[str, PluggedDisk]:
        """The guest's disks, by volume. Raises Refused."""
        return shown.disks(await self._xml())

    async def attach(self, xml: str) -> None:
        """Plugs a device in. Raises Refused."""
        await self._on_domain(
            lambda: self._domain.attachDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        )
        await self._refresh()

    async def cards(self) -> dict[str, PluggedCard]:
        """The guest's network cards, by interface. Raises Refused."""
        return shown.cards(await self._xml())

    async def devices(self) -> dict[str, PluggedDevice]:
        """The node's devices that the guest has, by their names. Raises Refused."""
        return shown.devices(await self._xml())

    async def size(self, disk: PluggedDisk) -> int:
        """Bytes of the disk, as the guest sees it. Raises Refused."""
        capacity, _, _ = await self._asked(lambda: self._running().blockInfo(disk.target))
        return int(capacity)

    async def resize(self, disk: PluggedDisk, size: int) -> None:
        """Makes the disk so many bytes large, and tells the guest. Raises Refused."""
        flags = libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES
        await self._on_domain(lambda: self._domain.blockResize(disk.target, size, flags))

    async def update(self, xml: str) -> None:
        """Gives a device that is there other settings. Raises Refused."""
        await self._on_domain(
            lambda: self._domain.updateDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        )
        await self._refresh()

    async def detach(self, device: PluggedDisk | PluggedCard | PluggedDevice) -> None:
        """Asks the guest to let it go, which may take it a while. Raises Refused."""
        await self._on_domain(
            lambda: self._domain.detachDeviceFlags(device.xml, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        )
        await self._refresh()

    async def exists(self) -> bool:
        """Whether the domain is there: started by this launcher, or found again."""
        return await self._asked(lambda: self._look() is not None)

    async def shutdown(self) -> None:
        """Asks the guest to power off: by ACPI, else by its agent."""
        try:
            await self._on_domain(
                lambda: self._domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
            )
        except Refused:
            await self._slowly(
                lambda domain: domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT)
            )

    async def destroy(self) -> None:
        """Ends the guest now."""
        self._destroying = True
        try:
            await self._on_domain(lambda: self._domain.destroy())
        except Refused:
            self._destroying = False
            raise

    async def suspend(self) -> None:
        """Stops the guest's processors; one that an I/O error has stopped stays so."""
        await self._on_domain(lambda: self._domain.suspend())
        self._held = True
        await self._refresh()

    async def resume(self) -> None:
        """Lets the guest's processors go on."""
        self._held = False
        await self._on_domain(lambda: self._domain.resume())
        await self._refresh()

    async def retry(self) -> None:
        """Resumes a guest that an I/O error has stopped; told is only what lasts."""
        self._trying = True
        try:
            await self._on_domain(lambda: None if self._held else self._domain.resume())
            await asyncio.sleep(SETTLED_AFTER)
        finally:
            self._trying = False
        await self._refresh()

    async def reset(self) -> None:
        """Pushes the reset button."""
        await self._on_domain(lambda: self._domain.reset())

    async def reboot(self) -> None:
        """Asks the guest to reboot: by its agent, else by ACPI."""
        if self._agent is not None and self._agent.is_open:
            try:
                async with asyncio.timeout(AGENT_REBOOT):
                    await self._slowly(
                        lambda domain: domain.reboot(libvirt.VIR_DOMAIN_REBOOT_GUEST_AGENT)
                    )
            except (Refused, TimeoutError) as error:
                log("the guest agent does not reboot the guest", error=str(error))
            else:
                return
        await self._on_domain(lambda: self._domain.reboot(libvirt.VIR_DOMAIN_REBOOT_ACPI_POWER_BTN))

    async def picture(self, *, wake: bool) -> bytes:
        """The first display as PNG. Raises Refused."""
        from virtpod.launcher.picture import taken

        return await self._asked(lambda: taken(self._connection, self._running(), wake=wake))

    async def attest(self, request: Attest) -> Attested:
        """Asks AMD SEV. Raises Refused."""
        from virtpod.launcher.attest import done

        return await self._asked(lambda: done(request, self._connection, self._running))

    async def dump(self, path: str) -> None:
        """Writes the guest's memory into a file as ELF, which takes as long as it is large: in a
        thread of its own. Raises Refused."""
        domain = self._running()
        form = libvirt.VIR_DOMAIN_CORE_DUMP_FORMAT_RAW
        try:
            await asyncio.to_thread(
                domain.coreDumpWithFormat, path, form, libvirt.VIR_DUMP_MEMORY_ONLY
            )
        except libvirt.libvirtError as error:
            raise Refused(error.get_error_message() or str(error)) from None

    async def measure(self, request: Measure) -> Measured:
        """What libvirt has counted. Raises Refused."""
        from virtpod.launcher.measures import taken

        return await self._asked(lambda: taken(request.id, self._connection, self._running()))

    async def _slowly(self, function: Callable[[Any], T]) -> T:
        """What waits for the guest's agent, which may take a minute to be given up: in a thread of
        its own, that nothing else waits for it."""
        domain = self._running()
        try:
            return await self._loop.run_in_executor(self._agent_thread, function, domain)
        except libvirt.libvirtError as error:
            raise Refused(error.get_error_message() or str(error)) from None

    async def _on_domain(self, function: Callable[[], object]) -> None:
        def ask() -> None:
            self._running()
            function()

        await self._asked(ask)

    async def _xml(self) -> str:
        """Of the running domain. Raises Refused."""
        return await self._asked(lambda: str(self._running().XMLDesc()))

    def _running(self) -> Any:
        """The domain. Raises Refused."""
        if self._domain is None:
            raise Refused("the guest does not run")
        return self._domain

    async def _asked(self, function: Callable[[], T]) -> T:
        """What libvirt answers; once more where the daemon died over the question."""
        await self._connected.wait()
        number = self._opened
        try:
            return await self._in_thread(function)
        except libvirt.libvirtError as error:
            if self._connection is not None and self._connection.isAlive():
                raise Refused(error.get_error_message() or str(error)) from None
        self._closed(number)
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await self._connected.wait()
            return await self._in_thread(function)
        except (libvirt.libvirtError, TimeoutError) as error:
            raise Refused(f"libvirt ended while it was asked: {error}") from None

    def _in_thread(self, function: Callable[[], T]) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self._thread, function)

    def _stop(self) -> None:
        if self._daemon is not None:
            self._daemon.signal(signal.SIGTERM)

    def version(self) -> tuple[str, str]:
        """libvirt's and QEMU's version, "" where not known."""
        return _dotted(libvirt.getVersion()), ""


def libvirtd_conf(verbosity: int) -> str:
    """Its configuration; what it logs is for who looks for a fault.

    https://libvirt.org/logging.html
    """
    return LIBVIRTD_CONF + (EVERYTHING if verbosity >= OF_LIBVIRT else WARNINGS)


def _configure(capabilities: Mapping[str, bytes]) -> None:
    for folder in (CONFIG, CAPABILITIES, paths.LIBVIRT_RUNTIME):
        os.makedirs(folder, exist_ok=True)
    Path(CONFIG, "qemu.conf").write_text(QEMU_CONF)
    Path(CONFIG, "libvirtd.conf").write_text(libvirtd_conf(verbosity()))
    for name, content in capabilities.items():
        file = Path(CAPABILITIES, os.path.basename(name))
        if not file.exists():
            file.write_bytes(content)


async def _listening(path: str, daemon: Child) -> None:
    """Waits until the daemon has made its socket. Raises ConnectionError if it ends first."""
    listens = asyncio.ensure_future(appears(path))
    both: set[asyncio.Future[Any]] = {listens, daemon.exited}
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    if not listens.done():
        listens.cancel()
        raise ConnectionError(f"libvirtd ended with {daemon.exited.result()} before it listened")
    await listens


def _event_loop() -> None:
    while True:
        if libvirt.virEventRunDefaultImpl() < 0:
            log("libvirt's event loop failed")
            return


def _process(name: str) -> int:
    """QEMU's number, as libvirt keeps it while the guest runs; 0 if it cannot be told."""
    try:
        return int(Path(f"{paths.LIBVIRT_RUNTIME}/qemu/run/{name}.pid").read_text())
    except (OSError, ValueError):
        return 0


def _spoken(trouble: Mapping[str, str]) -> str:
    """What keeps the guest, for users; "" where it is not known."""
    disks = "; ".join(f"disk {disk}: {why}" for disk, why in sorted(trouble.items()))
    return f"VMI was paused, an I/O error was detected ({disks})" if disks else ""


def _dotted(version: int) -> str:
    return f"{version // 1_000_000}.{version // 1000 % 1000}.{version % 1000}"
