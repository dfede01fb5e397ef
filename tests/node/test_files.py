"""Files that virt-handler makes in a launcher's container, where all else is the tenant's."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from virtpod.domain.paths import QEMU_UID
from virtpod.domain.steps import MakeOwn
from virtpod.node.peer import Peer
from virtpod.node.steps import carry_out

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root")

NAME = "disk.img"


@pytest.fixture
def process() -> Iterator[Peer]:
    """A process whose root folder is ours."""
    made = Peer(os.getpid(), os.pidfd_open(os.getpid()))
    yield made
    made.close()


def test_a_disk_is_made_the_guest_s_and_left_so(tmp_path: Path, process: Peer) -> None:
    step = MakeOwn(str(tmp_path), NAME, QEMU_UID)
    carry_out([step], process)
    made = tmp_path / NAME
    found = made.stat()
    assert (found.st_uid, found.st_gid, found.st_size) == (QEMU_UID, QEMU_UID, 0)
    assert found.st_mode & 0o777 == 0o660
    made.write_bytes(b"the guest's")
    carry_out([step], process)
    assert made.read_bytes() == b"the guest's"


def test_what_is_there_already_keeps_its_owner(tmp_path: Path, process: Peer) -> None:
    (tmp_path / NAME).write_bytes(b"root's")
    (tmp_path / NAME).chmod(0o600)
    carry_out([MakeOwn(str(tmp_path), NAME, QEMU_UID)], process)
    found = (tmp_path / NAME).stat()
    assert (found.st_uid, found.st_mode & 0o777) == (0, 0o600)


def test_no_link_is_followed(tmp_path: Path, process: Peer) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    for target in ("../outside/made", str(outside / "made"), "/etc/shadow"):
        (folder / NAME).symlink_to(target)
        carry_out([MakeOwn(str(folder), NAME, QEMU_UID)], process)
        assert (folder / NAME).is_symlink()
        (folder / NAME).unlink()
    assert not list(outside.iterdir())
    assert Path("/etc/shadow").stat().st_uid == 0
    (tmp_path / "link").symlink_to(outside)
    with pytest.raises(OSError, match="symbolic links"):
        carry_out([MakeOwn(str(tmp_path / "link"), NAME, QEMU_UID)], process)
    assert not list(outside.iterdir())


def test_a_folder_that_is_swapped_for_a_link_leads_nowhere(tmp_path: Path, process: Peer) -> None:
    outside, place = tmp_path / "outside", tmp_path / "place"
    outside.mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(outside)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for name in ("folder", "link"):
                os.rename(tmp_path / name, place)
                os.rename(place, tmp_path / name)

    (other := threading.Thread(target=swap)).start()
    try:
        for _ in range(300):
            try:
                carry_out([MakeOwn(str(place), NAME, QEMU_UID)], process)
            except OSError:
                continue  # the link stood there, or nothing
    finally:
        stop.set()
        other.join()
    assert not list(outside.iterdir())
