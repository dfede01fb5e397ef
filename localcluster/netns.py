"""The cluster's network: a bridge in a namespace of its own, one cable from it to each machine.

Nothing is made in the host's namespace. Each node knows by a static route which node has which
pod addresses; so does the control plane, as the API server calls webhooks and extension API
servers at their pods' addresses.

Source: ip-netns(8), ip-link(8); Kubernetes' network model (every pod reaches every pod).
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from . import layout, linux

BRIDGE = "br0"
CABLE = "eth0"
FOLDER = Path("/run/netns")
SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    "net.ipv6.conf.all.forwarding": "1",
    # A pod that calls a Service and is answered by a neighbour on its own bridge needs this.
    "net.bridge.bridge-nf-call-iptables": "1",
    "net.bridge.bridge-nf-call-ip6tables": "1",
}
"""Of a node."""


def build_switch() -> None:
    if not layout.netns_path(layout.SWITCH).exists():
        _make(layout.SWITCH)
        _ip(layout.SWITCH, "link", "add", BRIDGE, "type", "bridge")
        _ip(layout.SWITCH, "link", "set", BRIDGE, "up")
        # Frames between machines are no business of the firewall hooks.
        _sysctl(layout.SWITCH, "net.bridge.bridge-nf-call-iptables", "0")
        _sysctl(layout.SWITCH, "net.bridge.bridge-nf-call-ip6tables", "0")


def folder_is_mounted() -> bool:
    """ip-netns(8) mounts its folder on itself, so that namespaces show in every mount namespace."""
    return os.path.ismount(FOLDER)


def unmount_folder() -> None:
    """Undo that, unless somebody else's namespaces are in it."""
    if folder_is_mounted() and not any(FOLDER.iterdir()):
        subprocess.run(["umount", str(FOLDER)], check=True)
        FOLDER.rmdir()


def plug(machine: str, address: str, address6: str) -> None:
    """A fresh network namespace for `machine`, plugged into the switch."""
    unplug(machine)
    _make(machine)
    far_end = f"v-{machine}"[:15]
    _ip(
        *(layout.SWITCH, "link", "add", far_end, "type", "veth"),
        *("peer", "name", CABLE, "netns", layout.netns(machine)),
    )
    _ip(layout.SWITCH, "link", "set", far_end, "master", BRIDGE, "up")
    for words in plumbing(machine, address, address6):
        _ip(machine, *words)
    for name, value in SYSCTLS.items() if machine != layout.CONTROL_PLANE else ():
        _sysctl(machine, name, value)


def plumbing(machine: str, address: str, address6: str) -> Iterator[tuple[str, ...]]:
    """What ip(8) is to be told where the cable is in: addresses, then routes."""
    yield "address", "add", f"{address}/{layout.SUBNET_BITS}", "dev", CABLE
    yield "link", "set", CABLE, "up"
    # nodad: there at once
    yield "address", "add", f"{address6}/{layout.SUBNET6_BITS}", "dev", CABLE, "nodad"
    for node in layout.ALL_NODES:
        if node.name != machine:
            yield "route", "add", node.pod_cidr, "via", node.address
            yield "route", "add", node.pod_cidr6, "via", node.address6
    if machine == layout.CONTROL_PLANE:
        # Some node's kube-proxy translates what the API server sends to a Service.
        first = layout.ALL_NODES[0]
        yield "route", "add", layout.SERVICE_CIDR, "via", first.address
        yield "route", "add", layout.SERVICE_CIDR6, "via", first.address6
    else:
        # A Service's address must be routable for a packet to reach kube-proxy's output hook.
        yield "route", "add", "default", "via", layout.CONTROL_PLANE_IP
        yield "route", "add", "default", "via", layout.CONTROL_PLANE_IP6


def plug_tap(name: str) -> None:
    """A tap device in the switch's namespace, for a machine that is a virtual one."""
    unplug_tap(name)
    _ip(layout.SWITCH, "tuntap", "add", "dev", name, "mode", "tap")
    _ip(layout.SWITCH, "link", "set", name, "master", BRIDGE, "up")


def unplug_tap(name: str) -> None:
    if layout.netns_path(layout.SWITCH).exists():
        _ip(layout.SWITCH, "link", "delete", name, check=False)


def unplug(machine: str) -> None:
    if layout.netns_path(machine).exists():
        # The namespace itself lasts as long as a process in it: take the cable out at once.
        _ip(layout.SWITCH, "link", "delete", f"v-{machine}"[:15], check=False)
        subprocess.run(["ip", "netns", "delete", layout.netns(machine)], check=True)


def left() -> list[str]:
    """Names of the namespaces that are there, without the prefix."""
    prefix = layout.PREFIX + "-"
    found = sorted(FOLDER.glob(prefix + "*")) if FOLDER.exists() else []
    return [path.name.removeprefix(prefix) for path in found]


def _make(machine: str) -> None:
    subprocess.run(["ip", "netns", "add", layout.netns(machine)], check=True)
    _ip(machine, "link", "set", "lo", "up")


def _ip(machine: str, *arguments: str, check: bool = True) -> None:
    command = ["ip", "-netns", layout.netns(machine), *arguments]
    subprocess.run(command, check=check, capture_output=True, text=True)


def _sysctl(machine: str, name: str, value: str) -> None:
    file = Path("/proc/sys") / name.replace(".", "/")
    with linux.within_netns(layout.netns_path(machine)):
        if file.exists() and file.read_text().strip() != value:
            file.write_text(value)
