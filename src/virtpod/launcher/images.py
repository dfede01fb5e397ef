"""Disk images that come from outside: found and looked at without trusting them.

An image volume or a side-car's root folder is a tenant's: the disk in it is opened beneath an open
handle of that folder, so neither `..` nor a link leads out of it; it must be a regular file; its
header is read with a bound, and an image that names another file is refused.

qcow2: https://gitlab.com/qemu-project/qemu/-/blob/master/docs/interop/qcow2.rst
openat2: https://man7.org/linux/man-pages/man2/openat2.2.html
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import stat
import struct

from virtpod.domain import paths
from virtpod.domain.facts import DiskImage
from virtpod.launcher.inotify import appears

SYS_OPENAT2 = 437
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10
DEFAULT_FOLDER = "disk"
HANDOVER_TIMEOUT = 60
"""Seconds that a side-car may take to come up."""

FOREIGN = (
    (0, b"KDMV", "a VMDK image"),
    (0, b"COWD", "a VMDK image"),
    (0, b"# Disk DescriptorFile", "the description of a VMDK image"),
    (0, b"vhdxfile", "a VHDX image"),
    (0, b"conectix", "a VHD image"),
    (64, b"\x7f\x10\xda\xbe", "a VDI image"),
    (0, b"QED\0", "a QED image"),
    (0, b"WithoutFreeSpace", "a Parallels image"),
    (0, b"\x1f\x8b\x08", "compressed by gzip"),
    (0, b"\xfd7zXZ\0", "compressed by xz"),
    (0, b"\x28\xb5\x2f\xfd", "compressed by zstd"),
    (0, b"BZh", "compressed by bzip2"),
    (0, b"PK\x03\x04", "a zip archive"),
)
"""Beginnings (offset, bytes) of what a guest could make nothing of were it taken for a raw disk."""

_libc = ctypes.CDLL(None, use_errno=True)


class ImageInvalid(Exception):
    """The image cannot back a disk; the text says why and what to do."""

    reason = "ContainerDiskInvalid"


def open_in_root(root: int, path: str, flags: int) -> int:
    """Opens `path` as if `root` (a folder's descriptor) were the root folder. Raises OSError."""
    return _open(root, path, flags, 0, RESOLVE_IN_ROOT)


def open_beneath(folder: int, path: str, flags: int, mode: int = 0) -> int:
    """Opens, or makes, `path` in `folder`, which no link leads out of. Raises OSError."""
    return _open(folder, path, flags, mode, RESOLVE_BENEATH)


def _open(folder: int, path: str, flags: int, mode: int, resolve: int) -> int:
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, mode, resolve | RESOLVE_NO_MAGICLINKS)
    opened: int = _libc.syscall(
        SYS_OPENAT2, folder, os.fsencode(path), how, ctypes.c_size_t(len(how))
    )
    if opened < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return opened


