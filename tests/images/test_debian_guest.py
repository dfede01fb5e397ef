"""The Debian guest's disk as a file; what it is as a machine is in tests/guest/test_debian.py."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from images import catalogue, debian
from images.debian_guest import build
from images.layers import Store

pytestmark = [pytest.mark.images, pytest.mark.timeout(900)]

LIMIT = 160 << 20


@pytest.fixture(scope="module")
def disk() -> Path:
    catalogue.DEBIAN_GUEST.build(Store())
    return catalogue.DEBIAN_GUEST_DISK


def test_it_is_one_qcow2_in_a_folder_of_a_size_that_travels(disk: Path) -> None:
    assert [path.name for path in disk.parent.iterdir()] == ["disk.qcow2"]
    assert disk.stat().st_size <= LIMIT
    magic, version, backing = struct.unpack(">4sIQ", disk.read_bytes()[:16])
    assert (magic, version, backing) == (b"QFI\xfb", 3, 0)


def test_nothing_in_it_is_of_the_machine_that_made_it(disk: Path) -> None:
    root = debian.root(build.NAME, users=None, finish=build.FINISH)
    assert not list((root / "etc/ssh").glob("ssh_host_*"))
    assert (root / "etc/machine-id").read_bytes() == b""
    assert not (root / "etc/apt").exists()  # the mirror, and a proxy perhaps
    assert not (root / "var/lib/systemd/random-seed").exists()


def test_the_key_follows_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = build.key()
    assert build.key() == before
    monkeypatch.setattr(build, "HERE", tmp_path)
    assert build.key() != before
