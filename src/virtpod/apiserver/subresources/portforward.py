"""GET .../portforward/PORT[/PROTOCOL]: a connection into the guest, as a websocket.

virt-api dials the guest's first address itself: no component of the node is in between.
"""

from __future__ import annotations

import asyncio
import ipaddress

from aiohttp import web

from virtpod.api.vmi import VirtualMachineInstance
from virtpod.apiserver.call import Call, Stream
from virtpod.apiserver.relay import GOODBYE, check, relay
from virtpod.apiserver.status import Refusal, bad_request
from virtpod.apiserver.subresources._node import paused

DIAL = 10.0
"""Seconds."""
DATAGRAMS = 256
"""Datagrams held for a client that does not read; more are dropped, as networks do."""


async def vm(call: Call) -> web.StreamResponse:
    """The VM's guest, if it has one now."""
    vm = await call.vm()
    if not vm.status.created:
        raise call.vm_conflict("VMI is not started")
    return await vmi(call)


async def vmi(call: Call) -> web.StreamResponse:
    """Dials tcp or udp."""
    port = int(call.request.match_info.get("port") or 0)
    if not 0 < port < 65536:
        raise bad_request("port must be between 1 and 65535")
    udp = call.request.match_info.get("protocol", "tcp") == "udp"
    vmi = await call.vmi()
    if vmi.status.phase != "Running":
        raise call.vmi_conflict("VMI is not running")
    if paused(vmi):
        raise call.vmi_conflict("VMI is paused")
    address = _address(vmi)
    check(call.request)
    try:
        async with asyncio.timeout(DIAL):
            stream = await (_Datagrams.dial if udp else _Connection.dial)(address, port)
    except (OSError, TimeoutError) as error:
        why = str(error) or "time-out"
        raise Refusal(500, f"dialing VM: {address} port {port}: {why}") from error
    return await relay(call.request, stream)


def _address(vmi: VirtualMachineInstance) -> str:
    interfaces = vmi.status.interfaces or []
    if not interfaces or not interfaces[0].ip_address:
        raise bad_request("no network interfaces are present")
    address = ipaddress.ip_address(interfaces[0].ip_address)
    # A guest's agent has a say in what its status holds: it must not point virt-api at itself
    # or at the node's metadata service.
    if address.is_loopback or address.is_link_local or address.is_unspecified:
        raise bad_request("no network interfaces are present")
    return str(address)


class _Connection:
    """TCP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def dial(cls, address: str, port: int) -> Stream:
        return cls(*await asyncio.open_connection(address, port))

    async def receive(self) -> bytes | None:
        return await self._reader.read(64 * 1024) or None

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()
        async with asyncio.timeout(GOODBYE):
            await self._writer.wait_closed()


class _Datagrams(asyncio.DatagramProtocol):
    """UDP, a datagram per message."""

    def __init__(self) -> None:
        self._received: asyncio.Queue[bytes | None] = asyncio.Queue(DATAGRAMS)
        self._transport: asyncio.DatagramTransport | None = None

    @classmethod
    async def dial(cls, address: str, port: int) -> Stream:
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_datagram_endpoint(cls, remote_addr=(address, port))
        return protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport)
        self._transport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self._received.full():
            self._received.put_nowait(data)

    async def receive(self) -> bytes | None:
        return await self._received.get()

    async def send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.sendto(data)

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
        if self._received.full():
            self._received.get_nowait()
        self._received.put_nowait(None)
