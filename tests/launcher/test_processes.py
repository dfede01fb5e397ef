"""Children are reaped, ours and everybody else's, and their ends are told."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator

import pytest

from virtpod.launcher.processes import Processes, ToolFailed, keep


@pytest.fixture
async def processes() -> AsyncIterator[Processes]:
    made = Processes()
    made.watch()
    yield made
    asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)


async def test_a_tool_that_works_says_nothing(processes: Processes) -> None:
    await processes.run("true")


async def test_a_tool_that_fails_is_quoted(processes: Processes) -> None:
    with pytest.raises(ToolFailed, match=r"sh failed \(3\): no room"):
        await processes.run("sh", "-c", "echo no room >&2; exit 3")


async def test_a_tool_that_hangs_is_killed(processes: Processes) -> None:
    with pytest.raises(ToolFailed, match=r"sleep did not end within 0\.05 s"):
        await processes.run("sleep", "60", timeout=0.05)


async def test_a_tool_that_is_not_there_is_an_error_of_the_system(processes: Processes) -> None:
    with pytest.raises(FileNotFoundError):
        await processes.run("no-such-tool")


async def test_children_do_not_inherit_what_we_block_or_ignore(processes: Processes) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        child = processes.spawn(["sleep", "60"])
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    child.signal(signal.SIGTERM)
    async with asyncio.timeout(5):
        assert await child.exited == -signal.SIGTERM
    child.signal(signal.SIGTERM)  # it has ended: nobody else gets the signal


async def test_a_foreign_child_is_reaped_and_its_end_known(processes: Processes) -> None:
    foreign = subprocess.Popen(["sh", "-c", "exit 7"])  # noqa: ASYNC220  # starts, does not wait
    async with asyncio.timeout(5):
        assert await processes.exit_code(foreign.pid) == 7
        assert await processes.exit_code(foreign.pid) == 7
    with pytest.raises(ProcessLookupError):
        os.kill(foreign.pid, 0)  # not even a zombie is left
    foreign.returncode = 7


async def test_a_helper_is_started_again_and_ends_with_us(processes: Processes) -> None:
    said, saying = os.pipe()
    os.set_inheritable(saying, True)
    line = f"echo $$ >/proc/self/fd/{saying}; exec sleep 60"
    helper = asyncio.create_task(keep(processes, "h", ["sh", "-c", line], {}))
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(said, "rb")
    )
    async with asyncio.timeout(10):
        first = int(await reader.readline())
        os.kill(first, signal.SIGKILL)
        second = int(await reader.readline())
        assert second != first
        helper.cancel()
        await asyncio.wait({helper})
        os.close(saying)
        assert await reader.read() == b""  # closed: the last one has ended
    transport.close()
