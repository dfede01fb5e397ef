"""A log that a guest writes and that somebody follows: it does not fill the node's disk.

QEMU appends, so what it writes after the file was cut begins at its new end.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

from virtpod.launcher.log import log

EVERY = 1.0
LARGEST = 4 * 2**20
"""Bytes that may lie there: enough for who follows the log to keep up."""


async def trim(path: str) -> None:
    """Until cancelled."""
    while True:
        await asyncio.sleep(EVERY)
        with suppress(FileNotFoundError):
            handle = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if (size := os.fstat(handle).st_size) > LARGEST:
                    log("the serial port's log is cut", bytes=size)
                    os.ftruncate(handle, 0)
            finally:
                os.close(handle)