def find(root: int, volume: str, path: str | None) -> int:
    """A descriptor of the disk in the image: at `path`, or the only file in /disk."""
    try:
        opened = open_in_root(root, path or _only_file(root, volume), os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise ImageInvalid(
            f"the image of volume {volume} has no file {path}: {error.strerror}"
        ) from None
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise ImageInvalid(f"{path or '/disk'} in the image of volume {volume} is no regular file")
    return opened


def _only_file(root: int, volume: str) -> str:
    try:
        folder = open_in_root(root, DEFAULT_FOLDER, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        raise ImageInvalid(
            f"the image of volume {volume} holds no disk: it has no folder /disk; "
            "put one disk image there, or name it by containerDisk.path"
        ) from None
    try:
        names = os.listdir(folder)
    finally:
        os.close(folder)
    if len(names) != 1:
        raise ImageInvalid(
            f"the image of volume {volume} must hold exactly one file in /disk, it has {len(names)}"
        )
    return f"{DEFAULT_FOLDER}/{names[0]}"


def inspect(opened: int, path: str, volume: str) -> DiskImage:
    """Format and virtual size of an open image. Raises ImageInvalid for what is not to be used."""
    head = os.pread(opened, 104, 0)
    size = os.fstat(opened).st_size
    if head[:4] != b"QFI\xfb":
        if size == 0:
            raise ImageInvalid(f"the disk of volume {volume} is empty")
        for at, mark, what in FOREIGN:
            if head[at : at + len(mark)] == mark:
                raise ImageInvalid(
                    f"the disk of volume {volume} is {what}: put a raw or a qcow2 image into the "
                    "container image, as qemu-img convert makes it"
                )
        return DiskImage(path, "raw", size)
    if len(head) < 72:
        raise ImageInvalid(f"the disk of volume {volume} is a truncated qcow2 image")
    version, backing = struct.unpack_from(">IQ", head, 4)
    (virtual_size,) = struct.unpack_from(">Q", head, 24)
    incompatible = struct.unpack_from(">Q", head, 72)[0] if version >= 3 and len(head) >= 80 else 0
    if version not in (2, 3):
        raise ImageInvalid(f"the disk of volume {volume} is a qcow image of version {version}")
    if backing:
        raise ImageInvalid(
            f"the disk of volume {volume} has a backing file; flatten it with qemu-img convert"
        )
    if incompatible & 0b100:
        raise ImageInvalid(
            f"the disk of volume {volume} keeps its data in another file; "
            "flatten it with qemu-img convert"
        )
    return DiskImage(path, "qcow2", virtual_size)


async def container_disk(index: int, volume: str, path: str | None) -> DiskImage:
    """The disk of a containerDisk volume; its descriptor stays open, so that its path stays valid.

    Where the image is mounted it is found there; else the volume's side-car hands out its root.
    Raises ImageInvalid; OSError where the image is not in the pod (yet).
    """
    mounted = paths.image_volume(index)
    if os.path.isdir(mounted):
        root = os.open(mounted, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    else:
        root = await _handed_over(paths.container_disk_socket(index), volume)
    try:
        opened = find(root, volume, path)
    finally:
        os.close(root)
    # QEMU runs under our user and in our namespaces: it opens the very file that was looked at.
    name = f"/proc/{os.getpid()}/fd/{opened}"
    try:
        return inspect(opened, name, volume)
    except ImageInvalid:
        os.close(opened)
        raise


def kernel(path: str, what: str) -> str:
    """A path by which QEMU can open a file of the kernel's image; it stays open. Raises
    ImageInvalid."""
    root = os.open(paths.KERNEL_BOOT, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        opened = open_in_root(root, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise ImageInvalid(
            f"the image of kernelBoot has no {what} {path}: {error.strerror}"
        ) from None
    finally:
        os.close(root)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise ImageInvalid(f"the {what} {path} in the image of kernelBoot is no regular file")
    return f"/proc/{os.getpid()}/fd/{opened}"


async def _handed_over(path: str, volume: str) -> int:
    """The root folder of a side-car, by its socket."""
    if not os.path.isdir(os.path.dirname(path)):
        raise OSError(
            f"the image of volume {volume} is neither mounted in this pod nor served by a container"
        )
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(HANDOVER_TIMEOUT):
            await appears(path)
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
                peer.setblocking(False)
                await loop.sock_connect(peer, path)
                return await _receive_descriptor(peer)
    except TimeoutError:
        raise OSError(
            f"the container of volume {volume} did not come up in {HANDOVER_TIMEOUT} s"
        ) from None


def _fulfil(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _receive_descriptor(peer: socket.socket) -> int:
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[None] = loop.create_future()
    loop.add_reader(peer, _fulfil, readable)
    try:
        await readable
    finally:
        loop.remove_reader(peer)
    _, descriptors, _, _ = socket.recv_fds(peer, 1, 1)
    if not descriptors:
        raise ConnectionError("the side-car closed without handing over its folder")
    os.set_inheritable(descriptors[0], False)
    return descriptors[0]
