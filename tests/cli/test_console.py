"""virtctl console with pipes, on a terminal, and where there is nothing to connect to."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import termios

from tests.cli.server import Server, spawn

CONNECTED = "Successfully connected to demo console. Press Ctrl+] or Ctrl+5 to exit console.\n"
LIMIT = 20.0


async def test_pipes_drive_it_and_the_escape_byte_ends_it(server: Server) -> None:
    server.greeting = b"login: "
    process = await spawn(server, "console", "demo")
    assert process.stdin is not None
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT):
        assert await process.stdout.readexactly(7) == b"login: "
        process.stdin.write(b"root\n")
        assert await process.stdout.readexactly(7) == b"<root\n>"
        process.stdin.write(b"exit\n\x1dnever sent")
        # What the guest still says to that may or may not be seen.
        assert await process.stdout.read() in (b"", b"<exit\n>")
        assert await process.wait() == 0
    assert process.stderr is not None
    assert (await process.stderr.read()).decode() == CONNECTED
    assert server.received == b"root\nexit\n"
    assert await server.closed.get() == 1000


async def test_the_end_of_the_input_leaves_the_answer_readable(server: Server) -> None:
    process = await spawn(server, "console", "demo")
    assert process.stdin is not None
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT):
        process.stdin.write(b"uptime\n")
        process.stdin.close()
        assert await process.stdout.readexactly(9) == b"<uptime\n>"
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    assert await server.closed.get() == 1000


async def test_the_guest_s_end_is_told(server: Server) -> None:
    server.greeting, server.hang_up = b"Power down.\r\n", True
    out, err = await server.run("console", "demo", stdin=None)
    assert out == "Power down.\r\n"
    assert err.startswith(CONNECTED)
    assert "The console was closed" in err


async def _read(handle: int) -> bytes:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(handle, readable.set)
    try:
        await readable.wait()
        return os.read(handle, 100)
    finally:
        loop.remove_reader(handle)


async def test_a_terminal_is_raw_meanwhile_and_restored(server: Server) -> None:
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    process = await spawn(
        server, "console", "demo", stdin=theirs, stdout=theirs, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    async with asyncio.timeout(LIMIT):
        assert (await process.stderr.readline()).decode() == CONNECTED
        # Ctrl+C is the guest's, not ours.
        os.write(ours, b"\x03")
        assert await _read(ours) == b"<\x03>"
        assert not termios.tcgetattr(theirs)[3] & termios.ICANON
        os.write(ours, b"\x1d")
        assert await process.wait() == 0
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)


async def test_it_waits_for_the_guest_to_run(server: Server) -> None:
    server.phases = ["Scheduling", "Scheduled", "Running"]
    server.hang_up = True
    _, err = await server.run("console", "demo")
    assert err.startswith(f"Waiting for demo to run (phase Scheduling)\n{CONNECTED}")


async def test_it_waits_no_longer_than_told(server: Server) -> None:
    server.phases = ["Scheduling"]
    _, err = await server.run("console", "demo", "--timeout", "0.01", code=1)
    assert err.endswith("error: virtual machine instance demo is not running after 0.01 minutes\n")


async def test_what_is_in_the_way_is_told(server: Server) -> None:
    for code, message, text in (
        (404, 'vmi "demo" not found', "Virtual Machine not found."),
        (400, "No serial consoles are present.", "(400): No serial consoles are present."),
        (403, "alice may not", "Can't connect to websocket (403): alice may not"),
    ):
        server.refuse = (code, message)
        _, err = await server.run("console", "demo", code=1)
        assert err.startswith("error: Can't access VMI demo: ")
        assert text in err
