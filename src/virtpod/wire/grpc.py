"""gRPC over unix sockets and what else carries a stream: calls with one message each way, and
answers of many messages.

By h2: grpcio would be 12 MiB more in virt-handler and 18 in a launcher, which imports this only
where a machine has hook side-cars. grpclib leaves calls open when its server ends, and has no bound
for messages.
https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import IntEnum
from urllib.parse import quote, unquote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import H2Error

log = logging.getLogger(__name__)

LIMIT = 4 * 1024 * 1024
"""Bytes of a message that comes: gRPC's own default."""
CHUNK = 65536


class Status(IntEnum):
    """Those that we give. https://grpc.io/docs/guides/status-codes/"""

    OK = 0
    UNKNOWN = 2
    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13


class CallFailed(Exception):
    """The other end did not answer, or with an error; or the error to answer with. The text is for
    users."""

    def __init__(self, said: str, status: Status = Status.UNKNOWN) -> None:
        super().__init__(said)
        self.status = status


async def call(path: str, method: str, message: bytes, within: float) -> bytes:
    """Calls `method` ("/package.Service/Method") at a socket. Raises CallFailed."""
    try:
        async with asyncio.timeout(within):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                return await _Call(reader, writer).run(method, message, within)
            finally:
                writer.close()
    except TimeoutError:
        raise CallFailed(f"no answer within {within:g} s") from None
    except (OSError, H2Error) as error:
        raise CallFailed(str(error) or type(error).__name__) from error


@dataclass
class _Stream:
    """One call, as far as it has come."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    unsent: bytearray = field(default_factory=bytearray)
    sent: asyncio.Event = field(default_factory=asyncio.Event)
    """Nothing is unsent any more."""
    last: bool = False
    """Nothing of ours follows what is unsent."""
    trailers: list[tuple[str, str]] | None = None
    """To follow what is unsent, by a server."""
    ended: bool = False
    answering: asyncio.Task[None] | None = None


class _Talk:
    """What both ends do: bytes to events, and out again as flow control lets them."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        client: bool,
        limit: int = LIMIT,
    ) -> None:
        self.reader, self.writer = reader, writer
        self.h2 = H2Connection(H2Configuration(client_side=client, header_encoding="utf-8"))
        self.streams: dict[int, _Stream] = {}
        self._limit = limit

    async def events(self) -> list[Event]:
        """The next. What is to be sent goes out before."""
        self.push()
        await self.writer.drain()
        data = await self.reader.read(CHUNK)
        return self.h2.receive_data(data) if data else []

    def push(self) -> None:
        """Sends what the other end has room for; when it makes room, `events` does so again."""
        for number, stream in list(self.streams.items()):
            self._send(number, stream)
        self.writer.write(self.h2.data_to_send())

    def _send(self, number: int, stream: _Stream) -> None:
        while stream.unsent:
            room = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size)
            if room <= 0:
                return
            part = bytes(stream.unsent[:room])
            del stream.unsent[:room]
            self.h2.send_data(number, part, end_stream=stream.last and not stream.unsent)
        stream.sent.set()
        if stream.trailers is not None:
            self.h2.send_headers(number, stream.trailers, end_stream=True)
            del self.streams[number]

    def take(self, event: DataReceived) -> None:
        """Keeps what came, and lets more come. Raises CallFailed where it is too much."""
        assert event.stream_id is not None
        assert event.data is not None
        if event.flow_controlled_length:
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if stream := self.streams.get(event.stream_id):
            stream.body += event.data
            if len(stream.body) > self._limit + PREFIX:
                raise CallFailed(
                    f"a message is larger than {self._limit} bytes", Status.RESOURCE_EXHAUSTED
                )


class _Call(_Talk):
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer, client=True)

    async def run(self, method: str, message: bytes, within: float) -> bytes:
        self.h2.initiate_connection()
        number = self.h2.get_next_available_stream_id()
        self.h2.send_headers(
            number,
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", method),
                (":authority", "localhost"),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
                ("grpc-timeout", f"{int(within * 1000)}m"),
            ],
        )
        stream = self.streams[number] = _Stream(unsent=_framed(message), last=True)
        while not stream.ended:
            events = await self.events()
            if not events and self.reader.at_eof():
                raise CallFailed("the connection ended before the answer")
            for event in events:
                self._heed(event, stream)
        status = stream.headers.get("grpc-status", "")
        if status != "0":
            said = unquote(stream.headers.get("grpc-message", "")) or "no message"
            raise CallFailed(f"{said} (status {status or stream.headers.get(':status')})")
        return _unframed(stream.body)

    def _heed(self, event: Event, stream: _Stream) -> None:
        match event:
            case ResponseReceived(headers=headers) | TrailersReceived(headers=headers):
                stream.headers |= {str(k): str(v) for k, v in headers or ()}
            case DataReceived():
                self.take(event)
            case StreamEnded():
                stream.ended = True
            case StreamReset(error_code=code) | ConnectionTerminated(error_code=code):
                if not stream.ended:
                    raise CallFailed(f"the call was broken off (HTTP/2 error {code})")


Answer = Callable[[str, bytes], Awaitable[bytes | AsyncGenerator[bytes, None]]]
"""Answers a method's message, with a message or with a stream of them: that is closed when the
caller has enough. Raises CallFailed."""


