"""Up, down and status: what is there is compared with what is wanted, and only the rest is made.

`up` on a running cluster asks whether all is well and returns; with more nodes wanted it adds
them; a machine that crashed is booted again with the data it had.
"""

import contextlib
import fcntl
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from . import (
    addons,
    build,
    certs,
    cgroups,
    controlplane,
    images,
    layout,
    loops,
    machine,
    netns,
    relay,
)
from . import node as nodes
from .api import Api, Object, Refused
from .progress import Failed, say, step, until
from .state import State, load

CONTROL_PLANE_SECONDS = 120
NODE_SECONDS = 120
NODES_PATH = "/api/v1/nodes"


@dataclass(frozen=True, slots=True)
class Status:
    """What was found, in the order of what depends on what."""

    machines: dict[str, bool]
    relays: dict[str, bool]
    api: str
    nodes_ready: dict[str, bool]
    dns: bool

    @property
    def healthy(self) -> bool:
        parts = (*self.machines.values(), *self.relays.values(), *self.nodes_ready.values())
        return self.api == "ok" and bool(self.nodes_ready) and all(parts) and self.dns


def up(count: int, forwards: tuple[int, ...] = ()) -> None:
    """A cluster with at least `count` ready nodes; ports to forward are added to those there."""
    with _alone():
        build.install_packages()
        build.build()
        state = load()
        wanted = sorted({*layout.ALL_NODES[:count], *state.nodes}, key=lambda each: each.number)
        new = [each for each in wanted if not state.alive(each.name)]
        if not state.alive(layout.CONTROL_PLANE):
            _start_control_plane(state)
        _relay_to_api(state)
        api = Api(layout.ADMIN_KUBECONFIG)
        _wait_for_api(api)
        booted: dict[str, str] = {}
        if new:
            build.load_kernel_modules()
            for each in new:
                booted[each.name] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                _start_node(each, state)
        archives = [image.archive for image in images.ALL]
        for each in wanted:
            _import(each, archives, state)
        _wait_for_nodes(wanted, booted, api)
        _forward(wanted, forwards, state)
        if new or not addons.dns_ready(api):
            addons.apply(api)
            with step("waiting for cluster DNS"):
                logs = nodes.logs(wanted[0])
                until("CoreDNS", lambda: addons.dns_ready(api), seconds=NODE_SECONDS, logs=logs)
        names = ", ".join(each.name for each in wanted)
        say(f"cluster is up: {names}; KUBECONFIG={layout.KUBECONFIG}")


def down() -> None:
    """Take away what this checkout's `up` made, whatever of it is there."""
    with _alone():
        state = load()
        for name in list(state.relays):
            relay.stop(name, state)
        for name in state.machines:
            machine.crash(name, state)
        cgroups.remove()
        loops.detach_all()
        # The switch goes last: the others' cables end in it.
        for name in sorted(netns.left(), key=lambda each: each == layout.SWITCH):
            netns.unplug(name)
        if state.mounted_netns:
            netns.unmount_folder()
        shutil.rmtree(layout.CLUSTER, ignore_errors=True)
        layout.KUBECONFIG.unlink(missing_ok=True)
    say("nothing of the cluster is left")


def status() -> Status:
    state = load()
    found, ready, dns = "not running", {}, False
    if layout.ADMIN_KUBECONFIG.exists() and state.alive(layout.CONTROL_PLANE):
        api = Api(layout.ADMIN_KUBECONFIG, timeout=5)
        try:
            found = api.text("/readyz")
            ready = {each["metadata"]["name"]: _is_ready(each) for each in _items(api, NODES_PATH)}
            dns = addons.dns_ready(api)
        except (OSError, Refused) as error:
            found = str(error)
    return Status(
        machines={name: process.alive for name, process in state.machines.items()},
        relays={name: process.alive for name, process in state.relays.items()},
        api=found,
        nodes_ready=ready,
        dns=dns,
    )


def import_images(archives: list[Path]) -> None:
    """Into every node's containerd, side by side; kubelets see them at once."""
    state = load()
    alive = [each for each in state.nodes if state.alive(each.name)]
    if not alive:
        raise Failed("no node is running")
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(lambda each: _import(each, archives, state), alive):
            pass


def crash(name: str) -> None:
    """A node dies at once, as by a power cut; the cluster finds out by itself."""
    state = load()
    if name not in state.machines:
        raise Failed(f"there is no {name}")
    machine.crash(name, state)


def within(name: str, command: list[str]) -> list[str]:
    """The command line that runs `command` within a running machine."""
    state = load()
    if not state.alive(name):
        raise Failed(f"{name} is not running; running are: {', '.join(state.machines) or 'none'}")
    return machine.enter(state.machines[name], command)


def _start_control_plane(state: State) -> None:
    with step("starting the control plane"):
        layout.LOGS.mkdir(parents=True, exist_ok=True)
        certs.control_plane()
        _stop_relays("api", state)
        state.mounted_netns |= not netns.folder_is_mounted()
        state.save()
        netns.build_switch()
        machine.start(controlplane.machine(), state)


