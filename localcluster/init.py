"""The first process of a machine: makes its file system view, then keeps its services running.

Everything of the machine lives in this process's PID namespace, so when it dies, by whatever
signal, the kernel ends all the others: that is what a crashed machine is.

Its plan is a JSON document that `machine.py` writes.

Sources: pid_namespaces(7), mount_namespaces(7), cgroup_namespaces(7).
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from . import cgroups, linux
from .progress import STARTED

NAMESPACES = (
    linux.CLONE_NEWNS
    | linux.CLONE_NEWUTS
    | linux.CLONE_NEWIPC
    | linux.CLONE_NEWPID
    | linux.CLONE_NEWCGROUP
)
SHORTEST_LIFE = 1.0  # seconds; a service that ends sooner is started again only after that


def main() -> None:
    """Leave the host's namespaces; the child, born in the new ones, is the first process."""
    plan = json.loads(Path(sys.argv[1]).read_text())
    hierarchies = cgroups.hierarchies()
    cgroups.join([Path(cgroup) for cgroup in plan["cgroups"]])
    linux.enter_netns(Path(plan["netns"]))
    linux.unshare(NAMESPACES)
    child = os.fork()
    if child:
        print(child, flush=True)
        os._exit(0)
    os.setsid()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM})
    _furnish(plan, hierarchies)
    print("furnished", flush=True)
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    keep_running(plan["services"])


def _furnish(plan: dict[str, Any], hierarchies: list[cgroups.Hierarchy]) -> None:
    """The machine's own view: what is bound stays private until the end, lest mounts echo."""
    linux.mount("", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    socket.sethostname(plan["name"])
    kept = [(Path(path), os.open(path, os.O_PATH)) for path in plan["keep"]]

    linux.mount("proc", "/proc", "proc")
    linux.mount("sysfs", "/sys", "sysfs")
    _mount_cgroups(hierarchies)
    if plan["own_files"]:
        _own_files(Path(plan["folder"]))
    for path, file in kept:
        # A checkout beneath /var or /run has just been hidden: show it again.
        if not path.exists():
            path.mkdir(parents=True)
            linux.mount(f"/proc/self/fd/{file}", path, flags=linux.MS_BIND | linux.MS_REC)
        os.close(file)
    linux.mount("", "/", flags=linux.MS_REC | linux.MS_SHARED)
    cgroups.delegate_inside()


def _mount_cgroups(hierarchies: list[cgroups.Hierarchy]) -> None:
    for hierarchy in hierarchies:
        if hierarchy.path == cgroups.MOUNTS:
            linux.mount("cgroup2", cgroups.MOUNTS, "cgroup2")
            return
    linux.mount("tmpfs", cgroups.MOUNTS, "tmpfs", data="mode=755")
    for hierarchy in hierarchies:
        hierarchy.path.mkdir()
        linux.mount(hierarchy.kind, hierarchy.path, hierarchy.kind, data=hierarchy.options)


def _own_files(folder: Path) -> None:
    """/var and /run are the node's own; /etc and /opt are the host's until the node writes."""
    for name in ("etc", "opt"):
        upper, work = folder / name, folder / f".{name}.work"
        upper.mkdir(parents=True, exist_ok=True)
        work.mkdir(parents=True, exist_ok=True)
        layers = f"lowerdir=/{name},upperdir={upper},workdir={work}"
        linux.mount("overlay", f"/{name}", "overlay", data=layers)

    var = folder / "var"
    furnish_var(var)
    linux.mount(str(var), "/var", flags=linux.MS_BIND)
    linux.mount("tmpfs", "/run", "tmpfs", data="mode=755")
    Path("/run/lock").mkdir()


def furnish_var(var: Path) -> None:
    """What Debian's programs expect in /var, where it is new."""
    var.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (var / "run").symlink_to("/run")
    for each in ("lib", "log", "cache"):
        (var / each).mkdir(exist_ok=True)
    (var / "tmp").mkdir(exist_ok=True)
    (var / "tmp").chmod(0o1777)


def keep_running(services: list[dict[str, Any]]) -> None:
    """Start services, reap whatever the machine orphans, start again what ended too early."""
    running: dict[int, tuple[dict[str, Any], float]] = {}
    starts: Counter[str] = Counter()
    due = [(0.0, service) for service in services]
    while True:
        now = time.monotonic()
        for when, service in [each for each in due if each[0] <= now]:
            due.remove((when, service))
            starts[service["name"]] += 1
            running[_start(service, starts[service["name"]])] = (service, now)

        patience = min((when for when, _ in due), default=now + 3600) - now
        received = signal.sigtimedwait({signal.SIGCHLD, signal.SIGTERM}, max(patience, 0))
        if received and received.si_signo == signal.SIGTERM:
            return
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid in running:
                service, begun = running.pop(pid)
                due.append((begun + SHORTEST_LIFE, service))


def _start(service: dict[str, Any], times: int) -> int:
    with open(service["log"], "ab") as log:
        log.write(f"{STARTED} {times}: {service['name']}\n".encode())
        log.flush()
        child = subprocess.Popen(
            service["command"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **service.get("environment", {})},
            start_new_session=True,
            preexec_fn=_unblock_signals,
        )
    child.returncode = 0  # reaped above, with the orphans
    return child.pid


def _unblock_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


if __name__ == "__main__":
    main()