def unknown(method: str) -> CallFailed:
    """To raise for a method that there is not."""
    return CallFailed(f"unknown method {method}", Status.UNIMPLEMENTED)


@asynccontextmanager
async def serving(path: str, answer: Answer) -> AsyncIterator[None]:
    """A server at a socket, which is there as long. Raises OSError. At the end it breaks off what
    calls there are, and its callers notice."""
    guests: set[asyncio.Task[None] | None] = set()
    over = False

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if over:
            writer.close()
            return
        guests.add(task := asyncio.current_task())
        try:
            await converse(reader, writer, answer)
        except asyncio.CancelledError:
            if not over:  # the end is ours: asyncio's streams would report it as an error
                raise
        finally:
            guests.discard(task)

    server = await asyncio.start_unix_server(conversation, path)
    own = os.stat(path).st_ino
    try:
        yield
    finally:
        over = True
        server.close()
        with suppress(FileNotFoundError):
            if os.stat(path).st_ino == own:  # and not a successor's
                os.unlink(path)
        going = [task for task in guests if task]
        for task in going:
            task.cancel()
        await asyncio.gather(*going, return_exceptions=True)


async def converse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer, limit: int = LIMIT
) -> None:
    """A server's end of a connection, until the caller closes it. Messages of more than `limit`
    bytes are refused."""
    talk = _Answers(reader, writer, answer, limit)
    try:
        await talk.run()
    except* (OSError, H2Error):
        pass  # the other end went, or spoke something else
    finally:
        talk.leave()


class _Answers(_Talk):
    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answer: Answer,
        limit: int,
    ) -> None:
        super().__init__(reader, writer, client=False, limit=limit)
        self._answer = answer

    async def run(self) -> None:
        self.h2.initiate_connection()
        async with asyncio.TaskGroup() as tasks:
            while True:
                events = await self.events()
                if not events and self.reader.at_eof():
                    break
                for event in events:
                    self._heed(event, tasks)
            for stream in self.streams.values():
                if stream.answering:
                    stream.answering.cancel()

    def leave(self) -> None:
        with suppress(H2Error):
            self.h2.close_connection()
            self.writer.write(self.h2.data_to_send())
        self.writer.close()

    def _heed(self, event: Event, tasks: asyncio.TaskGroup) -> None:
        """Sends nothing: a later event, which h2 knows of already, may be the call's end. Tasks
        begin when all are heeded."""
        match event:
            case RequestReceived(stream_id=int(number), headers=headers):
                self.streams[number] = _Stream({str(k): str(v) for k, v in headers or ()})
            case DataReceived(stream_id=int(number)):
                try:
                    self.take(event)
                except CallFailed as error:
                    large = self.streams[number]
                    if large.answering is None:
                        large.answering = tasks.create_task(self._refuse(number, error))
            case StreamEnded(stream_id=int(number)) if stream := self.streams.get(number):
                stream.ended = True
                if stream.answering is None:
                    stream.answering = tasks.create_task(self._reply(number, stream))
            case StreamReset(stream_id=int(number)):
                gone = self.streams.pop(number, None)
                if gone and gone.answering:
                    gone.answering.cancel()

    async def _refuse(self, number: int, error: CallFailed) -> None:
        """Without waiting for the rest of what is asked."""
        stream = self.streams.pop(number)
        trailers = _trailers(error.status, str(error))
        self.h2.send_headers(number, [*HEADERS, *trailers], end_stream=True)
        if not stream.ended:
            self.h2.reset_stream(number, ErrorCodes.NO_ERROR)
        self.push()

    async def _reply(self, number: int, stream: _Stream) -> None:
        self.h2.send_headers(number, HEADERS)
        status, said, method = Status.OK, "", stream.headers.get(":path", "")
        try:
            answer = await self._answer(method, _unframed(stream.body))
            stream.body.clear()
            if isinstance(answer, bytes):
                await self._say(stream, answer)
            else:
                async with aclosing(answer):
                    async for message in answer:
                        await self._say(stream, message)
        except H2Error:
            raise
        except CallFailed as error:
            status, said = error.status, str(error)
        except Exception as error:
            log.exception("a call cannot be answered", extra={"method": method})
            said = f"{type(error).__name__}: {error}"
            status = Status.UNKNOWN
        stream.trailers = _trailers(status, said)
        self.push()

    async def _say(self, stream: _Stream, message: bytes) -> None:
        """Returns when it is on its way: who does not read is not told more."""
        stream.unsent += _framed(message)
        stream.sent.clear()
        self.push()
        await stream.sent.wait()


PREFIX = 5
HEADERS = [(":status", "200"), ("content-type", "application/grpc")]


def _trailers(status: Status, said: str) -> list[tuple[str, str]]:
    return [("grpc-status", str(int(status))), ("grpc-message", quote(said, safe=" "))]


def _framed(message: bytes) -> bytearray:
    """gRPC's prefix: not compressed, and the length."""
    return bytearray(b"\0" + len(message).to_bytes(4, "big") + message)


def _unframed(body: bytes | bytearray) -> bytes:
    if len(body) < PREFIX or body[0] or int.from_bytes(body[1:PREFIX], "big") != len(body) - PREFIX:
        raise CallFailed("what came is not one uncompressed message", Status.INTERNAL)
    return bytes(body[PREFIX:])
