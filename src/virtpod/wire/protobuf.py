"""Protocol buffers by hand, for messages of texts and numbers only.

The launcher speaks gRPC with hook side-cars, seldom and little: the libraries for it would cost
each launcher more memory than the rest of it has.
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterable

Value = int | str | bytes

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


class Malformed(ValueError):
    """The bytes are no message."""


def encode(fields: Iterable[tuple[int, Value]]) -> bytes:
    """A message: numbers of fields and their values. Empty ones are left out, as in proto3."""
    message = bytearray()
    for number, value in fields:
        if isinstance(value, int):
            if value:
                message += _varint(number << 3 | VARINT) + _varint(value & (1 << 64) - 1)
        elif value:
            content = value.encode() if isinstance(value, str) else value
            message += _varint(number << 3 | LENGTH) + _varint(len(content)) + content
    return bytes(message)


def decode(message: bytes) -> dict[int, list[int | bytes]]:
    """The values of each field, in their order. Raises Malformed."""
    found: dict[int, list[int | bytes]] = {}
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        value: int | bytes
        match key & 7:
            case kind if kind == VARINT:
                value, at = _read_varint(message, at)
            case kind if kind == LENGTH:
                size, at = _read_varint(message, at)
                value, at = message[at : at + size], at + size
            case kind if kind in (FIXED32, FIXED64):
                size = 4 if kind == FIXED32 else 8
                value, at = message[at : at + size], at + size
            case kind:
                raise Malformed(f"wire type {kind} is not known")
        if at > len(message):
            raise Malformed("the message is cut off")
        found.setdefault(key >> 3, []).append(value)
    return found


def texts(message: dict[int, list[int | bytes]], number: int) -> list[bytes]:
    """The values of a field of texts, bytes or messages."""
    return [value for value in message.get(number, ()) if isinstance(value, bytes)]


def text(message: dict[int, list[int | bytes]], number: int) -> bytes:
    """The same of a field that is there once: the last counts."""
    return next(reversed(texts(message, number)), b"")


def number(message: dict[int, list[int | bytes]], field: int) -> int:
    """A field of type int32."""
    value = next((v for v in reversed(message.get(field, ())) if isinstance(v, int)), 0)
    low = value & (1 << 32) - 1
    return low - (1 << 32) if low >> 31 else low


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise Malformed("the message is cut off")
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (1 << 64) - 1, at
    raise Malformed("a number is too long")
