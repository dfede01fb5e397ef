"""gRPC against grpc's own client and server, and against what speaks something else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import grpc.aio
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, StreamEnded

from virtpod.wire.grpc import LIMIT, CallFailed, Status, call, serving, unknown

WITHIN = 10.0


@pytest.fixture
def path() -> Iterator[str]:
    """A unix socket's path has room for 107 bytes."""
    with TemporaryDirectory(prefix="grpc") as folder:
        yield f"{folder}/socket"


class Service:
    """Echoes; counts without end, each number when the one before is taken."""

    def __init__(self) -> None:
        self.counted = 0
        self.ended = asyncio.Event()
        self.waits = asyncio.Event()

    async def answer(self, method: str, message: bytes) -> bytes | AsyncGenerator[bytes, None]:
        match method:
            case "/a.B/Echo":
                return message
            case "/a.B/Count":
                return self._count(message)
            case "/a.B/Missing":
                raise CallFailed("no such thing: ü 100%", Status.NOT_FOUND)
            case "/a.B/Wrong":
                raise ZeroDivisionError("a bug")
            case "/a.B/Wait":
                try:
                    self.waits.set()
                    await asyncio.Event().wait()
                finally:
                    self.ended.set()
        raise unknown(method)

    async def _count(self, message: bytes) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                self.counted += 1
                yield message
        finally:
            self.ended.set()


@contextlib.asynccontextmanager
async def channel(path: str, **options: int) -> AsyncIterator[grpc.aio.Channel]:
    named = [(f"grpc.{name}", value) for name, value in options.items()]
    async with grpc.aio.insecure_channel(f"unix:{path}", options=named) as found:
        yield found


async def fails(doing: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await doing()  # type: ignore[misc]
    return caught.value.code(), caught.value.details() or ""


@pytest.mark.parametrize("size", [0, 1, 65535, 1_000_000, LIMIT])
async def test_messages_of_any_size_go_there_and_back(path: str, size: int) -> None:
    message = bytes(size)
    async with serving(path, Service().answer), channel(path) as theirs:
        assert await theirs.unary_unary("/a.B/Echo")(message, timeout=WITHIN) == message
        assert await call(path, "/a.B/Echo", message, WITHIN) == message


async def test_many_calls_go_by_one_connection_and_leave_nothing(path: str) -> None:
    async with serving(path, Service().answer), channel(path) as theirs:
        echo = theirs.unary_unary("/a.B/Echo")
        for _ in range(20):
            calls = [echo(bytes([n]) * 10_000, timeout=WITHIN) for n in range(50)]
            assert [(await each)[:1] for each in calls] == [bytes([n]) for n in range(50)]


async def test_errors_have_a_code_and_a_text(path: str) -> None:
    async with serving(path, Service().answer), channel(path) as theirs:
        for method, code, said in (
            ("Missing", grpc.StatusCode.NOT_FOUND, "no such thing: ü 100%"),
            ("Wrong", grpc.StatusCode.UNKNOWN, "ZeroDivisionError: a bug"),
            ("Other", grpc.StatusCode.UNIMPLEMENTED, "unknown method /a.B/Other"),
        ):
            ask = theirs.unary_unary(f"/a.B/{method}")
            assert await fails(lambda ask=ask: ask(b"", timeout=WITHIN)) == (code, said)
            with pytest.raises(CallFailed) as caught:
                await call(path, f"/a.B/{method}", b"", WITHIN)
            assert str(caught.value) == f"{said} (status {code.value[0]})"


async def test_too_large_a_question_is_refused_and_the_next_is_not(path: str) -> None:
    async with serving(path, Service().answer), channel(path) as theirs:
        echo = theirs.unary_unary("/a.B/Echo")
        for _ in range(3):
            code, said = await fails(lambda: echo(bytes(2 * LIMIT), timeout=WITHIN))
            assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert said == f"a message is larger than {LIMIT} bytes"
            assert await echo(b"x", timeout=WITHIN) == b"x"


async def test_compressed_questions_are_refused(path: str) -> None:
    async with serving(path, Service().answer), channel(path) as theirs:
        echo = theirs.unary_unary("/a.B/Echo")
        zipped = grpc.Compression.Gzip
        code, said = await fails(lambda: echo(bytes(9999), compression=zipped, timeout=WITHIN))
        assert (code, said) == (
            grpc.StatusCode.INTERNAL,
            "what came is not one uncompressed message",
        )


async def test_who_does_not_read_is_not_told_more_and_stops_it(path: str) -> None:
    service = Service()
    fixed = {"http2.bdp_probe": 0}  # else the caller's window grows with how fast it is filled
    async with serving(path, service.answer), channel(path, **fixed) as theirs:
        stream = theirs.unary_stream("/a.B/Count")(b"x" * 100_000, timeout=WITHIN)
        for _ in range(3):
            assert len(await stream.read()) == 100_000
        echo = theirs.unary_unary("/a.B/Echo")
        for _ in range(20):
            assert await echo(b"beside it", timeout=WITHIN) == b"beside it"
        assert 3 <= service.counted < 200
        stream.cancel()
        await asyncio.wait_for(service.ended.wait(), WITHIN)
        assert await echo(b"after it", timeout=WITHIN) == b"after it"


async def test_a_deadline_ends_what_is_done_for_the_caller(path: str) -> None:
    service = Service()
    async with serving(path, service.answer), channel(path) as theirs:
        code, _ = await fails(lambda: theirs.unary_unary("/a.B/Wait")(b"", timeout=0.2))
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(service.ended.wait(), WITHIN)


async def test_who_goes_without_a_word_is_noticed(path: str) -> None:
    service = Service()
    async with serving(path, service.answer):
        with pytest.raises(CallFailed, match=r"no answer within 0\.2 s"):
            await call(path, "/a.B/Wait", b"", 0.2)
        await asyncio.wait_for(service.ended.wait(), WITHIN)


async def test_the_end_of_a_server_ends_its_calls_and_its_socket(path: str) -> None:
    service = Service()
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, told: reported.append(told))
    async with channel(path) as theirs:
        async with serving(path, service.answer):
            waiting = theirs.unary_unary("/a.B/Wait")(b"", timeout=WITHIN)
            await asyncio.wait_for(service.waits.wait(), WITHIN)
        assert service.ended.is_set()
        assert not Path(path).exists()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await waiting
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert not reported


