"""Guests' sockets that need no network: the node's end of them.

A stream of virt-api ends at a port in the guest, with TLS on the way unless it is asked away: our
client certificate tells the guest who calls. Guests verify it by the bundle that they read from
port 1 of their host, by gRPC (`kubevirt.vsock.system.v1.System/CABundle`). gRPC's own library does
not listen there, so its connections are carried to a server on a unix socket.

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

import grpc
import grpc.aio

from virtpod.api.kubevirt import KubeVirt
from virtpod.features.gates import resolve

log = logging.getLogger(__name__)

GATE = "VSOCK"
AUTHORITY_PORT = 1
LARGEST_PORT = 2**32 - 2
DIAL_WITHIN = 10.0
SERVICE = "kubevirt.vsock.system.v1.System"
LOCAL = "unix-abstract:virtpod-vsock-authority"
CHUNK = 64 * 1024
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
        server = grpc.aio.server()
        told = grpc.unary_unary_rpc_method_handler(self._told)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"CABundle": told}),)
        )
        server.add_insecure_port(LOCAL)
        await server.start()
        try:
            with entrance:
                await self._accept(entrance)
        finally:
            await server.stop(None)

    async def _accept(self, entrance: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        guests: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as tasks:
            while True:
                guest, _ = await loop.sock_accept(entrance)
                if len(guests) >= MOST:
                    guest.close()
                    continue
                task = tasks.create_task(_spliced(guest))
                guests.add(task)
                task.add_done_callback(guests.discard)

    async def _told(self, request: bytes, context: object) -> bytes:
        """A message whose first field is the bundle's PEM."""
        return field(1, self._bundle.read_bytes())


def field(number: int, content: bytes) -> bytes:
    """A field of bytes as protobuf has it. https://protobuf.dev/programming-guides/encoding/"""
    length, size = b"", len(content)
    while size > 0x7F:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


async def _awaited(offer: Callable[[], Awaitable[None]]) -> None:
    await offer()


async def _spliced(guest: socket.socket) -> None:
    """One guest's conversation with the server, bounded in time."""
    with contextlib.suppress(OSError, TimeoutError), guest:
        async with asyncio.timeout(READ_WITHIN):
            theirs = await asyncio.open_connection(sock=guest)
            path = "\0" + LOCAL.partition(":")[2]
            ours = await asyncio.open_unix_connection(path)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_carry(theirs[0], ours[1]))
                tasks.create_task(_carry(ours[0], theirs[1]))


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                writer.write(data)
                await writer.drain()
    finally:
        writer.close()
