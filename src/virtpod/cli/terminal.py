"""The user's end of a stream: standard input and output, whatever they are.

A terminal, a pipe, a file and /dev/null all read the same through a thread; epoll would refuse
half of them. The thread hands over one piece at a time, so a slow server slows the reader.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Iterator

PIECE = 64 * 1024


class Input:
    """Standard input as a queue of pieces; None at its end."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        # A daemon: nothing can interrupt a read of a terminal, and nobody waits for it.
        threading.Thread(target=self._read, daemon=True).start()

    async def next(self) -> bytes | None:
        """The next piece; None at the end, again and again."""
        piece = await self._pieces.get()
        if piece is None:
            self._pieces.put_nowait(None)
        return piece

    def _read(self) -> None:
        piece: bytes | None = b""
        while piece is not None:
            try:
                piece = os.read(self._handle, PIECE) or None
            except OSError:
                piece = None
            handed_over = asyncio.run_coroutine_threadsafe(self._pieces.put(piece), self._loop)
            try:
                handed_over.result()
            except Exception:  # the loop is closed: the command has ended
                return


async def write(data: bytes, handle: int | None = None) -> None:
    """To standard output or another handle, all of it, without blocking the loop."""
    await asyncio.to_thread(_write, sys.stdout.fileno() if handle is None else handle, data)


def _write(handle: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


@contextlib.contextmanager
def raw(handle: int) -> Iterator[None]:
    """Each key at once and uninterpreted, while this lasts; nothing where it is no terminal."""
    if not os.isatty(handle):
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(handle)
    try:
        # Not TCSAFLUSH, which would throw away what is typed already.
        tty.setraw(handle, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)
