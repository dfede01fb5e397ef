"""Images are hostile: what is found in them, and what is not followed."""

from __future__ import annotations

import array
import asyncio
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from virtpod.domain import paths
from virtpod.domain.facts import DiskImage
from virtpod.launcher import images
from virtpod.launcher.images import ImageInvalid


def qcow2(version: int = 3, backing: int = 0, size: int = 5 << 30, incompatible: int = 0) -> bytes:
    """A header as qemu-img writes it, as far as it is looked at."""
    head = struct.pack(">4sIQIIQ", b"QFI\xfb", version, backing, 0, 16, size)
    return head.ljust(72, b"\0") + struct.pack(">QQQII", incompatible, 0, 0, 4, 104)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    (tmp_path / "image" / "disk").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"the node's own")
    return tmp_path / "image"


@pytest.fixture
def root(image: Path) -> Iterator[int]:
    opened = os.open(image, os.O_RDONLY | os.O_DIRECTORY)
    yield opened
    os.close(opened)


def content(opened: int) -> bytes:
    with os.fdopen(opened, "rb") as file:
        return file.read()


def test_the_only_file_is_the_disk(image: Path, root: int) -> None:
    (image / "disk" / "any.name").write_bytes(b"here")
    assert content(images.find(root, "v", None)) == b"here"


def test_the_disk_may_be_named(image: Path, root: int) -> None:
    (image / "a").write_bytes(b"here")
    (image / "disk" / "b").touch()
    assert content(images.find(root, "v", "/a")) == b"here"


@pytest.mark.parametrize("names", [(), ("a", "b")])
def test_none_or_several_are_no_disk(image: Path, root: int, names: tuple[str, ...]) -> None:
    for name in names:
        (image / "disk" / name).touch()
    with pytest.raises(ImageInvalid, match=f"exactly one file in /disk, it has {len(names)}"):
        images.find(root, "v", None)


def test_an_image_without_the_folder_is_told_what_to_do(image: Path, root: int) -> None:
    (image / "disk").rmdir()
    with pytest.raises(ImageInvalid, match=r"holds no disk: .* put one disk image there"):
        images.find(root, "v", None)


@pytest.mark.parametrize("target", ["../../secret", "/../secret", "{outside}/secret"])
def test_links_do_not_lead_out(image: Path, root: int, target: str) -> None:
    (image / "disk" / "d").symlink_to(target.format(outside=image.parent))
    with pytest.raises(ImageInvalid, match="No such file"):
        images.find(root, "v", None)


def test_a_folder_that_is_a_link_does_not_lead_out(image: Path, root: int) -> None:
    (image / "disk").rmdir()
    (image / "disk").symlink_to(image.parent)
    with pytest.raises(ImageInvalid):
        images.find(root, "v", None)


def test_nor_does_a_path_with_dots(root: int) -> None:
    with pytest.raises(ImageInvalid):
        images.find(root, "v", "/disk/../../secret")


def test_links_within_the_image_are_followed_as_in_its_container(image: Path, root: int) -> None:
    (image / "real").write_bytes(b"here")
    (image / "disk" / "d").symlink_to("/real")
    assert content(images.find(root, "v", None)) == b"here"


def test_the_kernels_own_links_are_not_followed(root: int) -> None:
    proc = os.open("/proc/self", os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(OSError, match="Too many levels"):
            images.open_in_root(proc, "root", os.O_RDONLY)
    finally:
        os.close(proc)


def test_what_is_no_file_is_no_disk(image: Path, root: int) -> None:
    os.mkfifo(image / "disk" / "d")
    with pytest.raises(ImageInvalid, match="no regular file"):
        images.find(root, "v", None)


def inspected(tmp_path: Path, head: bytes) -> DiskImage:
    file = tmp_path / "d"
    file.write_bytes(head)
    opened = os.open(file, os.O_RDONLY)
    try:
        return images.inspect(opened, "/there", "v")
    finally:
        os.close(opened)


def test_format_and_size_come_from_the_header(tmp_path: Path) -> None:
    assert inspected(tmp_path, qcow2()) == DiskImage("/there", "qcow2", 5 << 30)
    assert inspected(tmp_path, qcow2(version=2)) == DiskImage("/there", "qcow2", 5 << 30)
    assert inspected(tmp_path, b"\xeb" * 4096) == DiskImage("/there", "raw", 4096)


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (b"", "is empty"),
        (qcow2()[:60], "truncated"),
        (qcow2(version=1), "version 1"),
        (qcow2(version=9), "version 9"),
        (qcow2(backing=512), "has a backing file"),
        (qcow2(incompatible=0b100), "data in another file"),
        (qcow2(version=2, backing=1), "has a backing file"),
        (b"KDMV".ljust(512, b"\0"), "is a VMDK image"),
        (b"# Disk DescriptorFile\nversion=1", "of a VMDK image"),
        (b"vhdxfile".ljust(512, b"\0"), "is a VHDX image"),
        (b"<<< VirtualBox >>>".ljust(64, b"\0") + b"\x7f\x10\xda\xbe", "is a VDI image"),
        (b"\x1f\x8b\x08\0", "compressed by gzip"),
        (b"\xfd7zXZ\0", "compressed by xz"),
    ],
)
def test_images_that_name_other_files_or_are_broken_are_refused(
    tmp_path: Path, head: bytes, why: str
) -> None:
    with pytest.raises(ImageInvalid, match=why):
        inspected(tmp_path, head)


