"""Metrics of the node and of a guest for the guest itself, as vhostmd's readers know them.

A document of XML, and a disk that holds it: a header of four big-endian words (signature, whether
it is being written, sum of the document's bytes, its length), then the document.
https://github.com/vhostmd/vhostmd
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from virtpod.domain.xml import E, text

SIGNATURE = 0x6D766264
"""The letters mvbd."""
HEADER = struct.Struct(">4I")
DISK_SIZE = 256 * 1024
REQUEST = b"GET /metrics/XML"
"""What a reader writes into the channel, and an empty line."""
END = b"\n\n"
"""The end of a request and of an answer."""
WRONG = b"INVALID REQUEST" + END


@dataclass(frozen=True)
class Metric:
    name: str
    value: str
    kind: str
    """string, uint64, int64 or real64."""
    context: str
    """host or vm."""
    unit: str = ""


def document(metrics: Iterable[Metric]) -> bytes:
    """The metrics as XML."""
    drawn = (
        E(
            "metric",
            E("name", each.name),
            E("value", each.value),
            type=each.kind,
            context=each.context,
            unit=each.unit or None,
        )
        for each in metrics
    )
    return text(E("metrics", *drawn)).encode()


def disk(content: bytes) -> bytes:
    """The whole disk, complete."""
    if len(content) > DISK_SIZE - HEADER.size:
        raise ValueError(f"{len(content)} bytes of metrics do not fit on their disk")
    return (header(content, busy=False) + content).ljust(DISK_SIZE, b"\0")


def header(content: bytes, *, busy: bool) -> bytes:
    """What the disk begins with."""
    return HEADER.pack(SIGNATURE, int(busy), sum(content) & 0xFFFFFFFF, len(content))
