"""Start, stop and enter a machine: namespaces, a cgroup and a first process (`init.py`)."""

import json
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from . import cgroups, layout, linux, netns
from .progress import Failed
from .state import Process, State


@dataclass(frozen=True, slots=True)
class Service:
    """A program that the machine's first process keeps running."""

    name: str
    command: list[str]
    log: Path
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Machine:
    """`own_files`: with its own /var, /run, /etc; the control plane does without."""

    name: str
    address: str
    address6: str
    services: tuple[Service, ...]
    own_files: bool

    @property
    def folder(self) -> Path:
        return layout.machine_folder(self.name)

    @property
    def log(self) -> Path:
        return layout.LOGS / f"{self.name}-init.log"


def start(machine: Machine, state: State) -> None:
    """Boot a machine that is not running; what a crashed one left is taken away first."""
    clear(machine.name)
    netns.plug(machine.name, machine.address, machine.address6)
    own_cgroups = cgroups.make(machine.name)
    machine.folder.mkdir(parents=True, exist_ok=True)
    plan = machine.folder / "init.json"
    plan.write_text(json.dumps(_plan(machine, own_cgroups), indent=2))

    with machine.log.open("wb") as log:
        starter = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.init", str(plan)],
            cwd=layout.ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        assert starter.stdout is not None
        first_line = starter.stdout.readline().strip()
        pid = int(first_line) if first_line.isdigit() else 0
        started = linux.start_time(pid) if pid else None
        if started is not None:
            state.machines[machine.name] = Process(pid, started)
            state.save()
        furnished = starter.stdout.readline().strip() == "furnished"
        starter.stdout.close()
        starter.wait()
    if not furnished:
        raise Failed(f"{machine.name} did not start", machine.log)


def crash(name: str, state: State) -> None:
    """Kill the first process: the kernel ends everything else of the machine with it."""
    process = state.machines.get(name)
    if process and not linux.kill_and_wait(process.pid, process.started, signal.SIGKILL, 30):
        raise Failed(f"{name}'s first process {process.pid} does not end")


def clear(name: str) -> None:
    """What is left of a machine without processes."""
    cgroups.remove(name)
    netns.unplug(name)


def enter(process: Process, command: list[str]) -> list[str]:
    """The command line that runs `command` within a machine."""
    spaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
    return ["nsenter", "--target", str(process.pid), *spaces, "--", *command]


def _plan(machine: Machine, own_cgroups: list[Path]) -> dict[str, object]:
    services = [asdict(service) | {"log": str(service.log)} for service in machine.services]
    return {
        "name": machine.name,
        "netns": str(layout.netns_path(machine.name)),
        "cgroups": [str(cgroup) for cgroup in own_cgroups],
        "folder": str(machine.folder),
        "keep": [str(layout.ROOT)],
        "own_files": machine.own_files,
        "services": services,
    }
