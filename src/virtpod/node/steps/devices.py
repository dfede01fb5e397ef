"""Device nodes of a launcher: they belong to the user that runs QEMU.

The runtime makes the nodes with the node's owner and mode, often root and 0600. They are the
container's own, so changing the owner changes nothing on the node. They are opened beneath the
container's root without following links, and must be the very device.
"""

from __future__ import annotations

import os
import stat

from virtpod.node.peer import Peer
from virtpod.node.safepath import beneath

NODES = {
    "dev/kvm": (10, 232),
    "dev/vhost-net": (10, 238),
    "dev/net/tun": (10, 200),
}
"""Path below the container's root: major and minor number (kernel's devices.txt)."""


def hand_over(process: Peer, owner: int) -> None:
    """Gives the devices that the process's container has to `owner`."""
    root = os.open(f"/proc/{process.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        process.check_alive()  # so that the root is its own, and not a successor's
        for path, numbers in NODES.items():
            try:
                with beneath(root, path) as handle:
                    _give(handle, numbers, owner)
            except FileNotFoundError:
                continue
    finally:
        os.close(root)


def _give(handle: int, numbers: tuple[int, int], owner: int) -> None:
    found = os.fstat(handle)
    device = (os.major(found.st_rdev), os.minor(found.st_rdev))
    if not stat.S_ISCHR(found.st_mode) or device != numbers:
        raise OSError(f"a launcher's device {numbers} is something else: {device}")
    if found.st_uid != owner:
        os.chown(f"/proc/self/fd/{handle}", owner, owner)
