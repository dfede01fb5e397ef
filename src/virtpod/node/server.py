"""virt-handler's server for virt-api: consoles, VNC, and a guest's buttons.

Only virt-api gets in: the connection must bear a client certificate of our CA with the one name
made for this; another component's certificate does not do (CVE-2025-64434). virt-api has asked the
API server whether the user may.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

import msgspec
from aiohttp import web

from virtpod.kube.serve import Certificate
from virtpod.node import vsock
from virtpod.node.relay import MESSAGE_LIMIT, PROTOCOL, Busy, Seats, relay
from virtpod.node.safepath import Unsafe
from virtpod.node.vsock import LARGEST_PORT, Streams
from virtpod.render import guest_agent
from virtpod.wire.messages import (
    AgentTold,
    Answer,
    AskAgent,
    Attest,
    Attested,
    Freeze,
    Pause,
    Pictured,
    Request,
    Reset,
    Screenshot,
    SoftReboot,
    Thaw,
    Unpause,
)

log = logging.getLogger(__name__)

CLIENT = "kubevirt.io:system:client:virt-handler"
VMIS = "/v1/namespaces/{namespace}/virtualmachineinstances/{name}"
SCREENS = {"console": "virt-serial0", "vnc": "virt-vnc"}
USB_SLOTS = tuple(f"virt-usbredir-{slot}" for slot in range(4))
BUTTONS: dict[str, Callable[[int], Request]] = {
    "pause": lambda number: Pause(id=number),
    "unpause": lambda number: Unpause(id=number),
    "reset": lambda number: Reset(id=number),
    "softreboot": lambda number: SoftReboot(id=number),
}
LOOKS: dict[str, tuple[Callable[[int], Request], Callable[[AgentTold], Any]]] = {
    "guestosinfo": (lambda number: AskAgent(id=number, what="info"), guest_agent.info),
    "userlist": (lambda number: AskAgent(id=number, what="users"), guest_agent.users),
    "filesystemlist": (
        lambda number: AskAgent(id=number, what="filesystems"),
        guest_agent.filesystems,
    ),
}
"""What the guest's agent is asked, and how its answer is put for users."""
ATTESTED = {
    "fetchcertchain": ("platform", {"pdh": "pdh", "certChain": "cert-chain"}),
    "querylaunchmeasurement": (
        "measurement",
        {
            "measurement": "sev-measurement",
            "apiMajor": "sev-api-major",
            "apiMinor": "sev-api-minor",
            "buildID": "sev-build-id",
            "policy": "sev-policy",
            "loaderSHA": "loader-sha",
        },
    ),
}
"""What AMD SEV is asked, and the names that users know libvirt's answers by."""
BUTTON_WITHIN = 10.0
REBOOT_WITHIN = 20.0
"""Seconds: an agent that does not hear is given up before ACPI is tried."""
BODY_LIMIT = 64 * 1024
FREEZE_REMEDY = "Its file systems are thawed again; look after the guest agent in the guest."
FREEZE_WITHIN = 50.0
"""Seconds for a guest to write out what it holds."""
FAREWELL = 2.0
"""Seconds that streams under way get when the process is told to stop."""


class _Secret(msgspec.Struct):
    header: str
    secret: str


class NoGuest(Exception):
    """No launcher of that VMI is on this node, or it is out of reach."""


class Declined(Exception):
    """The launcher answered that it cannot."""


class Guest(Protocol):
    """A guest of this node, as far as the server needs it."""

    @property
    def uid(self) -> str:
        """Of the VMI."""

    @property
    def cid(self) -> int:
        """Its vsock context ID; 0: it has none."""

    def screen(self, file: str) -> socket.socket:
        """A connection to QEMU's socket of that name. Raises OSError, Unsafe."""

    def ask(self, make: Callable[[int], Request], within: float) -> Awaitable[Answer]:
        """What the launcher answers. Raises NoGuest, Declined."""

    def warn(self, reason: str, message: str) -> None:
        """An event of the VMI."""


