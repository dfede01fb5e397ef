"""A launcher pod of this node, and the ways in which virt-handler deals with one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from virtpod.api.vmi import VirtualMachineInstance
from virtpod.controllers.node_seen import Guest, Json, Pod
from virtpod.domain import paths
from virtpod.domain.facts import Host
from virtpod.node import lending, network
from virtpod.node.launcher import Launcher
from virtpod.node.peer import Peer, peer
from virtpod.node.probe import Probe
from virtpod.node.steps.devices import hand_over
from virtpod.wire.messages import Allotted, Link


@dataclass(frozen=True)
class Place:
    """This node, as far as conversations with launchers need it."""

    node: str
    pods: Path
    probe: Probe
    owner: int = paths.QEMU_UID
    """The user that launchers run as."""


async def nothing_allotted(vmi: VirtualMachineInstance, pod: Pod) -> list[Allotted]:
    """Where nobody looks."""
    return []


async def nothing_lent(namespace: str, pod: str, resource: str) -> lending.Lent:
    """The same of devices that pods were given."""
    raise lending.NotThere(f"nobody tells what pod {pod} was given")


@dataclass(frozen=True)
class Ways:
    """How a listener is identified, given its devices, its network made, and found out which the
    devices of its resource claims are, and those that come while it runs; tests have others."""

    identify: Callable[[socket.socket, str, int], Peer] = peer
    hand_over: Callable[[Peer, int, bool], None] = hand_over
    prepare: Callable[[Host, Peer, VirtualMachineInstance], Awaitable[list[Link]]] = network.prepare
    discard: Callable[[Peer, VirtualMachineInstance], Awaitable[None]] = network.discard
    allotted: Callable[[VirtualMachineInstance, Pod], Awaitable[list[Allotted]]] = nothing_allotted
    lent: Callable[[str, str, str], Awaitable[lending.Lent]] = nothing_lent


@dataclass
class Attended:
    """A launcher pod of this node and everything known of its guest. Only tasks here change it."""

    pod: Pod
    guest: Guest = field(default_factory=Guest)
    fetched: Json | None = None
    raw: bytes = b""
    vmi_gone: bool = False
    launcher: Launcher | None = None
    process: Peer | None = None
    process_ended: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


def about(pod: Pod) -> dict[str, Any]:
    """Fields of a line in the log."""
    return {"vmi": f"{pod.namespace}/{pod.vmi_name}", "pod": pod.uid}
