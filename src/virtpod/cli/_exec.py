"""A command in a pod, as `kubectl exec` does it: what it printed, bounded.

The first byte of each message says which stream it belongs to (v4.channel.k8s.io); the last
message, of stream 3, is a Status.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from virtpod.kube.resources import PODS, Key

if TYPE_CHECKING:
    from virtpod.kube.client import Client

PROTOCOL = "v4.channel.k8s.io"
STDOUT, STDERR, STATUS = 1, 2, 3


class Failed(Exception):
    """The command ended with an error, printed too much, or took too long."""


async def output(
    client: Client,
    pod: Key,
    container: str,
    command: tuple[str, ...],
    *,
    most: int,
    within: float = 30.0,
) -> bytes:
    """What it printed. Raises Failed, ApiError."""
    import msgspec
    from yarl import URL

    query = [("container", container), ("stdout", "true"), ("stderr", "true")]
    query += [("command", word) for word in command]
    path = str(URL(PODS.path(*pod, "exec")).with_query(query))
    streams = {STDOUT: bytearray(), STDERR: bytearray(), STATUS: bytearray()}
    try:
        async with (
            asyncio.timeout(within),
            client.websocket(path, (PROTOCOL,), headers={"Accept": "*/*"}) as socket,
        ):
            async for message in socket:
                if isinstance(message.data, bytes) and message.data[:1]:
                    into = streams.setdefault(message.data[0], bytearray())
                    into += message.data[1:]
                    if len(into) > most:
                        raise Failed(f"it printed more than {most} bytes")
    except TimeoutError as error:
        raise Failed(f"it did not end within {within:g} s") from error
    try:
        status = msgspec.json.decode(bytes(streams[STATUS]))
    except msgspec.DecodeError:
        status = {"message": "the connection broke off"}
    if status.get("status") != "Success":
        said = bytes(streams[STDERR]).decode(errors="replace").strip()[-500:]
        raise Failed(f"{status.get('message', '')} {said}".strip())
    return bytes(streams[STDOUT])
