"""The Debian guest's disk: started by BIOS or EFI, then a kernel, a small initramfs, and systemd.

Two partitions: FAT with the kernel, which syslinux starts from a BIOS and systemd-boot from EFI,
and ext4 with the root file system. Nothing is mounted to make them: mke2fs takes the files out of a
tar archive, whose order and times depend on the content alone. The initramfs holds busybox and the
drivers of disks; Debian's own would cost ten seconds under emulation to do the same.

Source: mke2fs(8), option -d; the Boot Loader Specification, type 1; syslinux(1).
"""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from images import debian, layers
from images.guest import build as guest
from images.guest.build import Entry

NAME = "debian-guest"
HERE = Path(__file__).parent
FILES = HERE / "root"
FINISH = HERE / "finish.sh"

TOOLS = ("busybox-static", "e2fsprogs", "libarchive13t64", "libc-bin", "systemd-boot-efi")
"""Beside those that the demo guest's disk is made with. mke2fs loads libarchive by itself."""
DRIVERS = ("virtio_blk", "virtio_scsi", "ahci", "ata_piix", "sd_mod", "sr_mod")
COMMAND_LINE = guest.COMMAND_LINE.replace(" panic=1", "").replace(" audit=0", "") + " rw"

MIB = 1 << 20
SPARE = 256 * MIB
"""Of the root file system; unwritten, it takes no room in the image."""
LABEL = "virtpod"
UUID = "7c0a1d4e-52f2-4d0b-9a3c-56495254504f"


def build(out: Path, work: Path, demo_work: Path) -> Path:
    """Write `disk.qcow2` into the folder `out`. The others keep what was unpacked."""
    root = debian.root(NAME, users=None, finish=FINISH)
    mine, tools = guest.tools(work, TOOLS), guest.tools(demo_work)
    stage = tools / "debian-stage"
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir()
    try:
        _boot_files(root, mine, stage)
        _root_file_system(root, mine, stage)
        _disk(tools, stage)
        out.mkdir(parents=True, exist_ok=True)
        partial = out / ".disk.qcow2"
        shutil.copy(stage / "disk.qcow2", partial)
        return partial.replace(out / "disk.qcow2")
    finally:
        shutil.rmtree(stage)


def key() -> str:
    """A hash of all that the disk is made of, except for the versions of Debian's packages."""
    return layers.hash_of(HERE, *debian.packages(NAME), guest.key(), Path(layers.__file__))


def _boot_files(root: Path, tools: Path, stage: Path) -> None:
    boot = stage / "boot"
    for folder in ("EFI/BOOT", "loader/entries"):
        (boot / folder).mkdir(parents=True)
    shutil.copy(next((root / "boot").glob("vmlinuz-*")), boot / "vmlinuz")
    guest.write_cpio(boot / "initrd", _initramfs(root, tools))
    (boot / "syslinux.cfg").write_text(
        "default linux\nprompt 0\ntimeout 0\n"
        f"label linux\nkernel vmlinuz\ninitrd initrd\nappend {COMMAND_LINE}\n"
    )
    shutil.copy(
        tools / "usr/lib/systemd/boot/efi/systemd-bootx64.efi", boot / "EFI/BOOT/BOOTX64.EFI"
    )
    (boot / "loader/loader.conf").write_text("timeout 0\n")
    (boot / "loader/entries/debian.conf").write_text(
        f"title Debian\nlinux /vmlinuz\ninitrd /initrd\noptions {COMMAND_LINE}\n"
    )


def _initramfs(root: Path, tools: Path) -> Iterator[Entry]:
    for folder in ("bin", "dev", "proc", "root", "sys", "usr", "usr/lib"):
        yield Entry(folder, stat.S_IFDIR | 0o755)
    yield Entry("lib", stat.S_IFLNK | 0o777, b"usr/lib")
    yield Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    yield Entry("init", stat.S_IFREG | 0o755, (HERE / "init").read_bytes())
    busybox = next(p for p in (tools / "usr/bin/busybox", tools / "bin/busybox") if p.exists())
    yield Entry("bin/busybox", stat.S_IFREG | 0o755, busybox.read_bytes())
    for applet in ("sh", "mount", "umount", "modprobe", "seq", "findfs", "sleep", "switch_root"):
        yield Entry(f"bin/{applet}", stat.S_IFLNK | 0o777, b"busybox")
    yield from guest.modules(root, DRIVERS)


