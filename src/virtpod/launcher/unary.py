"""gRPC's unary calls over a unix socket, both ends of them.

By h2: its 2.5 MiB and 0.5 MB of files are an eighth and a thirtieth of what grpcio takes. It is
imported only where a machine has hook side-cars.
https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from h2.config import H2Configuration
from h2.connection import H2Connection
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

LIMIT = 4 * 1024 * 1024
"""Bytes of a message: gRPC's own default."""
CHUNK = 65536
OK, UNKNOWN, UNIMPLEMENTED = 0, 2, 12


class CallFailed(Exception):
    """The other end did not answer, or with an error; the text is for users."""


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
    unsent: bytes = b""
    trailers: list[tuple[str, str]] | None = None
    """To follow what is unsent, by a server."""
    ended: bool = False


class _Talk:
    """What both ends do: bytes to events, and out again as flow control lets them."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, client: bool
    ) -> None:
        self.reader, self.writer = reader, writer
        self.h2 = H2Connection(H2Configuration(client_side=client, header_encoding="utf-8"))
        self.streams: dict[int, _Stream] = {}

    async def events(self) -> list[Event]:
        """The next; none: the other end has closed. What is to be sent goes out before."""
        for number, stream in self.streams.items():
            self._send(number, stream)
        self.writer.write(self.h2.data_to_send())
        await self.writer.drain()
        data = await self.reader.read(CHUNK)
        return self.h2.receive_data(data) if data else []

    def _send(self, number: int, stream: _Stream) -> None:
        while stream.unsent:
            room = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size)
            if room <= 0:
                return
            part, stream.unsent = stream.unsent[:room], stream.unsent[room:]
            last = not stream.unsent and stream.trailers is None
            self.h2.send_data(number, part, end_stream=last)
        if stream.trailers is not None:
            self.h2.send_headers(number, stream.trailers, end_stream=True)
            stream.trailers = None

    def take(self, event: DataReceived) -> None:
        """Keeps what came, and lets more come."""
        assert event.stream_id is not None
        assert event.data is not None
        stream = self.streams[event.stream_id]
        stream.body += event.data
        if len(stream.body) > LIMIT + 5:
            raise CallFailed(f"a message is larger than {LIMIT} bytes")
        if event.flow_controlled_length:
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)


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
        stream = self.streams[number] = _Stream(unsent=_framed(message))
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
                raise CallFailed(f"the call was broken off (HTTP/2 error {code})")


Answer = Callable[[str, bytes], Awaitable[bytes]]
"""Answers a method's message; raises CallFailed for an error, KeyError for a method unknown."""


async def serve(path: str, answer: Answer) -> asyncio.Server:
    """A server at a socket that appears when it listens."""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _Answers(reader, writer, answer).run()
        except (OSError, H2Error, CallFailed):
            pass  # the other end went, or spoke something else
        finally:
            writer.close()

    return await asyncio.start_unix_server(conversation, path)


class _Answers(_Talk):
    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer
    ) -> None:
        super().__init__(reader, writer, client=False)
        self._answer = answer

    async def run(self) -> None:
        self.h2.initiate_connection()
        while True:
            events = await self.events()
            if not events and self.reader.at_eof():
                return
            for event in events:
                await self._heed(event)

    async def _heed(self, event: Event) -> None:
        match event:
            case RequestReceived(stream_id=int(number), headers=headers):
                self.streams[number] = _Stream({str(k): str(v) for k, v in headers or ()})
            case DataReceived(stream_id=number) if number in self.streams:
                self.take(event)
            case StreamEnded(stream_id=int(number)) if number in self.streams:
                await self._reply(number, self.streams[number])
            case StreamReset(stream_id=int(number)):
                self.streams.pop(number, None)

    async def _reply(self, number: int, stream: _Stream) -> None:
        status, said = OK, ""
        try:
            body = _framed(await self._answer(stream.headers[":path"], _unframed(stream.body)))
        except KeyError:
            status, said, body = UNIMPLEMENTED, "unknown method", b""
        except CallFailed as error:
            status, said, body = UNKNOWN, str(error), b""
        self.h2.send_headers(number, [(":status", "200"), ("content-type", "application/grpc")])
        stream.unsent = body
        stream.trailers = [("grpc-status", str(status)), ("grpc-message", quote(said, safe=" "))]


def _framed(message: bytes) -> bytes:
    """gRPC's prefix: not compressed, and the length."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def _unframed(body: bytes | bytearray) -> bytes:
    if len(body) < 5 or body[0] or int.from_bytes(body[1:5], "big") != len(body) - 5:
        raise CallFailed("what came is not one uncompressed message")
    return bytes(body[5:])
