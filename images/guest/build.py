"""The demo guest: Debian's cloud kernel and a busybox root as one small bootable disk.

The root is the initramfs itself: nothing has to be found or mounted before the login prompt. It
is stored as it is, as unpacking costs more time under emulation than reading does.

QEMU's guest agent is started when the machine has its port, after the login prompt is there.

Busybox is the dynamic one, because static glibc cannot look names up. The tools that make the
disk (syslinux, mtools, qemu-img) come from the same Debian release as the guest, and run in the
folder they were unpacked into. Needs root, for chroot(2).

Source: the kernel's early-userspace/buffer-format (cpio newc); syslinux(1); mmdebstrap(1).
"""

import hashlib
import lzma
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SUITE = "trixie"
PACKAGES = (
    *("linux-image-cloud-amd64", "busybox", "libc6"),
    # liblzma5: depmod loads it only when it meets a packed module.
    *("dash", "dosfstools", "kmod", "liblzma5", "mtools", "qemu-utils"),
    *("syslinux", "syslinux-common"),
    "qemu-guest-agent",
)
FILES = Path(__file__).with_name("root")
PROGRAMS = ("usr/bin/busybox", "usr/sbin/qemu-ga")
EXTRA_LIBRARIES = ("libresolv.so.2",)
"""What glibc opens by name."""
LIBRARY_FOLDER = "usr/lib/x86_64-linux-gnu"
LOADER = "usr/lib64/ld-linux-x86-64.so.2"

# What they need themselves is added by modules.dep.
MODULES = (
    *("virtio_blk", "virtio_scsi", "virtio_net", "virtio_rng", "virtio_balloon", "virtio_input"),
    *("vmw_vsock_virtio_transport", "virtiofs"),
    *("ahci", "ata_piix", "sd_mod", "sr_mod", "isofs", "vfat", "nls_cp437", "nls_ascii"),
    *("nls_utf8", "nls_iso8859-1", "evdev", "button"),
    *("pvpanic_mmio", "pvpanic_pci", "i6300esb"),
    *("qemu_fw_cfg", "virtio_mem"),
)

# The clock and interrupt checks take long under emulation and find nothing in a virtual machine.
COMMAND_LINE = (
    "console=ttyS0 quiet loglevel=3 net.ifnames=0 panic=1 mitigations=off nokaslr audit=0 "
    "apparmor=0 selinux=0 no_timer_check nowatchdog random.trust_cpu=on rcupdate.rcu_expedited=1"
)

SECTOR = 512
PARTITION = 2048 * SECTOR
SPARE = 2 << 20
MBR_CODE = 440


class BuildFailed(Exception):
    """A step of the build went wrong; the message has the output of its program."""


@dataclass(frozen=True)
class Entry:
    """One name in the initramfs. A device is given by major and minor number."""

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def build(
    out: Path, work: Path, packages: Sequence[str] = PACKAGES, drivers: Sequence[str] = ()
) -> Path:
    """Write `disk.qcow2` into the folder `out`. `work` keeps the unpacked packages, one of which is
    a kernel; `drivers` are further modules of it."""
    out.mkdir(parents=True, exist_ok=True)
    debian = tools(work, packages)
    stage = debian / "stage"
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir()
    kernel(debian, stage, drivers)
    (stage / "syslinux.cfg").write_text(
        "default linux\nprompt 0\ntimeout 0\n"
        f"label linux\nkernel vmlinuz\ninitrd initrd\nappend {COMMAND_LINE}\n"
    )
    _write_disk(debian, stage)
    disk = out / "disk.qcow2"
    partial = out / ".disk.qcow2"
    shutil.copy(stage / "disk.qcow2", partial)
    partial.replace(disk)
    shutil.rmtree(stage)
    return disk


def kernel(debian: Path, out: Path, drivers: Sequence[str] = ()) -> None:
    """Write what a machine without a boot loader starts from: `vmlinuz` and `initrd`."""
    shutil.copy(next((debian / "boot").glob("vmlinuz-*")), out / "vmlinuz")
    write_cpio(out / "initrd", initramfs(debian, drivers))


