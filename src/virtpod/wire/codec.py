"""Frames on the launcher's socket: a 32-bit big-endian length, then that many bytes of JSON.

A length over the limit ends the connection before anything is read: the peer's memory is not
the other side's to spend.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar

import msgspec

from virtpod.wire.messages import Reply, Request

LIMIT = 8 * 1024 * 1024
"""Bytes. The largest message is a VMI (3 MiB at most) or a capability cache (well below 1 MiB)."""

T = TypeVar("T")

requests: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
replies: msgspec.json.Decoder[Reply] = msgspec.json.Decoder(Reply)
_encoder = msgspec.json.Encoder()


class TooLarge(Exception):
    """The peer announced a frame over `LIMIT`."""


def frame(message: object) -> bytes:
    """The bytes to write for `message`."""
    body = _encoder.encode(message)
    if len(body) > LIMIT:
        raise TooLarge(f"a message of {len(body)} bytes is over the limit of {LIMIT}")
    return len(body).to_bytes(4, "big") + body


async def read(stream: asyncio.StreamReader, decoder: msgspec.json.Decoder[T]) -> T | None:
    """The next message, or None where the peer has closed between two messages.

    Raises TooLarge, msgspec.DecodeError, asyncio.IncompleteReadError (closed within a message).
    """
    try:
        head = await stream.readexactly(4)
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            return None
        raise
    length = int.from_bytes(head, "big")
    if length > LIMIT:
        raise TooLarge(f"the peer announced {length} bytes, over the limit of {LIMIT}")
    return decoder.decode(await stream.readexactly(length))