def _root_file_system(root: Path, tools: Path, stage: Path) -> None:
    """`root.ext4`: the packages' files and, over them, our own."""
    for file in sorted(FILES.rglob("*")):
        target = root / file.relative_to(FILES)
        if file.is_dir():
            target.mkdir(exist_ok=True)
        else:
            shutil.copy(file, target)
            target.chmod(0o644)
    place = tools / "debian-stage"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    archive, made = place / "root.tar", place / "root.ext4"
    with archive.open("wb") as stream:
        layers.write(root, stream)
    with made.open("wb") as image:
        image.truncate((archive.stat().st_size + SPARE) // MIB * MIB)
    guest.run(
        *(tools, "mke2fs", "-q", "-t", "ext4", "-L", LABEL, "-U", UUID, "-m", "0", "-J", "size=8"),
        *("-E", f"hash_seed={UUID},lazy_itable_init=0,nodiscard,assume_storage_prezeroed=1"),
        *("-d", "/debian-stage/root.tar", "/debian-stage/root.ext4"),
    )
    shutil.move(made, stage / "root.ext4")
    shutil.rmtree(place)


def _disk(tools: Path, stage: Path) -> None:
    """Both partitions, and the code before them that a BIOS starts."""
    boot = stage / "boot"
    size = sum(path.stat().st_size for path in boot.rglob("*") if path.is_file()) + 2 * MIB
    size += -size % MIB
    root = stage / "root.ext4"
    start = guest.PARTITION + size
    raw, inside = stage / "disk.raw", "/debian-stage/disk.raw"
    with raw.open("wb") as disk:
        disk.write((tools / "usr/lib/syslinux/mbr/mbr.bin").read_bytes()[: guest.MBR_CODE])
        disk.seek(446)
        disk.write(_partition(0x0E, guest.PARTITION, size, active=True))
        disk.write(_partition(0x83, start, root.stat().st_size))
        disk.seek(510)
        disk.write(b"\x55\xaa")
        disk.truncate(start + root.stat().st_size)
    at = ("-i", f"{inside}@@{guest.PARTITION}")
    guest.run(
        *(tools, "mkfs.vfat", "-F", "16", "-i", "56495255", "-n", "BOOT", "-h", "2048"),
        *("--offset", str(guest.PARTITION // guest.SECTOR), inside, str(size // 1024)),
    )
    for path in sorted(boot.rglob("*")):
        name = path.relative_to(boot)
        if path.is_dir():
            guest.run(tools, "mmd", *at, f"::{name}")
        else:
            guest.run(tools, "mcopy", *at, f"/debian-stage/boot/{name}", f"::{name}")
    guest.run(tools, "syslinux", "--install", "-t", str(guest.PARTITION), inside)
    guest.run(
        *(
            tools,
            "dd",
            "if=/debian-stage/root.ext4",
            f"of={inside}",
            "bs=1M",
            "conv=sparse,notrunc",
        ),
        *(f"seek={start // MIB}", "status=none"),
    )
    guest.run(
        *(tools, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c"),
        *("-o", "compression_type=zstd", inside, "/debian-stage/disk.qcow2"),
    )


def _partition(kind: int, start: int, size: int, active: bool = False) -> bytes:
    """One entry of the table, by sector numbers alone."""
    where = (start // guest.SECTOR).to_bytes(4, "little")
    count = (size // guest.SECTOR).to_bytes(4, "little")
    mark = b"\x80" if active else b"\0"
    return mark + b"\xfe\xff\xff" + bytes([kind]) + b"\xfe\xff\xff" + where + count
