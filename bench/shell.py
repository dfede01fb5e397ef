"""A root's shell on the serial console of the demo guest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bench.scenarios import CONSOLE, NAMESPACE, PROMPT, Bench
from bench.sightings import Failed
from virtpod.kube.errors import ApiError


class Shell:
    def __init__(self, name: str, console: Any) -> None:
        self.name = name
        self._console = console
        self._seen = b""

    async def _until(self, wanted: bytes) -> bytes:
        try:
            while wanted not in self._seen:
                self._seen += await self._console.receive_bytes()
        except (ApiError, TypeError) as error:
            raise Failed(f"{self.name}: no {wanted!r} but {self._seen[-300:]!r}") from error
        found, _, self._seen = self._seen.partition(wanted)
        return found

    async def log_in(self) -> None:
        for word, answer in ((b"\n", PROMPT), (b"root\n", b"assword:"), (b"demo\n", b"# ")):
            await self._console.send_bytes(word)
            await self._until(answer)

    async def run(self, command: str) -> str:
        """What it says."""
        await self._console.send_bytes(f"echo be''gin; {command}; echo en''d\n".encode())
        await self._until(b"begin")
        return (await self._until(b"end")).decode(errors="replace")


@asynccontextmanager
async def shell(bench: Bench, name: str) -> AsyncIterator[Shell]:
    """Of the guest that runs or boots, logged in."""
    where = CONSOLE.format(NAMESPACE, name)
    async with bench.client.websocket(where, protocols=("plain.kubevirt.io",)) as console:
        made = Shell(name, console)
        await made.log_in()
        yield made
