"""What a launcher pod needs of its node before the guest starts: its network, made ready in the
pod's own namespace, and files."""

from __future__ import annotations

import asyncio
import os

from pyroute2.netlink.exceptions import NetlinkError

from virtpod.api.vmi import VirtualMachineInstance
from virtpod.domain.facts import Host
from virtpod.node import facts
from virtpod.node.peer import Peer
from virtpod.node.steps import carry_out, netns
from virtpod.render import host
from virtpod.wire.messages import Link

__all__ = ["NetlinkError", "discard", "prepare"]


async def prepare(known: Host, process: Peer, vmi: VirtualMachineInstance) -> list[Link]:
    """Carries out the host steps in the namespace of the launcher's process. Can be repeated.
    `known`: what does not lie in that namespace.

    Raises OSError (nft's words, a refused namespace), NetlinkError, ValueError.
    """
    if not vmi.spec.domain.devices.interfaces:
        await asyncio.to_thread(carry_out, host.host(vmi, known), process)
        return []
    namespace = netns.of(process.pid)
    try:
        process.check_alive()  # so that the namespace is its own, and not a successor's
        return await netns.inside(namespace, lambda: _make(known, process, vmi))
    finally:
        os.close(namespace)


async def discard(process: Peer, vmi: VirtualMachineInstance) -> None:
    """Clears away what is left of networks that the guest has left. Raises as `prepare`."""
    steps = host.leftovers(vmi)
    if not steps:
        return
    namespace = netns.of(process.pid)
    try:
        process.check_alive()
        await netns.inside(namespace, lambda: carry_out(steps))
    finally:
        os.close(namespace)


def _make(known: Host, process: Peer, vmi: VirtualMachineInstance) -> list[Link]:
    found = facts.probe(known, vmi)
    carry_out(host.host(vmi, found), process)
    return host.links(vmi, found)
