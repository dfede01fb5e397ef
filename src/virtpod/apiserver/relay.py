"""Carrying bytes between a client's websocket and a node's, or a guest's port.

Data travels in binary messages, subprotocol `plain.kubevirt.io`. One message at a time is held
per direction: a side that does not read stops the other side's writing, down to the guest.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial

from aiohttp import WSCloseCode, WSMsgType, web

from virtpod.apiserver.call import Stream
from virtpod.apiserver.status import bad_request

PROTOCOL = "plain.kubevirt.io"
MESSAGE_LIMIT = 4 * 1024 * 1024
KEEP_ALIVE = 20.0
"""Seconds between pings, for proxies that drop what is quiet."""
GOODBYE = 5.0
"""Seconds that either side has to close after the other one did."""
STREAMS: web.AppKey[set[asyncio.Task[object]]] = web.AppKey("streams", set)
"""The streams that are open, to be ended when the process is told to stop."""


def check(request: web.Request) -> None:
    """Raises Refusal (400) where a stream is asked for without a websocket.

    Handlers ask this last: a plain GET then tells what would be in the stream's way, which is how
    clients whose websocket library hides the answer to a refused upgrade can learn the reason.
    """
    if not web.WebSocketResponse().can_prepare(request).ok:
        raise bad_request("this subresource is a stream: ask for it with a websocket upgrade")


async def relay(request: web.Request, upstream: Stream) -> web.WebSocketResponse:
    """Upgrades the client's connection and splices it with `upstream` until either side ends.

    `upstream` is closed in any case, also where the client is gone already.
    """
    client = web.WebSocketResponse(
        protocols=(PROTOCOL,), compress=False, max_msg_size=MESSAGE_LIMIT, timeout=GOODBYE
    )

    async def down() -> None:
        with contextlib.suppress(OSError):
            while (data := await upstream.receive()) is not None:
                await client.send_bytes(data)
        await _within_goodbye(client.close)

    async def up() -> None:
        with contextlib.suppress(OSError):
            async for message in client:
                if message.type is WSMsgType.BINARY:
                    await upstream.send(message.data)
        await _within_goodbye(upstream.close)

    async def ping() -> None:
        with contextlib.suppress(OSError):
            while True:
                await asyncio.sleep(KEEP_ALIVE)
                await client.ping()

    code = WSCloseCode.OK
    task = asyncio.current_task()
    assert task is not None
    request.app[STREAMS].add(task)
    try:
        await client.prepare(request)
        async with asyncio.TaskGroup() as group:
            pings = group.create_task(ping())
            directions = [group.create_task(down()), group.create_task(up())]
            # The one that ends closes the other's source. Cancelling that one at once would break
            # its websocket off in the middle of a read, without a goodbye.
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait(directions, timeout=GOODBYE)
            for part in (*directions, pings):
                part.cancel()
    except asyncio.CancelledError:
        code = WSCloseCode.GOING_AWAY
        raise
    finally:
        request.app[STREAMS].discard(task)
        await _within_goodbye(upstream.close)
        await _within_goodbye(partial(client.close, code=code))
    return client


async def _within_goodbye(close: Callable[[], Awaitable[object]]) -> None:
    with contextlib.suppress(OSError, RuntimeError, TimeoutError):
        async with asyncio.timeout(GOODBYE):
            await close()
