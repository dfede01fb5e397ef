"""The guest's agent: asked with a bound on time, size and number, and believed in nothing.

It lives in the guest, so all of its answers are a stranger's: an answer that is too long or makes
no sense is no answer, lists and texts are cut, and what changes all the time is asked for less and
less often, because each change becomes a write to the API (CVE-2025-14525).

https://www.qemu.org/docs/master/interop/qemu-ga-ref.html
"""

from __future__ import annotations

import asyncio
import base64
import math
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import field, structs

from virtpod.launcher.credentials import Keeper
from virtpod.launcher.hypervisor import Entrusted, Refused
from virtpod.launcher.log import log
from virtpod.wire.messages import (
    AgentRequest,
    AgentTold,
    Answer,
    AskAgent,
    DomainChanged,
    Done,
    Execute,
    Executed,
    Freeze,
    GuestDisk,
    GuestFileSystem,
    GuestOS,
    GuestUser,
    InterfaceSeen,
    Ping,
    Thaw,
)

T = TypeVar("T")

LARGEST = 1024 * 1024
"""Characters of one answer."""
TEXT = 255
INTERFACES = 32
ADDRESSES = 8
USERS = 256
FILESYSTEMS = 256
DISKS = 16
COMMANDS = 256
EXPECTED = (
    *("guest-ping", "guest-get-time", "guest-info", "guest-shutdown"),
    *("guest-network-get-interfaces", "guest-get-fsinfo", "guest-get-host-name"),
    *("guest-get-users", "guest-get-timezone", "guest-get-osinfo"),
    *("guest-ssh-add-authorized-keys", "guest-set-user-password"),
)
"""Commands without which something that the API promises does not work."""
LOAD = "guest-get-load"
"""Agents from before QEMU 10 do not know it."""
OUTPUT = 8 * 1024
"""Characters that a probe's program is cited with."""
ASKERS = 16
"""Commands that may wait: the agent does one at a time."""
WITHIN = 5.0
"""Seconds for an ordinary command."""
GIVEN_WITHIN = 15.0
"""Seconds for the guest to set a password: hashing one takes a while on purpose."""
FREEZE_WITHIN = 40.0
"""Seconds for the guest to write out what it holds."""
FIRST_PAUSES = (2.0, 3.0, 5.0)
"""Seconds between the first looks: addresses come a while after the agent."""
PAUSE = 30.0
LONGEST_PAUSE = 300.0
FROZEN_PAUSE = 5.0
SETTLED = 5.0
"""Seconds for which a connection's state stands, however often the guest opens and closes it."""
LONGEST_RETRY = 30.0


