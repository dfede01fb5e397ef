"""Metrics for guests: what a reader finds on the disk and in the channel, whatever it asks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from virtpod.domain import vhostmd
from virtpod.launcher.downward import LONGEST_REQUEST, Downward
from virtpod.launcher.hypervisor import Hypervisor, Refused
from virtpod.wire.messages import Measure, Measured

COUNTED: dict[str, int | str | bool] = {
    "cpu.time": 1_500_000_000,
    "vcpu.current": 4,
    "balloon.maximum": 131072,
    "balloon.current": 65536,
}


class Counting(Hypervisor):
    """A hypervisor that has counted, or will not say."""

    refused = False

    async def measure(self, request: Measure) -> Measured:
        if self.refused:
            raise Refused("the guest does not run")
        return Measured(id=request.id, counted=COUNTED)


def read(content: bytes) -> dict[tuple[str, str], str]:
    root = ElementTree.fromstring(content)
    return {
        (each.get("context", ""), each.findtext("name", "")): each.findtext("value", "")
        for each in root
    }


@contextlib.asynccontextmanager
async def running(downward: Downward) -> AsyncIterator[None]:
    task = asyncio.create_task(downward.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - it waits for a file's content, of which nobody tells
        await asyncio.sleep(0.01)


async def test_the_disk_is_filled(tmp_path: Path) -> None:
    disk = tmp_path / "vhostmd0"
    disk.write_bytes(bytes(vhostmd.DISK_SIZE))
    async with asyncio.timeout(10), running(Downward(Counting(), "node-1", str(disk), "")):
        await until(lambda: disk.read_bytes().startswith(b"mvbd\0\0\0\0"))
        whole = disk.read_bytes()
    assert len(whole) == vhostmd.DISK_SIZE
    _, _, total, length = vhostmd.HEADER.unpack(whole[:16])
    content = whole[16 : 16 + length]
    assert sum(content) == total
    told = read(content)
    assert told["host", "HostName"] == "node-1"
    assert told["vm", "TotalCPUTime"] == "1.500000"
    assert told["vm", "ResourceProcessorLimit"] == "4"
    assert told["vm", "PhysicalMemoryAllocatedToVirtualSystem"] == "65536"
    kernel = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    total_memory = int(kernel["MemTotal"].split()[0])
    assert 0 < int(told["host", "FreePhysicalMemory"]) < total_memory


async def test_questions_are_answered_and_nonsense_is_not(tmp_path: Path) -> None:
    answered: asyncio.Queue[bytes] = asyncio.Queue()

    async def guest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for said in (b"GET /metrics/XML\n\n", b"GET /secrets\n\n", b"x" * LONGEST_REQUEST * 3):
            writer.write(said)
            answered.put_nowait(await reader.readuntil(b"\n\n"))
        writer.close()

    socket = tmp_path / "socket"
    server = await asyncio.start_unix_server(guest, socket)
    async with asyncio.timeout(10), server, running(Downward(Counting(), "n", "", str(socket))):
        assert read(await answered.get())["vm", "ResourceProcessorLimit"] == "4"
        assert await answered.get() == vhostmd.WRONG
        assert await answered.get() == vhostmd.WRONG
        assert read(await answered.get()), "it comes back after the guest's end was closed"


async def test_a_hypervisor_that_will_not_say_ends_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "vhostmd0"
    disk.write_bytes(bytes(vhostmd.DISK_SIZE))
    silent = Counting()
    silent.refused = True
    async with running(Downward(silent, "n", str(disk), str(tmp_path / "nobody"))):
        await asyncio.sleep(0.05)
    assert disk.read_bytes() == bytes(vhostmd.DISK_SIZE)


def test_what_does_not_fit_on_the_disk_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        vhostmd.disk(bytes(vhostmd.DISK_SIZE))
