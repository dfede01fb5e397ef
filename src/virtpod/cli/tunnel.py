"""Carrying a local connection over a websocket to a guest's port."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from virtpod.cli.session import Failure
from virtpod.cli.terminal import PIECE

if TYPE_CHECKING:
    from aiohttp import ClientWebSocketResponse


ACCEPT = 60.0
"""Seconds that a started program has to connect."""
GOODBYE = 5.0
"""Seconds that one direction has to end after the other one did."""


async def carry(
    socket: ClientWebSocketResponse, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Until either side ends. Both are closed then."""

    async def deliver(data: bytes) -> None:
        writer.write(data)
        await writer.drain()

    async def fetch() -> bytes | None:
        return await reader.read(PIECE) or None

    try:
        await splice(socket, fetch, deliver, writer.close)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def serve_one(
    socket: ClientWebSocketResponse, address: str, port: int, program: tuple[str, ...] | None
) -> None:
    """Listens, and carries the first connection. `program` is started to make it, with {host} and
    {port} filled in; without one the port is printed. Raises Failure.

    The websocket is open by then, so that what is wrong is told before a program starts.
    """
    loop = asyncio.get_running_loop()
    first: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = loop.create_future()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if first.done():
            writer.close()
        else:
            first.set_result((reader, writer))

    try:
        server = await asyncio.start_server(accepted, address, port)
    except OSError as error:
        raise Failure(f"cannot listen on {address}:{port}: {error.strerror}") from error
    async with server:
        host, port = server.sockets[0].getsockname()[:2]
        if program is None:
            print(f'{{"port":{port}}}', flush=True)
            reader, writer = await first
        else:
            words = [part.format(host=host, port=port) for part in program]
            process = await asyncio.create_subprocess_exec(*words)
            try:
                async with asyncio.timeout(ACCEPT):
                    reader, writer = await first
            except TimeoutError as error:
                process.terminate()
                raise Failure(f"{words[0]} did not connect") from error
        server.close()
        await carry(socket, reader, writer)


async def carry_standard(socket: ClientWebSocketResponse) -> None:
    """The same with standard input and output."""
    from virtpod.cli.terminal import Input, write

    await splice(socket, Input(sys.stdin.fileno()).next, write, lambda: None)


async def splice(
    socket: ClientWebSocketResponse,
    fetch: Callable[[], Awaitable[bytes | None]],
    deliver: Callable[[bytes], Awaitable[None]],
    close: Callable[[], None],
) -> None:
    """Carries until the socket ends or `fetch` gives None. `close` makes `fetch` end, if it can."""
    from aiohttp import WSMsgType

    async def down() -> None:
        with contextlib.suppress(OSError):
            async for message in socket:
                if message.type is WSMsgType.BINARY:
                    await deliver(message.data)
        close()

    async def up() -> None:
        with contextlib.suppress(OSError):
            while (data := await fetch()) is not None:
                await socket.send_bytes(data)
        # Closing, not cancelling: the goodbye is said, and what is under way still arrives.
        await socket.close()

    async with asyncio.TaskGroup() as group:
        downward, upward = group.create_task(down()), group.create_task(up())
        await asyncio.wait([downward, upward], return_when=asyncio.FIRST_COMPLETED)
        if upward.done():
            await asyncio.wait([downward], timeout=GOODBYE)
        downward.cancel()
        upward.cancel()
