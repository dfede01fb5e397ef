"""This process' standard streams as those of a pod's main process, as `kubectl attach` does it.

The first byte of each message says which stream it belongs to. v5.channel.k8s.io can also say that
one ends; with v4 only the whole connection can.

Source: k8s.io/apimachinery, pkg/util/remotecommand: the protocols' constants.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from virtpod.cli._exec import PROTOCOL, STATUS, STDERR, STDOUT
from virtpod.cli.session import Failure
from virtpod.cli.terminal import Input, raw, write
from virtpod.kube.resources import PODS, Key

if TYPE_CHECKING:
    from aiohttp import ClientWebSocketResponse

    from virtpod.kube.client import Client

ENDING = "v5.channel.k8s.io"
STDIN, RESIZE, CLOSE = b"\x00", b"\x04", b"\xff"


async def attach(client: Client, pod: Key, container: str, *, terminal: bool) -> None:
    """Until the process ends; `terminal` says whether the pod has one. Raises Failure, ApiError."""
    from yarl import URL

    query = {"container": container, "stdin": "true", "stdout": "true"}
    # A terminal has one output.
    query |= {"tty": "true"} if terminal else {"stderr": "true"}
    path = str(URL(PODS.path(*pod, "attach")).with_query(query))
    headers = {"Accept": "*/*"}
    async with client.websocket(path, (ENDING, PROTOCOL), headers=headers) as socket:
        with raw(sys.stdin.fileno()) if terminal else contextlib.nullcontext():
            typing = asyncio.create_task(_type(socket))
            sizing = asyncio.create_task(_follow_size(socket) if terminal else asyncio.sleep(0))
            try:
                status = await _show(socket)
            finally:
                typing.cancel()
                sizing.cancel()
    if status.get("status") == "Failure":
        raise Failure(str(status.get("message") or "the connection to the pod broke off"))


async def _show(socket: ClientWebSocketResponse) -> dict[str, Any]:
    """What the process writes, until it ends: then the API server's Status."""
    status = b""
    async for message in socket:
        if not isinstance(message.data, bytes) or not message.data:
            continue
        stream, data = message.data[0], message.data[1:]
        if stream == STDOUT:
            await write(data)
        elif stream == STDERR:
            await write(data, sys.stderr.fileno())
        elif stream == STATUS:
            status += data
    try:
        found: dict[str, Any] = json.loads(status or b"{}")
    except ValueError:
        return {}
    return found


async def _type(socket: ClientWebSocketResponse) -> None:
    keys = Input(sys.stdin.fileno())
    with contextlib.suppress(OSError):
        while (data := await keys.next()) is not None:
            await socket.send_bytes(STDIN + data)
        if socket.protocol == ENDING:
            await socket.send_bytes(CLOSE + STDIN)
        else:
            await socket.close()


async def _follow_size(socket: ClientWebSocketResponse) -> None:
    """Tells how large the terminal is, now and whenever that changes."""
    changed = asyncio.Event()
    changed.set()
    asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, changed.set)
    with contextlib.suppress(OSError):
        while await changed.wait():
            changed.clear()
            columns, lines = os.get_terminal_size(sys.stdin.fileno())
            size = json.dumps({"Width": columns, "Height": lines})
            await socket.send_bytes(RESIZE + size.encode())
