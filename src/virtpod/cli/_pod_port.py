"""A local port that leads to a pod's, as `kubectl port-forward` makes one.

One websocket for each connection: its messages begin with 0 for what goes over it and 1 for what
went wrong; the first of either is the port's number.

Source: k8s.io/kubelet, pkg/cri/streaming/portforward/websocket.go: v4.channel.k8s.io.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from virtpod.cli._exec import PROTOCOL
from virtpod.cli.session import Failure
from virtpod.cli.terminal import PIECE
from virtpod.kube.errors import ApiError
from virtpod.kube.resources import PODS, Key

if TYPE_CHECKING:
    from virtpod.kube.client import Client

DATA, ERROR = 0, 1
NUMBER = 2
"""Bytes of the port's number."""


@asynccontextmanager
async def forwarded(client: Client, pod: Key, port: int, local: int = 0) -> AsyncIterator[int]:
    """The local port, on 127.0.0.1; any where none is asked for. Raises Failure."""

    carried: set[asyncio.Task[None]] = set()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        carried.add(task)
        task.add_done_callback(carried.discard)
        try:
            await _carry(client, pod, port, reader, writer)
        except ApiError as error:
            print(f"error: port {port} of pod {pod}: {error.message or error}", file=sys.stderr)
        finally:
            writer.close()

    try:
        server = await asyncio.start_server(accepted, "127.0.0.1", local)
    except OSError as error:
        raise Failure(f"cannot listen on 127.0.0.1:{local}: {error.strerror}") from error
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in carried:
            task.cancel()
        await asyncio.gather(*carried, return_exceptions=True)


async def _carry(
    client: Client,
    pod: Key,
    port: int,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Until either side ends. Raises ApiError."""
    path = PODS.path(*pod, "portforward")
    async with client.websocket(path, (PROTOCOL,), {"ports": str(port)}) as socket:

        async def up() -> None:
            with contextlib.suppress(OSError):
                while data := await reader.read(PIECE):
                    await socket.send_bytes(bytes((DATA,)) + data)

        async def down() -> None:
            named = {DATA: False, ERROR: False}
            with contextlib.suppress(OSError):
                async for message in socket:
                    if not isinstance(message.data, bytes) or not message.data:
                        continue
                    channel, data = message.data[0], message.data[1:]
                    if not named.get(channel, True):
                        named[channel], data = True, data[NUMBER:]
                    if channel == DATA:
                        writer.write(data)
                        await writer.drain()
                    elif channel == ERROR and data:
                        print(f"error: {data.decode(errors='replace')}", file=sys.stderr)

        tasks = {asyncio.create_task(up()), asyncio.create_task(down())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
