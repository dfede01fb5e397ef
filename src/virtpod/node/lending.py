"""Devices of this node that come to a guest while it runs: what its pods were given of them, and
the end of these pods.

The kubelet says which device a pod was given; what stands in the pod's container proves nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from virtpod.domain.attributes import SHAPES
from virtpod.node.devices import holders
from virtpod.node.devices.look import Look
from virtpod.node.peer import Peer, in_pod
from virtpod.node.steps import loans

PROC = Path("/proc")
KEEPER = "sleep"
"""The program of such a pod (`render.attachment.device_pod`)."""


class NotThere(Exception):
    """What a pod was given is not known (yet), or is not on this node."""


@dataclass(frozen=True)
class Lent:
    """A unit of a resource. `addresses`: kind (pci, mdev or usb) and address of each device in it;
    `nodes`: numbers of its device nodes by their paths below /dev."""

    addresses: tuple[tuple[str, str], ...]
    nodes: Mapping[str, int]


class Lender:
    """Asked when a device is to be plugged in. `look`: the node's devices as last seen."""

    def __init__(self, look: Callable[[], Look], pod_resources: Path, dev: Path) -> None:
        self._look = look
        self._pod_resources = pod_resources
        self._dev = dev

    async def given(self, namespace: str, pod: str, resource: str) -> Lent:
        """What the kubelet gave a pod of a resource. Raises NotThere, OSError."""
        told = await holders.of_pods(self._pod_resources)
        for each in told or ():
            if (each.namespace, each.pod, each.resource) == (namespace, pod, resource):
                addresses, nodes = self._look().unit(each)
                if not nodes:
                    raise NotThere(f"device {each.id} of pod {pod} is none that guests can have")
                numbers = {}
                for node in nodes:
                    path = node.removeprefix("/dev/")
                    numbers[path] = (self._dev / path).stat().st_rdev
                return Lent(tuple((_kind(address), address) for address in addresses), numbers)
        raise NotThere(f"the kubelet does not tell which device of {resource} it gave pod {pod}")


def _kind(address: str) -> str:
    return next((kind for kind, shape in SHAPES.items() if shape.fullmatch(address)), "usb")


def there(process: Peer) -> frozenset[str]:
    """The devices in the launcher's container; none where that cannot be told."""
    try:
        return loans.lent(process)
    except OSError:
        return frozenset()


async def give_back(pod_uid: str) -> None:
    """Ends the process of a pod that holds a device, and so the pod."""
    await asyncio.to_thread(_end, pod_uid)


def _end(pod_uid: str) -> None:
    for entry in PROC.iterdir():
        if not entry.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            handle = os.pidfd_open(int(entry.name))
            try:
                mine = in_pod((entry / "cgroup").read_text(), pod_uid)
                if mine and (entry / "comm").read_text().strip() == KEEPER:
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            finally:
                os.close(handle)