class Agent:
    """`ask` sends one command, `changed` is called when there is news for `onto`; `runs` tells
    whether the guest's processors do. `entrusted`: what the agent is to be given."""

    def __init__(
        self,
        ask: Callable[[str, int], Awaitable[str]],
        changed: Callable[[], None],
        runs: Callable[[], bool],
        entrusted: tuple[Entrusted, ...] = (),
    ) -> None:
        self._ask = ask
        self._changed = changed
        self._runs = runs
        self._askers = 0
        self._open = False
        self._shown = False
        self._shown_at = -math.inf
        self._showing: asyncio.TimerHandle | None = None
        self._following: asyncio.Task[None] | None = None
        self._keeper = Keeper(entrusted, self._give, changed) if entrusted else None
        self._keeping: asyncio.Task[None] | None = None
        self._thawing: asyncio.Task[None] | None = None
        self._os: GuestOS | None = None
        self._lacks: tuple[str, ...] = ()
        self._tells_load = False
        self._interfaces: list[Interface] = []
        self._cards: frozenset[str] = frozenset()
        """Hardware addresses of the domain's interfaces."""
        self._frozen = False
        self._loop = asyncio.get_running_loop()

    def onto(self, domain: DomainChanged) -> DomainChanged:
        """The domain, and what the agent knows beside; of a card that has just gone it knows
        nothing until it says so anew."""
        cards = frozenset(nic.mac.lower() for nic in domain.interfaces)
        if gone := self._cards - cards:
            self._interfaces = [
                each for each in self._interfaces if each.hardware_address not in gone
            ]
        self._cards = cards
        known = self._interfaces if self._shown else []
        return structs.replace(
            domain,
            agent_connected=self._shown,
            agent_lacks=self._lacks if self._shown else (),
            os=self._os,
            frozen=self._frozen,
            credentials=self._keeper.state if self._keeper else "",
            credentials_message=text(self._keeper.message) if self._keeper else "",
            interfaces=merged(domain.interfaces, known),
        )

    @property
    def is_open(self) -> bool:
        """The guest holds its end of the channel open."""
        return self._open

    def connected(self, is_open: bool) -> None:
        """The guest has opened or closed its end of the channel."""
        if is_open == self._open:
            return
        self._open = is_open
        if is_open:
            # It is shown with what it tells: one change, and one write, instead of two.
            self._following = self._loop.create_task(self._follow())
            if self._keeper is not None:
                self._keeping = self._loop.create_task(self._keeper.run())
            return
        for task in (self._following, self._keeping):
            if task is not None:
                task.cancel()
        self._settle()

    def _settle(self) -> None:
        """Shows whether the agent is there, if that has stood long enough."""
        left = self._shown_at + SETTLED - self._loop.time()
        if left <= 0:
            self._show()
        elif self._showing is None:
            self._showing = self._loop.call_later(left, self._show_later)

    def end(self) -> None:
        """The guest is no more."""
        for task in (self._following, self._keeping, self._thawing):
            if task is not None:
                task.cancel()
        if self._showing is not None:
            self._showing.cancel()

    async def answer(self, request: AgentRequest) -> Answer:
        """Raises Refused."""
        if self._frozen and self._open and isinstance(request, Ping | Execute):
            # Its agent runs nothing, and that is no illness: a probe must not end a frozen guest.
            return Done(id=request.id)
        if not self._open:
            raise Refused("the guest agent is not connected")
        match request:
            case Ping():
                await self._ping(request.within)
            case Execute():
                return await self._execute(request)
            case AskAgent():
                try:
                    async with asyncio.timeout(WITHIN + 3):
                        return await self._told(request)
                except TimeoutError:
                    raise Refused("the guest agent does not answer in time") from None
            case Freeze():
                await self._freeze(request.thaw_after)
            case Thaw():
                await self._thaw()
        return Done(id=request.id)

    # The connection, and what is always known.

    def _show_later(self) -> None:
        self._showing = None
        self._show()

    def _show(self) -> None:
        if self._shown != self._open:
            self._shown, self._shown_at = self._open, self._loop.time()
            self._changed()

    async def _follow(self) -> None:
        """Keeps `onto` up to date while the channel is open."""
        self._os = None
        first, pause, told = list(FIRST_PAUSES), PAUSE, False
        while True:
            before = self._os, self._interfaces, self._frozen
            if self._runs():
                try:
                    await self._look()
                except Refused as error:
                    if not told:
                        log("the guest agent could not be asked", error=str(error))
                    told = True
            changed = before != (self._os, self._interfaces, self._frozen)
            if not self._shown:
                self._settle()
            elif changed:
                self._changed()
            pause = min(pause * 2, LONGEST_PAUSE) if changed and not first else PAUSE
            wait = first.pop(0) if first else pause
            await asyncio.sleep(min(wait, FROZEN_PAUSE) if self._frozen else wait)

    async def _look(self) -> None:
        """Raises Refused."""
        self._frozen = await self._is_frozen()
        if not self._frozen:  # a frozen guest's agent answers nothing else
            if self._os is None:
                await self._learn_commands()
                self._os = (await self._command("guest-get-osinfo", System)).seen()
            found = await self._command("guest-network-get-interfaces", list[Interface])
            self._interfaces = [each.cut() for each in found[: 16 * INTERFACES]]

    async def _learn_commands(self) -> None:
        """What an agent is expected to do and this one does not: too old, or told not to."""
        about = await self._maybe(self._command("guest-info", About))
        if about is None:
            self._lacks, self._tells_load = ("guest-info",), False
            return
        enabled = {each.name for each in about.supported_commands if each.enabled}
        self._lacks = tuple(name for name in EXPECTED if name not in enabled)
        self._tells_load = LOAD in enabled

    async def _is_frozen(self) -> bool:
        try:
            return await self._command("guest-fsfreeze-status", str) == "frozen"
        except Refused:
            return False  # agents that cannot freeze do not know the word

    # Freezing

    async def _freeze(self, thaw_after: float) -> None:
        if not await self._is_frozen():
            try:
                async with asyncio.timeout(FREEZE_WITHIN):
                    count = await self._command("guest-fsfreeze-freeze", int, within=FREEZE_WITHIN)
            except BaseException as error:
                self._thaw_in(0)  # it may yet come to pass, with nobody there to undo it
                if isinstance(error, TimeoutError):
                    raise Refused("the guest did not freeze in time, and is thawed") from None
                raise
            log("the guest's file systems are frozen", count=count)
            self._set_frozen(count > 0)
        if thaw_after > 0:
            self._thaw_in(thaw_after)

    async def _thaw(self) -> None:
        count = await self._command("guest-fsfreeze-thaw", int, within=FREEZE_WITHIN)
        log("the guest's file systems are thawed", count=count)
        if self._thawing is not None and self._thawing is not asyncio.current_task():
            self._thawing.cancel()
        self._thawing = None
        self._set_frozen(False)

    def _thaw_in(self, seconds: float) -> None:
        if self._thawing is not None:
            self._thawing.cancel()
        self._thawing = self._loop.create_task(self._thaw_surely(seconds))

    async def _thaw_surely(self, seconds: float) -> None:
        """Until it has: a guest that stays frozen is as good as dead."""
        pause = 1.0
        while True:
            await asyncio.sleep(seconds)
            try:
                await self._thaw()
            except Refused as error:
                log("the guest's file systems cannot be thawed yet", error=str(error))
                seconds, pause = pause, min(pause * 2, LONGEST_RETRY)
            else:
                return

    def _set_frozen(self, frozen: bool) -> None:
        if frozen != self._frozen:
            self._frozen = frozen
            self._changed()

    # On demand

    async def _told(self, request: AskAgent) -> AgentTold:
        told = AgentTold(id=request.id)
        if request.what in ("info", "users"):
            told = structs.replace(told, users=await self._users())
        if request.what in ("info", "filesystems"):
            told = structs.replace(told, filesystems=await self._filesystems())
        if request.what == "info":
            told = structs.replace(told, **await self._info())
        if request.load and self._tells_load:
            load = await self._maybe(self._command(LOAD, Load))
            told = structs.replace(told, load=load and load.seen())
        return told

    async def _users(self) -> list[GuestUser]:
        found = await self._command("guest-get-users", list[User])
        return [each.seen() for each in found[:USERS]]

    async def _filesystems(self) -> list[GuestFileSystem]:
        found = await self._command("guest-get-fsinfo", list[FileSystem])
        return [each.seen() for each in found[:FILESYSTEMS]]

    async def _info(self) -> dict[str, Any]:
        about = await self._command("guest-info", About)
        enabled = [text(each.name) for each in about.supported_commands if each.enabled]
        host = await self._maybe(self._command("guest-get-host-name", HostName))
        zone = await self._maybe(self._command("guest-get-timezone", TimeZone))
        system = await self._maybe(self._command("guest-get-osinfo", System))
        return {
            "version": text(about.version),
            "commands": enabled[:COMMANDS],
            "hostname": text(host.host_name) if host else "",
            "timezone": f"{text(zone.zone)}, {zone.offset}" if zone else "",
            "frozen": self._frozen,
            "os": system.seen() if system else self._os,
        }

    async def _maybe(self, asked: Coroutine[Any, Any, T]) -> T | None:
        """None where this agent does not know the command."""
        try:
            return await asked
        except Refused:
            return None

    async def _ping(self, within: float) -> None:
        try:
            async with asyncio.timeout(within):
                await self._command("guest-ping", dict[str, Any], within=within)
        except TimeoutError:
            raise Refused(f"the guest agent does not answer within {within:g} s") from None

    async def _execute(self, request: Execute) -> Executed:
        """A program in the guest, to its end; one that takes too long goes on there."""
        arguments = {
            "path": request.command,
            "arg": request.arguments,
            "capture-output": True,
        }
        try:
            async with asyncio.timeout(request.within):
                started = await self._command("guest-exec", Started, arguments)
                pause = 0.01
                while True:
                    state = await self._command("guest-exec-status", Ended, {"pid": started.pid})
                    if state.exited:
                        return Executed(id=request.id, code=state.code(), output=state.output())
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 0.5)
        except TimeoutError:
            raise Refused(f"{request.command} did not end within {request.within:g} s") from None

    async def _give(self, command: str, arguments: dict[str, Any]) -> object:
        if not self._runs():
            raise Refused("the guest is paused")
        return await self._command(command, dict[str, Any], arguments, within=GIVEN_WITHIN)

    # One command

    async def _command(
        self,
        name: str,
        kind: type[T],
        arguments: dict[str, Any] | None = None,
        within: float = WITHIN,
    ) -> T:
        """Raises Refused."""
        if self._askers >= ASKERS:
            raise Refused("the guest agent has too much to do")
        command = {"execute": name, **({"arguments": arguments} if arguments else {})}
        self._askers += 1
        try:
            said = await self._ask(msgspec.json.encode(command).decode(), max(1, math.ceil(within)))
        finally:
            self._askers -= 1
        if len(said) > LARGEST:
            raise Refused(f"the guest agent's answer to {name} is {len(said)} characters long")
        return understood(name, said, kind)


