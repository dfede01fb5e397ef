"""What `up` has made and `down` must take away: written before each thing is made.

The file is replaced as a whole (write, rename), so a crash leaves the old or the new state.
Network namespaces and cgroups carry the checkout's name (layout.PREFIX) and are found by it;
processes have no name, so they are kept here by pid and start time.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

from . import layout, linux


@dataclass(frozen=True, slots=True)
class Process:
    """A process that stays the same one after its pid was used again."""

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        return linux.start_time(self.pid) == self.started


@dataclass(slots=True)
class State:
    api_port: int = 0
    mounted_netns: bool = False
    machines: dict[str, Process] = field(default_factory=dict)
    relays: dict[str, Process] = field(default_factory=dict)

    @property
    def nodes(self) -> tuple[layout.Node, ...]:
        """The nodes that were started, alive or crashed."""
        return tuple(node for node in layout.ALL_NODES if node.name in self.machines)

    def alive(self, machine: str) -> bool:
        process = self.machines.get(machine)
        return process is not None and process.alive

    def save(self) -> None:
        layout.CLUSTER.mkdir(parents=True, exist_ok=True)
        document = {
            "api_port": self.api_port,
            "mounted_netns": self.mounted_netns,
            "machines": {name: [each.pid, each.started] for name, each in self.machines.items()},
            "relays": {name: [each.pid, each.started] for name, each in self.relays.items()},
        }
        fresh = layout.STATE.with_suffix(".new")
        fresh.write_text(json.dumps(document, indent=2) + "\n")
        fresh.replace(layout.STATE)


def load(path: Path = layout.STATE) -> State:
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        return State()
    return State(
        api_port=document["api_port"],
        mounted_netns=document.get("mounted_netns", False),
        machines={name: Process(*pair) for name, pair in document["machines"].items()},
        relays={name: Process(*pair) for name, pair in document["relays"].items()},
    )
