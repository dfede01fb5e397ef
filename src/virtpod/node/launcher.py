"""A conversation with one virt-launcher: requests with deadlines, events as they come.

Everything read is bounded and typed (`wire.codec`); a launcher that speaks nonsense loses its
connection, not its guest.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from virtpod.node.peer import Peer
from virtpod.wire import codec
from virtpod.wire.messages import (
    AgentTold,
    Answer,
    DomainChanged,
    Done,
    Executed,
    Failed,
    Hello,
    Measured,
    Pictured,
    Request,
    Stopping,
    Welcome,
)

WRITE_WITHIN = 10.0
"""Seconds for a launcher to take what it is sent."""
LAST_WORDS_WITHIN = 2.0
"""Seconds to read what a launcher wrote before it ended."""


class RequestFailed(Exception):
    """The launcher could not do it; `reason` and `message` are for users."""

    def __init__(self, reason: str, message: str, final: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.final = final


class ConnectionLost(Exception):
    """The conversation ended before an answer came. It says nothing about the guest."""


@dataclass
class Launcher:
    """One connection; `run` it in a task."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    peer: Peer
    on_event: Callable[[DomainChanged | Stopping], None]

    def __post_init__(self) -> None:
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._closed = False
        self.welcome: Welcome | None = None

    @staticmethod
    async def over(
        connection: socket.socket, peer: Peer, on_event: Callable[[DomainChanged | Stopping], None]
    ) -> Launcher:
        """Takes the connected socket and the peer over: `run` closes both."""
        reader, writer = await asyncio.open_unix_connection(sock=connection)
        return Launcher(reader, writer, peer, on_event)

    async def hello(self, message: Hello) -> None:
        """Opens the conversation; the launcher's `welcome` comes when it comes."""
        await self._send(message)

    async def request(self, make: Callable[[int], Request], within: float) -> Answer:
        """Sends `make(id)` and waits for its `Done`, or what else answers it.

        Raises RequestFailed, ConnectionLost, TimeoutError (after which it may still happen).
        """
        if self._closed:
            raise ConnectionLost("the launcher is not connected")
        number = next(self._ids)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            async with asyncio.timeout(within):
                await self._send(make(number))
                return await answer
        finally:
            self._waiting.pop(number, None)

    async def run(self) -> None:
        """Reads until the launcher closes. Raises what reading raises; closes in any case."""
        try:
            while (message := await codec.read(self.reader, codec.replies)) is not None:
                match message:
                    case Welcome():
                        self.welcome = message
                    case Failed() as failed:
                        error = RequestFailed(failed.reason, failed.message, failed.final)
                        self._answer(failed, error)
                    case Done() | AgentTold() | Executed() | Pictured() | Measured():
                        self._answer(message, None)
                    case DomainChanged() | Stopping():
                        self.on_event(message)
        finally:
            self.close()

    def last_words(self) -> None:
        """The launcher's process is gone: what it wrote is read, then the conversation ends, even
        if somebody else still holds the other end."""
        asyncio.get_running_loop().call_later(LAST_WORDS_WITHIN, self.writer.close)

    def close(self) -> None:
        """Ends the conversation; requests under way fail with ConnectionLost."""
        self._closed = True
        lost = ConnectionLost("the launcher's connection ended")
        waiting: asyncio.Future[Any]
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(lost)
        self.writer.close()

    def _answer(self, answer: Answer, error: Exception | None) -> None:
        waiting = self._waiting.get(answer.id)
        if waiting is None or waiting.done():
            return  # its deadline has passed
        if error is None:
            waiting.set_result(answer)
        else:
            waiting.set_exception(error)

    async def _send(self, message: Request) -> None:
        self.writer.write(codec.frame(message))
        try:
            async with asyncio.timeout(WRITE_WITHIN):
                await self.writer.drain()
        except ConnectionError as error:
            raise ConnectionLost("the launcher has closed the connection") from error


# What a broken conversation raises out of `run`, apart from OSError.
BROKEN = (codec.TooLarge, msgspec.MsgspecError, asyncio.IncompleteReadError, ConnectionLost)
