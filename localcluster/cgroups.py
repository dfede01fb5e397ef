"""One cgroup per machine, in every hierarchy that the host has: version 1, version 2, or both.

Sources: cgroups(7), the kernel's admin-guide/cgroup-v1 and admin-guide/cgroup-v2.
"""

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from . import layout
from .progress import Failed, until

MOUNTS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A mounted hierarchy; `options` are what mount(8) needs to mount it once more."""

    path: Path
    kind: str
    options: str

    @property
    def controllers(self) -> frozenset[str]:
        return frozenset(self.options.split(",")) if self.kind == "cgroup" else frozenset()


def hierarchies() -> list[Hierarchy]:
    found = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, target, kind, options, *_ = line.split()
        if kind not in ("cgroup", "cgroup2") or not target.startswith(str(MOUNTS)):
            continue
        named = [each for each in options.split(",") if each not in _GENERAL_OPTIONS]
        if any(each.startswith("name=") for each in named):
            named.insert(0, "none")
        found.append(Hierarchy(Path(target), kind, ",".join(named) if kind == "cgroup" else ""))
    return found


_GENERAL_OPTIONS = frozenset(
    {"rw", "ro", "relatime", "noatime", "nosuid", "nodev", "noexec", "xattr", "clone_children"}
)


def make(machine: str) -> list[Path]:
    """The machine's cgroup in each hierarchy, empty and ready for processes."""
    made = []
    for hierarchy in hierarchies():
        for folder in (hierarchy.path / layout.PREFIX, hierarchy.path / layout.PREFIX / machine):
            folder.mkdir(exist_ok=True)
            if "cpuset" in hierarchy.controllers:
                _inherit_cpuset(folder)
            if hierarchy.kind == "cgroup2":
                delegate(folder.parent)
        made.append(hierarchy.path / layout.PREFIX / machine)
    return made


def join(cgroups: list[Path], pid: int = 0) -> None:
    for cgroup in cgroups:
        (cgroup / "cgroup.procs").write_text(str(pid))


def remove(machine: str | None = None, *, seconds: float = 10.0) -> None:
    """End what is left in one machine's cgroups, or in all of this checkout's, and remove them.

    A starter that was killed half-way may have left processes that no state file knows.
    """
    deadline = time.monotonic() + seconds
    for hierarchy in hierarchies():
        top = hierarchy.path / layout.PREFIX
        top = top / machine if machine else top
        while top.exists():
            try:
                for folder, _, _ in os.walk(top, topdown=False):
                    _kill_all(Path(folder))
                    os.rmdir(folder)
            except OSError as error:
                # A killed task leaves its cgroup a moment after it has left the process table.
                if time.monotonic() > deadline:
                    raise Failed(f"cgroup {error.filename} cannot be removed: {error}") from error
                os.sched_yield()


def _kill_all(cgroup: Path) -> None:
    for pid in (cgroup / "cgroup.procs").read_text().split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def left() -> list[Path]:
    tops = [hierarchy.path / layout.PREFIX for hierarchy in hierarchies()]
    return [top for top in tops if top.exists()]


def delegate_inside() -> None:
    """Within a machine, on version 2: leave the root, so that it may hand out controllers."""
    if not (MOUNTS / "cgroup.controllers").exists():
        return
    own = MOUNTS / "system"
    own.mkdir(exist_ok=True)
    join([own])
    # The process that began the machine is in the root for a moment more.
    procs = MOUNTS / "cgroup.procs"
    until("an empty root cgroup", lambda: not procs.read_text().strip(), seconds=10)
    delegate(MOUNTS)


def _inherit_cpuset(folder: Path) -> None:
    for name in ("cpuset.cpus", "cpuset.mems"):
        if not (folder / name).read_text().strip():
            (folder / name).write_text((folder.parent / name).read_text())


def delegate(folder: Path) -> None:
    """Version 2: the children of `folder` may have all the controllers that it has."""
    wanted = (folder / "cgroup.controllers").read_text().split()
    granted = (folder / "cgroup.subtree_control").read_text().split()
    for controller in wanted:
        if controller in granted:
            continue
        try:
            (folder / "cgroup.subtree_control").write_text(f"+{controller}")
        except OSError as error:
            if controller in ("cpu", "memory", "pids"):
                raise Failed(f"{folder} does not hand out {controller}: {error}") from error
