"""Metrics for the guest itself: its disk of them is kept up to date, its questions are answered.

The kernel shows a container the whole node's accounts, so nobody else need be asked. What the guest
writes is a stranger's word: a request has a bound, and what cannot be read ends the conversation.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

from virtpod.domain import vhostmd
from virtpod.domain.vhostmd import Metric, document
from virtpod.launcher.hypervisor import Hypervisor, Refused
from virtpod.launcher.log import log
from virtpod.wire.messages import Measure, Measured

EVERY = 5.0
"""Seconds between two states of the disk."""
SOONEST = 0.2
"""Seconds between two answers: asking costs the node something."""
AGAIN = 1.0
LONGEST_REQUEST = 128
PROC = Path("/proc")
PAGES = ("pgpgin", "pgpgout")


class Downward:
    """`run()` it in a task. `disk` or `socket` is "" where the guest has no such thing."""

    def __init__(
        self, hypervisor: Hypervisor, node: str, disk: str, socket: str, proc: Path = PROC
    ) -> None:
        self._hypervisor = hypervisor
        self._node = node
        self._disk = disk
        self._socket = socket
        self._proc = proc

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            if self._disk:
                tasks.create_task(self._forever(self._fill, EVERY))
            if self._socket:
                tasks.create_task(self._forever(self._converse, AGAIN))

    async def _forever(self, act: Callable[[], Awaitable[None]], pause: float) -> None:
        while True:
            try:
                await act()
            except (OSError, ValueError, KeyError, Refused) as error:
                log("metrics for the guest are missing", error=str(error) or repr(error))
            await asyncio.sleep(pause)

    async def _document(self) -> bytes:
        told = await self._hypervisor.measure(Measure(id=0))
        return document(sorted(_all(self._node, self._proc, told), key=lambda each: each.name))

    async def _fill(self) -> None:
        """Readers wait while it says that it is being written."""
        content = await self._document()
        whole = vhostmd.disk(content)
        handle = os.open(self._disk, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.pwrite(handle, vhostmd.header(content, busy=True), 0)
            os.pwrite(handle, whole[vhostmd.HEADER.size :], vhostmd.HEADER.size)
            os.pwrite(handle, whole[: vhostmd.HEADER.size], 0)
        finally:
            os.close(handle)

    async def _converse(self) -> None:
        """With QEMU's end of the channel, until it is closed."""
        reader, writer = await asyncio.open_unix_connection(self._socket, limit=LONGEST_REQUEST)
        try:
            while True:
                try:
                    request = await reader.readuntil(vhostmd.END)
                except asyncio.IncompleteReadError:
                    return
                except asyncio.LimitOverrunError:
                    await reader.read(LONGEST_REQUEST)
                    writer.write(vhostmd.WRONG)
                else:
                    right = request.strip() == vhostmd.REQUEST
                    content = await self._document() if right else b""
                    writer.write(content.rstrip() + vhostmd.END if right else vhostmd.WRONG)
                await writer.drain()
                await asyncio.sleep(SOONEST)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def _all(node: str, proc: Path, told: Measured) -> Iterator[Metric]:
    yield from _of_host(node, proc)
    yield from _of_guest(told.counted)


def _of_host(node: str, proc: Path) -> Iterator[Metric]:
    yield Metric("HostName", node, "string", "host")
    yield Metric("HostSystemInfo", "linux", "string", "host")
    yield Metric("VirtualizationVendor", "kubevirt.io", "string", "host")
    yield Metric("VirtProductInfo", "KubeVirt", "string", "host")
    yield Metric("Time", str(int(time.time())), "int64", "host", "s")
    memory = _numbers(proc / "meminfo")
    free, swap = memory["MemFree"], memory.get("SwapFree", 0)
    total, all_swap = memory["MemTotal"], memory.get("SwapTotal", 0)
    cached = memory.get("Buffers", 0) + memory.get("Cached", 0)
    for name, size in (
        ("FreePhysicalMemory", free),
        ("FreeVirtualMemory", free + swap),
        ("UsedVirtualMemory", total + all_swap - free - swap),
        ("MemoryAllocatedToVirtualServers", total - free - cached),
    ):
        yield Metric(name, str(max(size, 0)), "uint64", "host", "KiB")
    moved = _numbers(proc / "vmstat")
    for name, counter in zip(("PagedInMemory", "PagedOutMemory"), PAGES, strict=True):
        yield Metric(name, str(moved.get(counter, 0)), "uint64", "host", "KiB")
    processors = (proc / "stat").read_text().splitlines()
    yield Metric("NumberOfPhysicalCPUs", str(sum(_is_cpu(x) for x in processors)), "int64", "host")
    user, nice, system = (int(ticks) for ticks in processors[0].split()[1:4])
    busy = (user + nice + system) / os.sysconf("SC_CLK_TCK")
    yield Metric("TotalCPUTime", f"{busy:.6f}", "real64", "host", "s")


def _of_guest(counted: Mapping[str, int | str | bool]) -> Iterator[Metric]:
    """Those of libvirt's numbers that guests are told; what it does not say is left out."""
    for name, key, kind, unit, divisor in (
        ("TotalCPUTime", "cpu.time", "real64", "s", 10**9),
        ("ResourceProcessorLimit", "vcpu.current", "uint64", "", 1),
        ("ResourceMemoryLimit", "balloon.maximum", "uint64", "KiB", 1),
        ("PhysicalMemoryAllocatedToVirtualSystem", "balloon.current", "uint64", "KiB", 1),
    ):
        value = counted.get(key)
        if isinstance(value, int):
            shown = f"{value / divisor:.6f}" if kind == "real64" else str(value // divisor)
            yield Metric(name, shown, kind, "vm", unit)


def _is_cpu(line: str) -> bool:
    return line.startswith("cpu") and line[3:4].isdigit()


def _numbers(file: Path) -> dict[str, int]:
    """Name and number of each line, as the kernel writes them."""
    found = {}
    for line in file.read_text().splitlines():
        words = line.split()
        if len(words) > 1 and words[1].isdigit():
            found[words[0].rstrip(":")] = int(words[1])
    return found