def key() -> str:
    """A hash of all that the disk is made of, except for the versions of Debian's packages."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(FILES.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(FILES)} {path.stat().st_mode:o}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def initramfs(debian: Path, drivers: Sequence[str] = ()) -> Iterator[Entry]:
    """The guest's whole root file system."""
    for folder in (
        *("dev", "proc", "sys", "run", "root", "root/.ssh", "home", "mnt", "var", "www"),
        *("usr", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64", LIBRARY_FOLDER),
    ):
        yield Entry(folder, stat.S_IFDIR | (0o700 if folder == "root/.ssh" else 0o755))
    yield Entry("tmp", stat.S_IFDIR | 0o1777)
    yield Entry("home/demo", stat.S_IFDIR | 0o777)
    for link in ("bin", "sbin", "lib", "lib64"):
        yield Entry(link, stat.S_IFLNK | 0o777, f"usr/{link}".encode())
    yield Entry("var/run", stat.S_IFLNK | 0o777, b"/run")
    yield Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    yield Entry("dev/null", stat.S_IFCHR | 0o666, device=(1, 3))

    yield _copied(debian / "usr/bin/busybox", "usr/bin/busybox", 0o4755)
    yield _copied(debian / LOADER, LOADER, 0o755)
    yield _copied(debian / "usr/sbin/qemu-ga", "usr/sbin/qemu-ga", 0o755)
    for library in sorted({*EXTRA_LIBRARIES, *_libraries(debian)}):
        yield _copied(debian / LIBRARY_FOLDER / library, f"{LIBRARY_FOLDER}/{library}", 0o644)
    for applet in run(debian, "busybox", "--list-full").split():
        path = applet if applet.startswith("usr/") else f"usr/{applet}"
        if Path(path).parent.name in ("bin", "sbin") and Path(path).name != "busybox":
            yield Entry(path, stat.S_IFLNK | 0o777, b"/usr/bin/busybox")

    yield from modules(debian, (*MODULES, *drivers))
    for file in sorted(FILES.rglob("*")):
        name = str(file.relative_to(FILES))
        if file.is_file():
            secret = name == "etc/shadow"
            mode = 0o600 if secret else 0o755 if os.access(file, os.X_OK) else 0o644
            yield _copied(file, name, mode)
        elif not (debian / name).is_symlink() and name not in ("usr", "usr/lib", "usr/sbin"):
            yield Entry(name, stat.S_IFDIR | 0o755)


def tools(work: Path, packages: Sequence[str] = PACKAGES) -> Path:
    """The unpacked packages, to take files from and to run programs in."""
    debian = work / hashlib.sha256(repr((SUITE, packages)).encode()).hexdigest()[:16]
    if not (debian / "usr").is_dir():
        shutil.rmtree(debian, ignore_errors=True)
        work.mkdir(parents=True, exist_ok=True)
        partial = work / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        checked(
            *("mmdebstrap", "--mode=root", "--variant=extract", "--format=directory"),
            *(f"--include={','.join(packages)}", SUITE, str(partial)),
        )
        for link in ("bin", "sbin", "lib", "lib64"):
            (partial / link).symlink_to(f"usr/{link}")
        for folder in ("proc", "sys", "tmp", "dev"):
            (partial / folder).mkdir(exist_ok=True)
        partial.rename(debian)
    return debian


def _libraries(debian: Path) -> Iterator[str]:
    """What the programs load, as the loader itself tells."""
    for program in PROGRAMS:
        for line in run(debian, f"/{LOADER}", "--list", f"/{program}").splitlines():
            name, _, path = line.strip().partition(" => ")
            if path:
                yield name


def modules(debian: Path, wanted: Sequence[str]) -> Iterator[Entry]:
    """These modules of its kernel with what they need, unpacked, and an index of just these."""
    source = next((debian / "usr/lib/modules").iterdir())
    version = source.name
    run(debian, "depmod", version)
    needs = dict(line.split(":", 1) for line in (source / "modules.dep").read_text().splitlines())
    by_name = {Path(path).name.split(".")[0].replace("-", "_"): path for path in needs}
    chosen: dict[str, None] = {}
    for module in wanted:
        path = by_name.get(module.replace("-", "_"))
        if path is not None:
            chosen.update(dict.fromkeys((*needs[path].split(), path)))
        elif module not in _builtin(source):
            raise BuildFailed(f"the kernel {version} has no module {module}")

    # depmod(8) makes the index of the few in a tree of its own.
    tree = debian / "few"
    shutil.rmtree(tree, ignore_errors=True)
    folder = tree / "usr/lib/modules" / version
    (folder / "kernel").mkdir(parents=True)
    (tree / "lib").symlink_to("usr/lib")
    for extra in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        if (source / extra).exists():
            shutil.copy(source / extra, folder / extra)
    for path in chosen:
        unpacked = folder / "kernel" / Path(path).name.removesuffix(".xz")
        data = (source / path).read_bytes()
        unpacked.write_bytes(lzma.decompress(data) if path.endswith(".xz") else data)
    run(debian, "depmod", "-b", "/few", version)

    inside = f"usr/lib/modules/{version}"
    for part in ("usr/lib/modules", inside, f"{inside}/kernel"):
        yield Entry(part, stat.S_IFDIR | 0o755)
    for index in ("modules.dep", "modules.alias"):
        yield _copied(folder / index, f"{inside}/{index}", 0o644)
    for module_file in sorted((folder / "kernel").iterdir()):
        yield _copied(module_file, f"{inside}/kernel/{module_file.name}", 0o644)
    shutil.rmtree(tree)


def _builtin(source: Path) -> frozenset[str]:
    lines = (source / "modules.builtin").read_text().split()
    return frozenset(Path(line).name.removesuffix(".ko") for line in lines)


def write_cpio(path: Path, entries: Iterator[Entry]) -> None:
    """The archive format `newc`; times and owners are all 0."""
    with path.open("wb") as archive:
        inode = 0

        def write(entry: Entry) -> None:
            name = entry.path.encode() + b"\0"
            fields = (
                *(inode, entry.mode, 0, 0, 1, 0, len(entry.data), 0, 0, *entry.device),
                *(len(name), 0),
            )
            head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
            archive.write(head + b"\0" * (-len(head) % 4))
            archive.write(entry.data + b"\0" * (-len(entry.data) % 4))

        for inode, entry in enumerate(entries, start=1):  # noqa: B007
            write(entry)
        inode = 0
        write(Entry("TRAILER!!!", 0))


def _write_disk(debian: Path, stage: Path) -> None:
    """One FAT partition that syslinux starts from, made without mounting anything."""
    content = [stage / name for name in ("vmlinuz", "initrd", "syslinux.cfg")]
    size = sum(path.stat().st_size for path in content) + SPARE
    size += -size % (1 << 20)
    raw = stage / "disk.raw"
    with raw.open("wb") as disk:
        disk.truncate(PARTITION + size)
        code = (debian / "usr/lib/syslinux/mbr/mbr.bin").read_bytes()
        disk.write(code[:MBR_CODE])
        # The one active partition: FAT16 by sector number (type 0x0e).
        disk.seek(446)
        disk.write(b"\x80\xfe\xff\xff\x0e\xfe\xff\xff")
        disk.write((PARTITION // SECTOR).to_bytes(4, "little"))
        disk.write((size // SECTOR).to_bytes(4, "little"))
        disk.seek(510)
        disk.write(b"\x55\xaa")
    inside = "/stage/disk.raw"
    run(
        *(debian, "mkfs.vfat", "-F", "16", "-i", "56495254", "-n", "VIRTPOD", "-h", "2048"),
        *("--offset", str(PARTITION // SECTOR), inside, str(size // 1024)),
    )
    for path in content:
        run(debian, "mcopy", "-i", f"{inside}@@{PARTITION}", f"/stage/{path.name}", "::")
    run(debian, "syslinux", "--install", "-t", str(PARTITION), inside)
    run(
        *(debian, "qemu-img", "convert", "-f", "raw", "-O", "qcow2"),
        *(inside, "/stage/disk.qcow2"),
    )


def _copied(source: Path, path: str, mode: int) -> Entry:
    return Entry(path, stat.S_IFREG | mode, source.read_bytes())


def run(debian: Path, *command: str) -> str:
    """Run a program of the unpacked packages. syslinux finds its disk by way of /proc."""
    script = 'mount --rbind /proc "$0/proc" && exec chroot "$0" "$@"'
    return checked("unshare", "--mount", "sh", "-c", script, str(debian), *command)


def checked(*command: str) -> str:
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "SOURCE_DATE_EPOCH": "0",
        "MTOOLS_SKIP_CHECK": "1",
    }
    proxies = {name: value for name, value in os.environ.items() if name.endswith("_proxy")}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env=environment | proxies,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError as error:
        raise BuildFailed(f"{command[0]} is needed to build the demo guest") from error
    if done.returncode:
        raise BuildFailed(f"{command}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout
