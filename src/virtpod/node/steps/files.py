"""Files in a launcher's container that only root can make there."""

from __future__ import annotations

import os

from virtpod.domain.steps import MakeOwn
from virtpod.node.peer import Peer
from virtpod.node.safepath import beneath
from virtpod.node.steps.mounts import seen_from_outside

MODE = 0o660


def make_own(step: MakeOwn, process: Peer) -> None:
    """The file is made here or it is none of ours: what is there already keeps its owner.

    Raises OSError, with the file's name in the container.
    """
    # /var/run is a link to /run in the container, and links are not followed.
    folder = step.folder.removeprefix("/var/").lstrip("/")
    with (
        seen_from_outside(process) as root,
        beneath(root, folder, os.O_RDONLY | os.O_DIRECTORY) as place,
    ):
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            made = os.open(step.name, flags, 0o600, dir_fd=place)
        except FileExistsError:
            return
        try:
            os.fchmod(made, MODE)
            os.fchown(made, step.owner, step.owner)
        finally:
            os.close(made)