async def test_a_successors_socket_stays(path: str) -> None:
    async with serving(path, Service().answer):
        Path(path).rename(f"{path}.old")
        Path(path).touch()
    assert Path(path).exists()


async def test_pings_are_answered(path: str) -> None:
    """A caller that hears nothing for 100 ms after a ping gives the connection up."""
    service = Service()
    options = {"keepalive_time_ms": 200, "keepalive_timeout_ms": 100}
    async with serving(path, service.answer), channel(path, **options) as theirs:
        waiting = theirs.unary_unary("/a.B/Wait")(b"", timeout=2.0)
        code, _ = await fails(lambda: waiting)
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize(
    "rude", [b"HTTP/1.1 400 no\r\n\r\n", b"", b"\0\0\0\4\0\0\0\0\0", b"\xff" * 100]
)
async def test_who_does_not_speak_http2_does_not_hang_the_call(path: str, rude: bytes) -> None:
    async def speaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(rude)
        writer.close()

    async with await asyncio.start_unix_server(speaks, path):
        with pytest.raises(CallFailed):
            await call(path, "/a.B/C", b"", WITHIN)


@pytest.mark.parametrize("size", [10, 2 * LIMIT])
async def test_a_call_taken_back_at_once_leaves_the_connection_to_others(
    path: str, size: int
) -> None:
    """Question and reset in one piece; a kubelet has one connection for all that it asks."""
    service = Service()
    asked = [(":method", "POST"), (":scheme", "http"), (":path", "/a.B/Echo")]
    asked += [(":authority", "localhost"), ("te", "trailers"), ("content-type", "application/grpc")]
    async with serving(path, service.answer):
        reader, writer = await asyncio.open_unix_connection(path)
        h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        h2.initiate_connection()
        body = b"\0" + size.to_bytes(4, "big") + bytes(size)
        part = body[: h2.max_outbound_frame_size]
        for number in (1, 3, 5):
            h2.send_headers(number, asked)
            h2.send_data(number, part, end_stream=part == body)
            h2.reset_stream(number, 8)
        h2.send_headers(7, asked)
        h2.send_data(7, b"\0\0\0\0\1x", end_stream=True)
        writer.write(h2.data_to_send())
        said: list[object] = []
        async with asyncio.timeout(WITHIN):
            while not any(isinstance(event, StreamEnded) for event in said):
                data = await reader.read(65536)
                assert data, "the connection is closed"
                said += h2.receive_data(data)
        [answer] = [event.data for event in said if isinstance(event, DataReceived)]
        assert answer == b"\0\0\0\0\1x"
        writer.close()


@pytest.mark.parametrize("rude", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"])
async def test_who_does_not_speak_http2_does_not_hurt_the_server(path: str, rude: bytes) -> None:
    async with serving(path, Service().answer):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(rude)
        writer.write_eof()
        await asyncio.wait_for(reader.read(), WITHIN)
        writer.close()
        assert await call(path, "/a.B/Echo", b"x", WITHIN) == b"x"


async def test_too_large_an_answer_is_refused(path: str) -> None:
    async def answer(method: str, message: bytes) -> bytes:
        return bytes(LIMIT + 1)

    async with serving(path, answer):
        with pytest.raises(CallFailed, match="larger than"):
            await call(path, "/a.B/C", b"", WITHIN)


async def test_nobody_there_is_said(path: str) -> None:
    with pytest.raises(CallFailed, match="No such file"):
        await call(path, "/a.B/C", b"", WITHIN)