async def test_an_image_that_is_nowhere_is_not_there_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "IMAGE_VOLUMES", str(tmp_path / "none"))
    monkeypatch.setattr(paths, "CONTAINER_DISKS", str(tmp_path / "none"))
    with pytest.raises(OSError, match="volume v is neither mounted in this pod nor served"):
        await images.container_disk(0, "v", None)


async def test_a_mounted_image_is_used(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (image / "disk" / "d").write_bytes(qcow2())
    (tmp_path / "volumes").mkdir()
    image.rename(tmp_path / "volumes" / "disk_3")
    monkeypatch.setattr(paths, "IMAGE_VOLUMES", str(tmp_path / "volumes"))
    found = await images.container_disk(3, "v", None)
    assert (found.format, found.size) == ("qcow2", 5 << 30)
    assert Path(found.path).read_bytes() == qcow2()


async def test_a_side_car_hands_its_root_over_when_it_comes_up(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (image / "disk" / "d").write_bytes(qcow2(size=7))
    monkeypatch.setattr(paths, "IMAGE_VOLUMES", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)  # a socket's path has room for 107 bytes
    Path("socks").mkdir()
    monkeypatch.setattr(paths, "CONTAINER_DISKS", "socks")
    finding = asyncio.create_task(images.container_disk(0, "v", None))

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind("socks/new")
        server.listen()
        server.setblocking(False)
        os.rename("socks/new", "socks/disk_0.sock")
        async with asyncio.timeout(5):
            peer, _ = await asyncio.get_running_loop().sock_accept(server)
        handle = os.open(image, os.O_RDONLY | os.O_DIRECTORY)
        with peer:
            rights = array.array("i", [handle])
            peer.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        os.close(handle)
        async with asyncio.timeout(5):
            found = await finding
    assert found.size == 7


async def test_a_side_car_that_never_comes_up_is_waited_for_so_long_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "IMAGE_VOLUMES", str(tmp_path / "none"))
    monkeypatch.setattr(paths, "CONTAINER_DISKS", str(tmp_path))
    monkeypatch.setattr(images, "HANDOVER_TIMEOUT", 0.01)
    with pytest.raises(OSError, match="did not come up"):
        await images.container_disk(0, "v", None)


def test_a_disk_of_many_holes_is_as_large_as_it_says(tmp_path: Path) -> None:
    (tmp_path / "d").touch()
    os.truncate(tmp_path / "d", 1 << 40)
    with (tmp_path / "d").open("rb") as opened:
        assert images.inspect(opened.fileno(), "d", "v").size == 1 << 40
    assert (tmp_path / "d").stat().st_blocks == 0


@pytest.mark.parametrize("path", ["vmlinuz", "/boot/vmlinuz", "/real"])
def test_a_kernel_is_found_in_its_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    (tmp_path / "boot").mkdir()
    (tmp_path / "real").write_bytes(b"a kernel")
    for link in ("vmlinuz", "boot/vmlinuz"):
        (tmp_path / link).symlink_to("/real")  # as it is in the image's own container
    monkeypatch.setattr(paths, "KERNEL_BOOT", str(tmp_path))
    found = images.kernel(path, "kernel")
    assert Path(found).read_bytes() == b"a kernel"


@pytest.mark.parametrize("path", ["/out", "/up", "../secret", "/folder", "/pipe", "/none", "/fd"])
def test_a_kernel_is_nothing_but_a_file_of_its_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    image = tmp_path / "image"
    (image / "folder").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"the node's own")
    (image / "out").symlink_to(tmp_path / "secret")
    (image / "up").symlink_to("../secret")
    (image / "fd").symlink_to("/proc/self/fd/0")
    os.mkfifo(image / "pipe")
    monkeypatch.setattr(paths, "KERNEL_BOOT", str(image))
    with pytest.raises(images.ImageInvalid, match="kernelBoot"):
        images.kernel(path, "kernel")
