"""Claims as a tenant may leave them: what is made in them, and what is not used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from virtpod.domain import paths
from virtpod.domain.facts import Blocks, DiskImage
from virtpod.launcher import blocks, claims

MIB = 1 << 20


def look(folder: Path, *, read_only: bool = False) -> DiskImage:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return claims.in_folder(handle, paths.claim_disk("data"), "data", read_only=read_only)
    finally:
        os.close(handle)


def test_a_disk_is_made_once_and_without_its_bytes(tmp_path: Path) -> None:
    assert look(tmp_path).size == 0
    claims.make(str(tmp_path), paths.DISK_FILE, 64 * MIB, 60 * MIB)
    made = tmp_path / paths.DISK_FILE
    assert (made.stat().st_size, made.stat().st_blocks) == (64 * MIB, 0)
    assert made.stat().st_mode & 0o777 == claims.MODE
    made.write_bytes(b"the guest's")
    claims.make(str(tmp_path), paths.DISK_FILE, 64 * MIB, 60 * MIB)
    assert made.read_bytes() == b"the guest's"
    found = look(tmp_path)
    assert (found.path, found.format) == (paths.claim_disk("data"), "raw")
    assert sorted(path.name for path in tmp_path.iterdir()) == [paths.DISK_FILE]


def test_one_that_was_left_empty_is_finished(tmp_path: Path) -> None:
    (tmp_path / paths.DISK_FILE).touch()
    assert look(tmp_path).size == 0
    claims.make(str(tmp_path), paths.DISK_FILE, MIB, MIB)
    assert look(tmp_path).size == MIB


def test_no_link_leads_out_of_the_claim(tmp_path: Path) -> None:
    folder, outside = tmp_path / "claim", tmp_path / "outside"
    folder.mkdir()
    outside.write_bytes(b"secret")
    for target in (outside, Path("../outside"), Path("/proc/self/exe")):
        (folder / paths.DISK_FILE).symlink_to(target)
        with pytest.raises(claims.ClaimInvalid, match="cannot be used"):
            look(folder)
        with pytest.raises(OSError, match="cross-device"):
            claims.make(str(folder), paths.DISK_FILE, MIB, MIB)
        (folder / paths.DISK_FILE).unlink()
    assert outside.read_bytes() == b"secret"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / paths.DISK_FILE).mkdir()
    with pytest.raises(claims.ClaimInvalid):
        look(tmp_path)
    (tmp_path / paths.DISK_FILE).rmdir()
    os.mkfifo(tmp_path / paths.DISK_FILE)
    with pytest.raises(claims.ClaimInvalid, match="no regular file"):
        look(tmp_path)


def test_nothing_is_made_in_a_claim_that_is_only_read(tmp_path: Path) -> None:
    with pytest.raises(claims.ClaimInvalid, match="and none can be made"):
        look(tmp_path, read_only=True)
    assert not list(tmp_path.iterdir())


def test_too_little_room_is_said_with_figures(tmp_path: Path) -> None:
    with pytest.raises(claims.ClaimInvalid, match="no room for its disk of 1073741824 MiB"):
        claims.make(str(tmp_path), paths.DISK_FILE, 1 << 50, 1 << 49)


def test_a_disk_of_the_node_is_looked_at_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "claim_folder", lambda volume: str(tmp_path))
    with pytest.raises(claims.ClaimInvalid, match=r"no disk root.raw .* type DiskOrCreate"):
        claims.look_at_host("data", "root.raw", made=False, read_only=False)
    assert claims.look_at_host("data", "root.raw", made=True, read_only=False).size == 0
    (tmp_path / "root.raw").write_bytes(bytes(4096))
    found = claims.look_at_host("data", "root.raw", made=False, read_only=True)
    assert (found.path, found.size) == (f"{tmp_path}/root.raw", 4096)
    (tmp_path / "link.raw").symlink_to("/etc/passwd")
    with pytest.raises(claims.ClaimInvalid, match="cannot be used"):
        claims.look_at_host("data", "link.raw", made=False, read_only=False)


@pytest.mark.parametrize(("told", "percent"), [("", 10), ("25", 25), ("-1", 10), ("101", 10)])
def test_what_a_disk_may_lack_is_told_by_the_controller(
    told: str, percent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(paths.TOLERANCE, told)
    assert claims.tolerance() == percent


def test_a_disk_grows_with_its_claim_and_never_shrinks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "claim_folder", lambda volume: str(tmp_path))
    disk = tmp_path / paths.DISK_FILE
    disk.write_bytes(b"the guest's")
    os.truncate(disk, 8 * MIB)
    assert claims.could_be("data", 12 * MIB, hotplugged=False) == 12 * MIB
    claims.grow(str(tmp_path), paths.DISK_FILE, 12 * MIB)
    assert (disk.stat().st_size, disk.read_bytes()[:11]) == (12 * MIB, b"the guest's")
    for most in (4 * MIB, 12 * MIB + 8192, 0):
        claims.grow(str(tmp_path), paths.DISK_FILE, most)
        assert disk.stat().st_size == 12 * MIB
    room = os.statvfs(tmp_path)
    free = room.f_bavail * room.f_frsize
    assert 12 * MIB < claims.could_be("data", 1 << 60, hotplugged=False) <= free + 12 * MIB
    (tmp_path / "outside").touch()
    disk.unlink()
    disk.symlink_to("/etc/hostname")
    with pytest.raises(OSError, match="cross-device"):
        claims.grow(str(tmp_path), paths.DISK_FILE, 12 * MIB)


def test_blocks_are_those_of_what_is_below(tmp_path: Path) -> None:
    size = os.statvfs(tmp_path).f_bsize
    (tmp_path / "disk").touch()
    for place in (tmp_path / "disk", tmp_path / "yet" / "to" / "be" / "made"):
        assert blocks.look(str(place)) == Blocks(size, size)


@pytest.mark.parametrize(
    ("said", "taken"), [(512, 512), (4096, 4096), (0, 512), (3000, 512), (1 << 30, 2 * MIB)]
)
def test_no_block_is_of_a_size_that_qemu_does_not_take(said: int, taken: int) -> None:
    assert blocks._sane(said) == taken
