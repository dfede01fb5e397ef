"""Carrying a local connection over a websocket to a guest's port."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from virtpod.cli.terminal import PIECE

if TYPE_CHECKING:
    from aiohttp import ClientWebSocketResponse


class _Ended(Exception):
    """One direction has ended, and with it the tunnel."""


async def carry(
    socket: ClientWebSocketResponse, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Until either side ends. Both are closed then."""
    from aiohttp import WSMsgType

    async def down() -> None:
        with contextlib.suppress(OSError):
            async for message in socket:
                if message.type is WSMsgType.BINARY:
                    writer.write(message.data)
                    await writer.drain()
        raise _Ended

    async def up() -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(PIECE):
                await socket.send_bytes(data)
        raise _Ended

    try:
        async with asyncio.TaskGroup() as directions:
            directions.create_task(down())
            directions.create_task(up())
    except* _Ended:
        pass
    finally:
        writer.close()
        await socket.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def carry_standard(socket: ClientWebSocketResponse) -> None:
    """The same with standard input and output, until either side ends."""
    import sys

    from aiohttp import WSMsgType

    from virtpod.cli.terminal import Input, write

    async def down() -> None:
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                await write(message.data)
        raise _Ended

    async def up() -> None:
        typed = Input(sys.stdin.fileno())
        while (data := await typed.next()) is not None:
            await socket.send_bytes(data)
        raise _Ended

    try:
        async with asyncio.TaskGroup() as directions:
            directions.create_task(down())
            directions.create_task(up())
    except* (_Ended, OSError):
        pass