class _Return(msgspec.Struct, Generic[T]):
    value: T = field(name="return")


def understood(command: str, said: str, kind: type[T]) -> T:
    """The answer. Raises Refused where it is none."""
    try:
        decoded = msgspec.json.decode(said, type=_Return[kind])  # type: ignore[valid-type]
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Refused(f"the guest agent's answer to {command} makes no sense: {error}") from None
    value: T = decoded.value
    return value


def text(said: str) -> str:
    """A guest's word, fit to be shown: short, and nothing in it that moves a cursor."""
    return "".join(each for each in said[:TEXT] if each.isprintable())


class _Said(msgspec.Struct, rename="kebab"):
    """What the agent calls it; unknown fields are passed over."""


class _Address(_Said):
    ip_address: str = ""


class Interface(_Said):
    name: str
    hardware_address: str = ""
    ip_addresses: list[_Address] = []

    def cut(self) -> Interface:
        """As much of it as is kept."""
        said = (text(each.ip_address) for each in self.ip_addresses[: 4 * ADDRESSES])
        kept = [_Address(each) for each in said if is_address(each)]
        return Interface(text(self.name), text(self.hardware_address).lower(), kept[:ADDRESSES])

    def addresses(self) -> list[str]:
        return [each.ip_address for each in self.ip_addresses]


