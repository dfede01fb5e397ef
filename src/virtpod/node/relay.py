"""Carrying bytes between a websocket and a unix socket of a guest, and who may: one at a time.

A console has one screen. Who comes later takes it over, so that a forgotten window somewhere keeps
nobody out; a VNC client may ask for the opposite and is then turned away while another one is
there, and those who ask to share a display look at it together. Data travels in binary messages,
subprotocol `plain.kubevirt.io`; one message at a time is held per direction, so a side that does
not read stops the other one's writing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Hashable

from aiohttp import WSMsgType, web

PROTOCOL = "plain.kubevirt.io"
CHUNK = 64 * 1024
MESSAGE_LIMIT = 4 * 1024 * 1024
KEEP_ALIVE = 20.0
"""Seconds between pings, for proxies that drop what is quiet."""
GOODBYE = 5.0
"""Seconds that the client has to close."""


class Busy(Exception):
    """Somebody is there, and the newcomer asked not to disturb."""


class Seats:
    """One seat per screen: who holds it is cancelled when somebody else takes it. Those who said
    that they share sit together."""

    def __init__(self) -> None:
        self._taken: dict[Hashable, dict[asyncio.Task[object], bool]] = {}

    @contextlib.asynccontextmanager
    async def taken(
        self, screen: Hashable, *, politely: bool = False, shared: bool = False
    ) -> AsyncIterator[None]:
        """Holds the seat. Raises Busy where somebody is in the way and `politely` was asked for."""
        task = asyncio.current_task()
        assert task is not None
        while in_the_way := [
            each for each, shares in self._taken.get(screen, {}).items() if not (shared and shares)
        ]:
            if politely:
                raise Busy
            for each in in_the_way:
                each.cancel()
            # The older ones must have closed before we connect: a console has one reader.
            await asyncio.wait(in_the_way, timeout=GOODBYE)
            for each in in_the_way:
                self._leave(screen, each)
        self._taken.setdefault(screen, {})[task] = shared
        try:
            yield
        finally:
            self._leave(screen, task)

    def _leave(self, screen: Hashable, task: asyncio.Task[object]) -> None:
        sitting = self._taken.get(screen, {})
        sitting.pop(task, None)
        if not sitting:
            self._taken.pop(screen, None)


async def relay(
    client: web.WebSocketResponse, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Until either side ends; closes both."""

    async def down() -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await client.send_bytes(data)

    async def up() -> None:
        with contextlib.suppress(OSError):
            async for message in client:
                if message.type is WSMsgType.BINARY:
                    writer.write(message.data)
                    await writer.drain()

    async def ping() -> None:
        with contextlib.suppress(OSError):
            while True:
                await asyncio.sleep(KEEP_ALIVE)
                await client.ping()

    try:
        async with asyncio.TaskGroup() as tasks:
            parts = [tasks.create_task(each) for each in (down(), up(), ping())]
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in parts:
                part.cancel()
    finally:
        writer.close()
        with contextlib.suppress(OSError, RuntimeError, TimeoutError):
            async with asyncio.timeout(GOODBYE):
                await client.close()