class Console:
    """`find` gives the guest of a VMI by namespace and name, or raises NoGuest."""

    def __init__(
        self, find: Callable[[str, str], Guest], guests: vsock.Guests | None = None
    ) -> None:
        """`guests`: the way into those that have a vsock."""
        self._find = find
        self._guests = guests
        self._seats = Seats()

    def application(self) -> web.Application:
        app = web.Application(middlewares=[_only_virt_api])
        for name in SCREENS:
            app.router.add_get(f"{VMIS}/{name}", self._stream, name=name)
        app.router.add_get(f"{VMIS}/usbredir", self._usb)
        app.router.add_get(f"{VMIS}/vsock", self._vsock)
        app.router.add_get(f"{VMIS}/vnc/screenshot", self._screenshot)
        for name in BUTTONS:
            app.router.add_put(f"{VMIS}/{name}", self._button, name=name)
        for name in LOOKS:
            app.router.add_get(f"{VMIS}/{name}", self._look, name=name)
        for name in ("fetchcertchain", "querylaunchmeasurement"):
            app.router.add_get(f"{VMIS}/sev/{name}", self._attest)
        app.router.add_put(f"{VMIS}/sev/injectlaunchsecret", self._secret)
        app.router.add_put(f"{VMIS}/freeze", self._freeze)
        app.router.add_put(f"{VMIS}/unfreeze", self._thaw)
        return app

    @contextlib.asynccontextmanager
    async def serving(self, host: str, port: int, certificate: Certificate) -> AsyncIterator[int]:
        """Listens; yields the port, which is a free one where 0 was asked for."""
        runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=FAREWELL)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, ssl_context=certificate.context).start()
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()

    async def _button(self, request: web.Request) -> web.Response:
        name = request.path.rpartition("/")[2]
        within = REBOOT_WITHIN if name == "softreboot" else BUTTON_WITHIN
        await self._asked(request, BUTTONS[name], within)
        return web.Response()

    async def _look(self, request: web.Request) -> web.Response:
        make, shown = LOOKS[request.path.rpartition("/")[2]]
        told = await self._asked(request, make, BUTTON_WITHIN)
        if not isinstance(told, AgentTold):
            return _status(500, "InternalError", "virt-launcher answered something else")
        return web.json_response(shown(told))

    async def _screenshot(self, request: web.Request) -> web.Response:
        wake = request.query.get("moveCursor") == "true"
        told = await self._asked(request, lambda n: Screenshot(id=n, wake=wake), BUTTON_WITHIN)
        if not isinstance(told, Pictured):
            return _status(500, "InternalError", "virt-launcher answered something else")
        return web.Response(body=told.png, content_type="image/png")

    async def _attest(self, request: web.Request) -> web.Response:
        what, shown = ATTESTED[request.path.rpartition("/")[2]]
        told = await self._asked(request, lambda n: Attest(id=n, what=what), BUTTON_WITHIN)
        if not isinstance(told, Attested):
            return _status(500, "InternalError", "virt-launcher answered something else")
        facts = told.facts
        found = {name: facts[fact] for name, fact in shown.items() if fact in facts}
        return web.json_response(found)

    async def _secret(self, request: web.Request) -> web.Response:
        try:
            given = msgspec.json.decode(await request.content.read(BODY_LIMIT), type=_Secret)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return _status(400, "BadRequest", f"header and secret are wanted: {error}")
        await self._asked(
            request,
            lambda n: Attest(id=n, what="secret", header=given.header, secret=given.secret),
            BUTTON_WITHIN,
        )
        return web.Response()

    async def _freeze(self, request: web.Request) -> web.Response:
        given = await request.content.read(BODY_LIMIT)
        try:
            timeout = guest_agent.unfreeze_timeout(given)
        except ValueError as error:
            return _status(400, "BadRequest", str(error))
        try:
            await self._asked(request, lambda n: Freeze(id=n, thaw_after=timeout), FREEZE_WITHIN)
        except _Answer as answer:
            self._guest(request).warn("FreezeError", f"{answer.message}. {FREEZE_REMEDY}")
            raise
        return web.Response()

    async def _thaw(self, request: web.Request) -> web.Response:
        await self._asked(request, lambda n: Thaw(id=n), FREEZE_WITHIN)
        return web.Response()

    async def _asked(
        self, request: web.Request, make: Callable[[int], Request], within: float
    ) -> Answer:
        name = request.path.rpartition("/")[2]
        guest = self._guest(request)
        try:
            answer = await guest.ask(make, within)
        except NoGuest as error:
            raise _Answer(503, "ServiceUnavailable", str(error)) from None
        except Declined as error:
            raise _Answer(500, "InternalError", f"{name} failed: {error}") from None
        log.info("done for virt-api", extra={"what": name, "vmi": guest.uid})
        return answer

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        name = request.path.rpartition("/")[2]
        politely = request.query.get("preserveSession") == "true"
        shared = request.query.get("shared") == "true"
        guest = self._guest(request)
        try:
            async with self._seats.taken((guest.uid, name), politely=politely, shared=shared):
                return await self._carried(request, guest, SCREENS[name])
        except Busy:
            message = "Active VNC connection. Request denied."
            return _status(503, "ServiceUnavailable", message)

    async def _usb(self, request: web.Request) -> web.StreamResponse:
        guest = self._guest(request)
        for slot in USB_SLOTS:
            with contextlib.suppress(Busy):
                async with self._seats.taken((guest.uid, slot), politely=True):
                    return await self._carried(request, guest, slot)
        message = "all slots for redirected USB devices are taken: detach one of the devices"
        return _status(503, "ServiceUnavailable", message)

    async def _vsock(self, request: web.Request) -> web.StreamResponse:
        guest = self._guest(request)
        if self._guests is None or not guest.cid:
            return _status(400, "BadRequest", "VSOCK is not attached.")
        guests, cid, port = self._guests, guest.cid, request.query.get("port", "")
        if not port.isdigit() or not 0 < int(port[:11]) <= LARGEST_PORT:
            return _status(400, "BadRequest", "port must be a number")
        tls = request.query.get("tls") != "false"
        return await self._spliced(
            request, guest, f"vsock {port}", lambda: guests.connected(cid, int(port), tls=tls)
        )

    async def _carried(self, request: web.Request, guest: Guest, socket: str) -> web.StreamResponse:
        """Splices the client with QEMU's socket until either side ends."""
        return await self._spliced(
            request,
            guest,
            socket,
            lambda: asyncio.open_unix_connection(sock=guest.screen(socket)),
        )

    async def _spliced(
        self,
        request: web.Request,
        guest: Guest,
        what: str,
        connected: Callable[[], Awaitable[Streams]],
    ) -> web.StreamResponse:
        client = web.WebSocketResponse(
            protocols=(PROTOCOL,), compress=False, max_msg_size=MESSAGE_LIMIT, autoclose=False
        )
        if not client.can_prepare(request).ok:
            return _status(400, "BadRequest", "this is a stream: ask for a websocket upgrade")
        about = {"stream": what, "vmi": guest.uid}
        try:
            reader, writer = await connected()
            try:
                await client.prepare(request)
                log.info("stream opened", extra=about)
                await relay(client, reader, writer)
            finally:
                writer.close()
        except asyncio.CancelledError:
            if not client.prepared or request.transport is None:
                raise
            # A newer client has taken the seat; this one has been told goodbye.
        except (OSError, TimeoutError, Unsafe) as error:
            log.info("stream cannot be opened", extra={**about, "error": str(error)})
            if not client.prepared:
                name = request.path.rpartition("/")[2]
                return _status(500, "InternalError", f"the guest's {name} cannot be reached")
        log.info("stream closed", extra=about)
        return client

    def _guest(self, request: web.Request) -> Guest:
        try:
            return self._find(request.match_info["namespace"], request.match_info["name"])
        except NoGuest as error:
            raise _Answer(404, "NotFound", str(error)) from None


class _Answer(Exception):
    """Ends a request with a Status."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.response = _status(code, reason, message)


@web.middleware
async def _only_virt_api(request: web.Request, handler: Any) -> web.StreamResponse:
    transport = request.transport
    connection = transport.get_extra_info("ssl_object") if transport else None
    if CLIENT not in common_names(connection):
        return _status(401, "Unauthorized", "only virt-api may ask virt-handler")
    try:
        response: web.StreamResponse = await handler(request)
    except _Answer as answer:
        return answer.response
    return response


def common_names(connection: ssl.SSLObject | None) -> list[str]:
    """Of the client's certificate, which TLS has verified already."""
    certificate: Any = connection.getpeercert() if connection else None
    subject = (certificate or {}).get("subject", ())
    return [value for part in subject for name, value in part if name == "commonName"]


def _status(code: int, reason: str, message: str) -> web.Response:
    """A Kubernetes Status, which virt-api hands on."""
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    return web.json_response(body, status=code)
