"""Hot-plugged volumes on their node: which are in a launcher's container, and how they come there.

Their claims are in attachment pods, whose uid virt-controller notes in the VMI's status. A process
of such a pod is found by its cgroup, as a launcher's is.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from virtpod.domain import paths
from virtpod.node.peer import Peer, in_pod
from virtpod.node.steps import mounts

PROC = Path("/proc")


class NotThere(Exception):
    """The attachment pod has no process here that holds the volume (yet)."""


def there(process: Peer) -> frozenset[str]:
    """The volumes in the launcher's container; none where that cannot be told."""
    try:
        return mounts.there(process)
    except OSError:
        return frozenset()


async def bring(volume: str, pod_uid: str, launcher: Peer, owner: int) -> None:
    """From the attachment pod into the launcher's container. Raises NotThere, OSError."""
    holder = _holder(pod_uid, volume)
    try:
        await mounts.bring(volume, holder, launcher, owner)
    finally:
        holder.close()


async def take_away(volumes: Iterable[str], launcher: Peer) -> None:
    """Raises OSError."""
    for volume in volumes:
        await mounts.take_away(volume, launcher)


def _holder(pod_uid: str, volume: str) -> Peer:
    """A process of the pod in whose container the volume is."""
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if not in_pod((entry / "cgroup").read_text(), pod_uid):
                continue
            found = Peer(int(entry.name), os.pidfd_open(int(entry.name)))
            mine = in_pod((entry / "cgroup").read_text(), pod_uid)
            place = f"{entry}/root{paths.attachment(volume)}"
            if mine and os.path.lexists(place):
                return found
            found.close()
    raise NotThere(f"pod {pod_uid} does not hold volume {volume} on this node")