class System(_Said):
    id: str = ""
    name: str = ""
    pretty_name: str = ""
    version: str = ""
    version_id: str = ""
    kernel_release: str = ""
    kernel_version: str = ""
    machine: str = ""

    def seen(self) -> GuestOS:
        return GuestOS(**{name: text(value) for name, value in structs.asdict(self).items()})


class User(_Said):
    user: str
    domain: str = ""
    login_time: float = 0

    def seen(self) -> GuestUser:
        return GuestUser(name=text(self.user), domain=text(self.domain), login_time=self.login_time)


class _Disk(_Said):
    bus_type: str = ""
    serial: str = ""


class FileSystem(_Said):
    name: str
    mountpoint: str = ""
    type: str = ""
    used_bytes: int = 0
    total_bytes: int = 0
    disk: list[_Disk] = []

    def seen(self) -> GuestFileSystem:
        return GuestFileSystem(
            name=text(self.name),
            mount_point=text(self.mountpoint),
            type=text(self.type),
            used=self.used_bytes,
            total=self.total_bytes,
            disks=[
                GuestDisk(bus=text(each.bus_type), serial=text(each.serial))
                for each in self.disk[:DISKS]
            ],
        )


class _Command(msgspec.Struct):
    name: str
    enabled: bool = True


class About(msgspec.Struct):
    version: str = ""
    supported_commands: list[_Command] = []


class Load(msgspec.Struct):
    load1m: float
    load5m: float
    load15m: float

    def seen(self) -> tuple[float, float, float]:
        return self.load1m, self.load5m, self.load15m


class HostName(_Said):
    host_name: str = ""


class TimeZone(msgspec.Struct):
    zone: str = ""
    offset: int = 0


class Started(msgspec.Struct):
    pid: int


class Ended(_Said):
    exited: bool
    exitcode: int | None = None
    signal: int | None = None
    out_data: str = ""
    err_data: str = ""

    def code(self) -> int:
        if self.exitcode is not None:
            return self.exitcode
        return 128 + (self.signal or 0)

    def output(self) -> str:
        return "".join(_decoded(each) for each in (self.out_data, self.err_data))[:OUTPUT]


def _decoded(data: str) -> str:
    try:
        return base64.b64decode(data[: 2 * OUTPUT]).decode(errors="replace")
    except ValueError:
        return ""


def is_address(said: str) -> bool:
    """IPv4 or IPv6."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, said)
        except (OSError, ValueError):
            continue
        return True
    return False


def merged(domain: list[InterfaceSeen], told: list[Interface]) -> list[InterfaceSeen]:
    """The domain's interfaces with what the agent says of them, then those it alone knows."""
    left = [each for each in told if each.name != "lo"]
    whole = []
    for nic in domain:
        same = next((each for each in left if each.hardware_address == nic.mac.lower()), None)
        if same is None:
            whole.append(nic)
            continue
        left.remove(same)
        whole.append(
            structs.replace(
                nic,
                interface_name=same.name,
                addresses=same.addresses(),
                source="domain, guest-agent",
            )
        )
    own = [
        InterfaceSeen(
            name="",
            mac=each.hardware_address,
            interface_name=each.name,
            addresses=each.addresses(),
            source="guest-agent",
        )
        for each in left
        if each.hardware_address
    ]
    return whole + own[: max(0, INTERFACES - len(whole))]
