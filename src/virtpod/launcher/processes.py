"""Child processes, and everybody else's: virt-launcher is the first process of its container.

libvirt detaches QEMU, so QEMU's end is told to the container's first process. A dead QEMU that
nobody reaps looks alive to libvirt, which then waits 40 seconds for it to go. So one place reaps
all, and hands the exit codes to whoever waits.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from virtpod.launcher.log import log

REMEMBERED = 64
ERROR_LIMIT = 4096
"""Bytes of a failed tool's stderr that are passed on."""


class ToolFailed(Exception):
    """A tool ended with an error; the text is its own."""


class Processes:
    """Spawns and reaps. One per process; `watch` must be called within the running loop."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._ended: OrderedDict[int, int] = OrderedDict()

    def watch(self) -> None:
        """Begins to reap."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap)
        self._reap()

    def spawn(
        self, argv: Sequence[str], env: Mapping[str, str] | None = None, stderr: int | None = None
    ) -> Child:
        """Starts a program found by PATH; its output goes to ours, or stderr to a descriptor."""
        actions = [(os.POSIX_SPAWN_DUP2, 2, 1)]
        if stderr is not None:
            actions = [(os.POSIX_SPAWN_DUP2, stderr, 1), (os.POSIX_SPAWN_DUP2, stderr, 2)]
        # A child must not inherit what only we ignore or block.
        pid = os.posix_spawnp(
            argv[0],
            list(argv),
            {**os.environ, **(env or {})},
            file_actions=actions,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGTERM],
        )
        exited = asyncio.get_running_loop().create_future()
        self._waiting[pid] = exited
        return Child(argv[0], pid, exited)

    async def run(self, *argv: str, timeout: float = 60) -> None:
        """Runs a tool to its end. Raises ToolFailed with what it said."""
        said = os.memfd_create("stderr")
        try:
            child = self.spawn(argv, stderr=said)
            try:
                async with asyncio.timeout(timeout):
                    code = await child.exited
            except TimeoutError:
                child.signal(signal.SIGKILL)
                raise ToolFailed(f"{argv[0]} did not end within {timeout:g} s") from None
            if code != 0:
                text = os.pread(said, ERROR_LIMIT, 0).decode(errors="replace").strip()
                raise ToolFailed(f"{argv[0]} failed ({code}): {text}")
        finally:
            os.close(said)

    async def exit_code(self, pid: int) -> int:
        """Waits for a process that was not ours to start, and tells how it ended."""
        if pid in self._ended:
            return self._ended[pid]
        loop = asyncio.get_running_loop()
        return await asyncio.shield(self._waiting.setdefault(pid, loop.create_future()))

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            self._ended[pid] = code
            if len(self._ended) > REMEMBERED:
                self._ended.popitem(last=False)
            waiting = self._waiting.pop(pid, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(code)


class Child:
    """A process that we started. `exited` gives its exit code (negative: the signal)."""

    def __init__(self, name: str, pid: int, exited: asyncio.Future[int]) -> None:
        self.name = name
        self.pid = pid
        self.exited = exited

    def signal(self, number: int) -> None:
        """Sends a signal, unless the process has ended."""
        if not self.exited.done():
            os.kill(self.pid, number)


async def keep(
    processes: Processes, name: str, argv: Sequence[str], env: Mapping[str, str]
) -> None:
    """Runs a program for as long as we live; starts it again when it dies, at most once a second.

    It is ended when this is cancelled.
    """
    while True:
        child = processes.spawn(argv, env)
        try:
            code = await asyncio.shield(child.exited)
        except asyncio.CancelledError:
            child.signal(signal.SIGTERM)
            raise
        log("helper ended and is started again", helper=name, code=code)
        await asyncio.sleep(1)
