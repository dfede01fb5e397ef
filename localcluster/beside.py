"""A program beside a node's own, that comes and goes while the node runs, and ends with it."""

import subprocess
from pathlib import Path

from . import layout, machine
from .progress import Failed
from .state import State


def start(node: layout.Node, state: State, name: str, command: list[str]) -> Path:
    """In the node's namespaces, instead of one of this name that runs; returns its log."""
    stop(node, state, name)
    log = layout.LOGS / f"{node.name}-{name}.log"
    started = ["sh", "-c", f'echo $$ >{_pid(name)}; exec "$@"', "sh", *command]
    with log.open("wb") as out:
        subprocess.Popen(
            machine.enter(state.machines[node.name], started),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return log


def stop(node: layout.Node, state: State, name: str) -> None:
    pid = _pid(name)
    run(node, state, f"if [ -e {pid} ]; then kill $(cat {pid}) || true; rm {pid}; sleep 1; fi")


def run(node: layout.Node, state: State, script: str) -> None:
    command = machine.enter(state.machines[node.name], ["sh", "-c", script])
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise Failed(f"{node.name}: {script}: {done.stderr.strip()[-500:]}")


def _pid(name: str) -> str:
    return f"/run/{name}.pid"