def _relay_to_api(state: State) -> None:
    existing = state.relays.get("api")
    if existing and existing.alive:
        return
    listen = (relay.HERE, f"127.0.0.1:{state.api_port}")
    target = f"{layout.CONTROL_PLANE_IP}:{layout.API_PORT}"
    connect = (str(layout.netns_path(layout.CONTROL_PLANE)), target)
    state.api_port = relay.start("api", state, listen=listen, connect=connect)
    state.save()
    certs.admin_kubeconfig(state.api_port)


def _forward(wanted: list[layout.Node], ports: tuple[int, ...], state: State) -> None:
    for each in wanted:
        for port in ports:
            name = f"{each.name}-{port}"
            existing = state.relays.get(name)
            if existing and existing.alive:
                continue
            listen = (str(layout.netns_path(each.name)), f"127.0.0.1:{port}")
            relay.start(name, state, listen=listen, connect=(relay.HERE, f"127.0.0.1:{port}"))


def _stop_relays(prefix: str, state: State) -> None:
    """What a crashed machine listened on and was reached by went with its network namespace."""
    for name in [name for name in state.relays if name.startswith(prefix)]:
        relay.stop(name, state)


def _wait_for_api(api: Api) -> None:
    def ready() -> bool:
        try:
            return api.text("/readyz") == "ok"
        except (OSError, Refused):
            return False

    if ready():
        return
    logs = (controlplane.LOGS["kube-apiserver"], controlplane.LOGS["etcd"])
    with step("waiting for the API server"):
        until("the API server", ready, seconds=CONTROL_PLANE_SECONDS, logs=logs)


def _start_node(each: layout.Node, state: State) -> None:
    with step(f"starting {each.name}"):
        _stop_relays(f"{each.name}-", state)
        certs.node(each)
        machine.start(nodes.machine(each), state)
        logs = nodes.logs(each)
        pid = state.machines[each.name].pid
        socket = Path(f"/proc/{pid}/root/run/containerd/containerd.sock")
        until("containerd", socket.exists, seconds=30, logs=logs)


def _wait_for_nodes(wanted: list[layout.Node], booted: dict[str, str], api: Api) -> None:
    """`booted`: when each node that is new was started; it must have spoken since then."""
    found = {each["metadata"]["name"]: each for each in _items(api, NODES_PATH)}
    waiting = [
        each
        for each in wanted
        if not _is_ready(found.get(each.name, {}), booted.get(each.name, ""))
    ]
    if not waiting:
        return
    with step(f"waiting for {', '.join(each.name for each in waiting)}"):
        for each in waiting:
            _wait_for_node(each, api, booted.get(each.name, ""))


def join(each: layout.Node, *, seconds: float) -> None:
    """Wait until a node that somebody else boots is one of the cluster's, and ready."""
    _wait_for_node(each, Api(layout.ADMIN_KUBECONFIG), booted="", seconds=seconds)


def _wait_for_node(each: layout.Node, api: Api, booted: str, seconds: float = NODE_SECONDS) -> None:
    path = f"{NODES_PATH}/{each.name}"

    def registered() -> bool:
        try:
            if not api.get(path)["spec"].get("podCIDR"):
                both = [each.pod_cidr, each.pod_cidr6]
                cidrs = {"podCIDR": each.pod_cidr, "podCIDRs": both}
                api.patch(path, {"spec": cidrs})
        except Refused:
            return False
        return True

    logs = nodes.logs(each)
    until(f"{each.name}'s registration", registered, seconds=seconds, logs=logs)
    until(each.name, lambda: _is_ready(api.get(path), booted), seconds=seconds, logs=logs)


def _is_ready(each: Object, since: str = "") -> bool:
    """Says the node so itself, and not only before it crashed? Times are RFC 3339 in UTC."""
    conditions = each.get("status", {}).get("conditions", [])
    ready = [one for one in conditions if one["type"] == "Ready" and one["status"] == "True"]
    return any(one["lastHeartbeatTime"] >= since for one in ready)


def _items(api: Api, path: str) -> list[Object]:
    items: list[Object] = api.get(path)["items"]
    return items


def _import(each: layout.Node, archives: list[Path], state: State) -> None:
    """What the node has already, under that name and with that digest, is passed over."""
    present = {tuple(line.split()[::2][:2]) for line in _ctr(each, state, "list").splitlines()}
    for archive in archives:
        holds = images.contents(archive)
        if not holds or not holds <= present:
            _ctr(each, state, "import", str(archive.resolve()))


def _ctr(each: layout.Node, state: State, *words: str) -> str:
    ctr = [str(layout.BIN / "ctr"), "--namespace", "k8s.io", "images", *words]
    command = machine.enter(state.machines[each.name], ctr)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        log = nodes.log(each, "containerd")
        raise Failed(f"{each.name}: ctr images {' '.join(words)}: {done.stderr.strip()}", log)
    return done.stdout


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One `up` or `down` at a time in a checkout."""
    layout.LOCAL.mkdir(exist_ok=True)
    with (layout.LOCAL / "cluster.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
