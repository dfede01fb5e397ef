"""Guests' sockets that need no network: the node's end of them.

A stream of virt-api ends at a port in the guest, with TLS on the way unless it is asked away: our
client certificate tells the guest who calls. Guests verify it by the bundle that they read from
port 1 of their host, by gRPC (`kubevirt.vsock.system.v1.System/CABundle`).

https://man7.org/linux/man-pages/man7/vsock.7.html
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

from virtpod.api.kubevirt import KubeVirt
from virtpod.features.gates import resolve
from virtpod.wire import grpc, protobuf

log = logging.getLogger(__name__)

GATE = "VSOCK"
AUTHORITY_PORT = 1
LARGEST_PORT = 2**32 - 2
DIAL_WITHIN = 10.0
SERVICE = "kubevirt.vsock.system.v1.System"
LARGEST_QUESTION = 4096
"""Bytes of a guest's message: the one that we know of has none."""
MOST = 64
"""Guests that read the bundle at once; who comes then is turned away."""
READ_WITHIN = 10.0

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def dial(cid: int, port: int) -> socket.socket:
    """A connection to a guest's port; blocks for as long as the kernel waits. Raises OSError."""
    found = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    try:
        found.settimeout(DIAL_WITHIN)
        found.connect((cid, port))
        found.setblocking(False)
    except BaseException:
        found.close()
        raise
    return found


class Guests:
    """The way into guests. `certificate` and `key` are files of ours, read for each connection."""

    def __init__(
        self,
        certificate: Path,
        key: Path,
        dial: Callable[[int, int], socket.socket] = dial,
    ) -> None:
        self._files = (certificate, key)
        self._dial = dial

    async def connected(self, cid: int, port: int, *, tls: bool) -> Streams:
        """Raises OSError (ssl.SSLError included)."""
        connection = await asyncio.to_thread(self._dial, cid, port)
        try:
            context = self._context() if tls else None
            async with asyncio.timeout(DIAL_WITHIN):
                return await asyncio.open_connection(
                    sock=connection, ssl=context, server_hostname="" if context else None
                )
        except BaseException:
            connection.close()
            raise

    def _context(self) -> ssl.SSLContext:
        """The context ID says which guest it is; its certificate is its own affair."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(*self._files)
        return context


def listening() -> socket.socket:
    """Where guests find their host. Raises OSError where the kernel has no vsock."""
    found = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    try:
        found.bind((socket.VMADDR_CID_ANY, AUTHORITY_PORT))
        found.listen(MOST)
        found.setblocking(False)
    except BaseException:
        found.close()
        raise
    return found


class Authority:
    """Tells guests by which certificates they know us. `run()` it in a task; `offer` runs beside
    it: what the kubelet gives of the device. Both begin when the gate is open."""

    def __init__(
        self,
        bundle: Path,
        offer: Callable[[], Awaitable[None]],
        listening: Callable[[], socket.socket] = listening,
    ) -> None:
        self._bundle = bundle
        self._offer = offer
        self._listening = listening
        self._open = asyncio.Event()

    def configured(self, kubevirt: KubeVirt | None) -> None:
        """A gate that is shut again is heeded when the process starts anew."""
        configuration = kubevirt and kubevirt.spec.configuration
        if configuration and GATE in resolve(configuration):
            self._open.set()

    async def run(self) -> None:
        """Until cancelled."""
        await self._open.wait()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_awaited(self._offer))
            tasks.create_task(self._serve())

    async def _serve(self) -> None:
        try:
            entrance = self._listening()
        except OSError as error:
            log.warning("no guest can ask for the CA by vsock", extra={"error": str(error)})
            return
        with entrance:
            await self._accept(entrance)

    async def _accept(self, entrance: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        guests: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as tasks:
            while True:
                guest, _ = await loop.sock_accept(entrance)
                if len(guests) >= MOST:
                    guest.close()
                    continue
                task = tasks.create_task(self._conversation(guest))
                guests.add(task)
                task.add_done_callback(guests.discard)

    async def _conversation(self, guest: socket.socket) -> None:
        """One guest's, bounded in time."""
        with contextlib.suppress(OSError, TimeoutError), guest:
            async with asyncio.timeout(READ_WITHIN):
                reader, writer = await asyncio.open_connection(sock=guest)
                await grpc.converse(reader, writer, self._told, LARGEST_QUESTION)

    async def _told(self, method: str, message: bytes) -> bytes:
        """A message whose first field is the bundle's PEM."""
        if method != f"/{SERVICE}/CABundle":
            raise grpc.unknown(method)
        return protobuf.encode([(1, self._bundle.read_bytes())])


async def _awaited(offer: Callable[[], Awaitable[None]]) -> None:
    await offer()
