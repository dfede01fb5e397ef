"""Memory and CPU of a pod's processes, from the host's /proc.

The nodes of the local cluster are namespaces of this host, so that all processes are seen here;
the kubelet writes the pod's uid in the path of its cgroup. On any other cluster nothing is found.

Source: https://docs.kernel.org/filesystems/proc.html (smaps_rollup, stat)
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
PAUSE = "pause"  # every pod has one; it is not ours
GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


@dataclass(frozen=True)
class Process:
    """MiB; CPU seconds include those of children that were waited for."""

    pid: int
    name: str
    pss: float
    rss: float
    cpu: float
    started: float  # seconds since the epoch

    @property
    def guest(self) -> bool:
        return self.name.startswith("qemu")


def of_pods(uids: Iterable[str], memory: bool = True) -> dict[str, list[Process]]:
    """The processes of each pod; reading PSS takes the kernel a few milliseconds per process."""
    found: dict[str, list[Process]] = {uid: [] for uid in uids}
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    for folder in PROC.iterdir():
        if not folder.name.isdecimal():
            continue
        with suppress(*GONE):
            groups = (folder / "cgroup").read_text().replace("_", "-")
            uid = next((uid for uid in found if f"pod{uid}" in groups), None)
            if uid is not None:
                process = _process(folder, booted, memory)
                if process.name != PAUSE:
                    found[uid].append(process)
    return found


def named(names: Collection[str]) -> list[Process]:
    """The processes of this host that are called so, without their memory."""
    found = []
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    for folder in PROC.iterdir():
        if folder.name.isdecimal():
            with suppress(*GONE):
                process = _process(folder, booted, memory=False)
                if process.name in names:
                    found.append(process)
    return found


def _process(folder: Path, booted: float, memory: bool) -> Process:
    name = (folder / "comm").read_text().strip()
    # Fields after the name, which may itself hold spaces and brackets; the first is field 3.
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    cpu = sum(int(ticks) for ticks in fields[11:15]) / TICKS
    sizes = _sizes(folder) if memory else {}
    return Process(
        pid=int(folder.name),
        name=_full(folder, name),
        pss=sizes.get("Pss", 0) / 1024,
        rss=sizes.get("Rss", 0) / 1024,
        cpu=cpu,
        started=booted + int(fields[19]) / TICKS,
    )


def _full(folder: Path, name: str) -> str:
    """A Python program's own name rather than the interpreter's."""
    if name.startswith("python"):
        words = (folder / "cmdline").read_bytes().split(b"\0")
        programs = [word for word in words[1:] if word and not word.startswith(b"-")]
        if programs:
            return Path(os.fsdecode(programs[0])).name
    return name


def _sizes(folder: Path) -> dict[str, int]:
    lines = (folder / "smaps_rollup").read_text().splitlines()[1:]
    return {key.rstrip(":"): int(kib) for key, kib, *_ in map(str.split, lines)}
