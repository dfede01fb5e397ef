"""UDP in port-forward: a websocket per local peer, a datagram per message."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from virtpod.cli.session import Refused

if TYPE_CHECKING:
    from aiohttp import ClientWebSocketResponse

HELD = 64
"""Datagrams kept per peer while its tunnel opens or stalls; more are dropped, as networks do."""

Address = tuple[Any, ...]


class Datagrams(asyncio.DatagramProtocol):
    """The local socket."""

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        dial: Callable[[], AbstractAsyncContextManager[ClientWebSocketResponse]],
    ) -> None:
        self._tasks = tasks
        self._dial = dial
        self._peers: dict[Address, asyncio.Queue[bytes]] = {}
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport)
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Address) -> None:
        held = self._peers.get(addr)
        if held is None:
            held = self._peers[addr] = asyncio.Queue(HELD)
            self._tasks.create_task(self._carry(addr, held))
        if not held.full():
            held.put_nowait(data)

    async def _carry(self, addr: Address, held: asyncio.Queue[bytes]) -> None:
        try:
            async with self._dial() as socket, asyncio.TaskGroup() as directions:
                up = directions.create_task(_up(socket, held))
                async for message in socket:
                    if isinstance(message.data, bytes) and self._transport is not None:
                        self._transport.sendto(message.data, addr)
                up.cancel()
        except* Refused as refused:
            print(refused.exceptions[0], file=sys.stderr, flush=True)
        except* OSError as broken:
            print(f"tunnel broke: {broken.exceptions[0]}", file=sys.stderr, flush=True)
        finally:
            del self._peers[addr]


async def _up(socket: ClientWebSocketResponse, held: asyncio.Queue[bytes]) -> None:
    while True:
        await socket.send_bytes(await held.get())
