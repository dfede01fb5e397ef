"""Why QEMU ended, as far as its container can tell: its exit, the kernel's memory killer, its log.

https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files
https://docs.kernel.org/admin-guide/cgroup-v1/memory.html#oom-control
"""

from __future__ import annotations

import re
import signal
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
COUNTERS = ("memory.events", "memory/memory.oom_control")
"""Where the kernel counts what it killed in this container, by the version of control groups."""
LAST_BYTES = 8192
LAST_LINES = 5
SPOKEN = re.compile(
    r"^(?:\S+ ){0,2}?"
    r"(?:qemu-system-\S+: (?!terminating on signal|.*warning: .* is deprecated)|(?=panic ))(.+)$"
)
"""A line of QEMU's own, or libvirt's of a panic, in a log that has QEMU's command line too. That
libvirt uses what QEMU will drop some day is no reason for an end."""


class Autopsy:
    """`log`: the file in which libvirt keeps what QEMU says. Made before QEMU is."""

    def __init__(self, log: str) -> None:
        self._log = Path(log)
        self._killed_before = memory_kills()

    def findings(self, reason: str, code: int | None, *, barked: bool) -> str:
        """In words for users. `reason` as in DomainChanged; `code`: negative is a signal, None is
        not known; `barked`: its watchdog was to power the guest off."""
        found = []
        if reason == "Panicked":
            found.append("the guest's kernel panicked")
        elif code == -signal.SIGKILL and memory_kills() > self._killed_before:
            found.append(
                "QEMU was killed by the kernel: OOMKilled, its container used up its memory"
            )
        elif code is not None and code < 0:
            found.append(f"QEMU was ended by {signal.Signals(-code).name}")
        elif barked:
            found.append("the guest's watchdog was not fed and powered it off")
        elif code:
            found.append(f"QEMU failed with exit code {code}")
        else:
            found.append("QEMU ended without notice")
        return ": ".join([*found, *filter(None, ["; ".join(self._last_lines())])])

    def _last_lines(self) -> list[str]:
        try:
            with self._log.open("rb") as log:
                log.seek(0, 2)
                log.seek(max(log.tell() - LAST_BYTES, 0))
                text = log.read().decode(errors="replace")
        except OSError:
            return []
        return [match[1] for match in map(SPOKEN.match, text.splitlines()) if match][-LAST_LINES:]


def memory_kills() -> int:
    """How many processes of this container the kernel has killed for want of memory."""
    for name in COUNTERS:
        try:
            lines = (CGROUPS / name).read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
