"""The virtual node from its host's side: what it is made of, and QEMU.

QEMU and virtiofsd are those of the launcher's image, whose Debian release has the igb device.

Sources: QEMU's docs/system/devices/igb.rst and nvme.rst, virtiofsd(1), intel-iommu's properties
(`qemu-system-x86_64 -device intel-iommu,help`), the kernel's kernel-parameters.txt.
"""

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from images import debian, oci
from images import layout as images_layout
from images.guest import build as guest
from images.layers import Store
from images.tools import need
from localcluster import certs, layout, netns
from localcluster import images as cluster_images
from localcluster import node as nodes
from localcluster.progress import Failed
from scripts.hostdev import FOLDER, LOGS_TAG, NODE, ROOT_TAG, TAP

KERNEL_PACKAGES = ("linux-image-amd64", "kmod", "liblzma5", "libc6")
WORK = images_layout.CACHE / "hostdev-kernel"
MEMORY = 4096
"""MiB."""
ROOM = 12
"""GiB of its disk, which takes room on the host's as it is written."""
DISK_SIZE = 64
"""MiB of the disk that is given away."""
LONGEST_COMMAND_LINE = 2047
GONE_WITHIN = 30.0


@dataclass(frozen=True, slots=True)
class Parts:
    """Files of the host that the machine is started from."""

    kernel: Path
    modules: Path
    plan: Path
    disk: Path
    given: Path
    """Image of the NVMe disk that guests are given."""
    console: Path


def make(images: Sequence[tuple[oci.Built, str]], store: Store) -> Parts:
    """All that the machine boots from; `images`, each with its reference, will be in it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    unpacked = guest.tools(WORK, KERNEL_PACKAGES)
    modules = next((unpacked / "usr/lib/modules").iterdir())
    guest.run(unpacked, "depmod", modules.name)
    certs.node(NODE)
    services = nodes.machine(NODE).services
    archives = [cluster_images.PAUSE.archive]
    for image, reference in images:
        archive = FOLDER / f"{image.name}-{image.tag}.tar"
        if not archive.exists():
            for old in FOLDER.glob(f"{image.name}-*.tar"):
                old.unlink()
            oci.write_archive(image, reference, store, archive)
        archives.append(archive)
    plan = FOLDER / "boot.json"
    plan.write_text(
        json.dumps(
            {
                "modules": str(modules),
                "services": [asdict(each) | {"log": str(each.log)} for each in services],
            },
            indent=2,
        )
    )
    disk, given = FOLDER / "disk.raw", FOLDER / "given.raw"
    disk.unlink(missing_ok=True)  # the last run's
    with disk.open("wb") as file:
        file.truncate(ROOM << 30)
    subprocess.run([need("mke2fs", "e2fsprogs"), "-q", "-t", "ext4", str(disk)], check=True)
    fill = [*("unshare", "--mount", sys.executable, "-m", "scripts.hostdev.fill"), str(disk)]
    subprocess.run([*fill, *map(str, archives)], cwd=layout.ROOT, check=True)
    with given.open("wb") as file:
        file.truncate(DISK_SIZE << 20)
    for log in nodes.logs(NODE):
        log.unlink(missing_ok=True)
    kernel = next((unpacked / "boot").glob("vmlinuz-*"))
    return Parts(kernel, modules, plan, disk, given, layout.LOGS / f"{NODE.name}-console.log")


def kernel_command_line(parts: Parts, python: str = sys.executable) -> str:
    """What Linux does not know it hands on to the first process: variables, and words after --."""
    line = (
        f"console=ttyS0 loglevel=4 root={ROOT_TAG} rootfstype=virtiofs ro init={python} "
        f"PYTHONPATH={layout.ROOT} PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 "
        "intel_iommu=on mitigations=off audit=0 apparmor=0 net.ifnames=0 "
        # A TSC that was measured while the host had other things to do is wrong by factors.
        "tsc=unstable clocksource=hpet no_timer_check nowatchdog "
        "rcupdate.rcu_cpu_stall_suppress=1 panic=1 "
        f"-- -m scripts.hostdev.boot {parts.plan}"
    )
    if len(line) > LONGEST_COMMAND_LINE:
        raise Failed(f"the checkout's path is too long for a kernel's command line: {layout.ROOT}")
    return line


def qemu(parts: Parts, sockets: Path, inside: Path) -> list[str]:
    """The command line, where the host's files are below `inside` and virtiofsd's sockets in
    `sockets`."""
    shares = [
        word
        for tag in (ROOT_TAG, LOGS_TAG)
        for word in (
            *("-chardev", f"socket,id={tag},path={inside}{sockets / tag}"),
            *("-device", f"vhost-user-fs-pci,chardev={tag},tag={tag},bus=pcie.0"),
        )
    ]
    return [
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-nographic", "-no-reboot"),
        *("-machine", "q35", "-accel", "tcg,thread=multi,tb-size=1024"),
        *("-cpu", "max,la57=off", "-smp", "2", "-m", f"{MEMORY}M"),
        # virtiofsd reads and writes the machine's memory itself.
        *("-object", f"memory-backend-memfd,id=memory,size={MEMORY}M,share=on"),
        *("-numa", "node,memdev=memory"),
        *("-kernel", f"{inside}{parts.kernel}", "-append", kernel_command_line(parts)),
        *("-serial", "stdio"),
        *("-device", "intel-iommu,intremap=on"),
        *shares,
        *("-drive", f"if=none,id=own,format=raw,discard=unmap,file={inside}{parts.disk}"),
        *("-device", "virtio-blk-pci,drive=own,bus=pcie.0"),
        *("-netdev", f"tap,id=cable,ifname={TAP},script=no,downscript=no"),
        *("-device", "virtio-net-pci,netdev=cable,bus=pcie.0,mac=52:54:00:00:00:01,romfile="),
        # A function is given away with all that is in its IOMMU group: each has a port of its own.
        *("-device", "pcie-root-port,id=port1,chassis=1"),
        *("-device", "pcie-root-port,id=port2,chassis=2"),
        *("-netdev", "user,id=lan,restrict=on"),
        *("-device", "igb,netdev=lan,bus=port1,mac=52:54:00:00:00:02,romfile="),
        *("-drive", f"if=none,id=given,format=raw,file={inside}{parts.given}"),
        *("-device", "nvme,drive=given,serial=virtpod,bus=port2"),
    ]


def virtiofsd(folder: Path, socket: Path, inside: Path, *words: str) -> list[str]:
    return [
        *("/usr/libexec/virtiofsd", "--sandbox=none", "--inode-file-handles=never"),
        *("--no-announce-submounts", f"--shared-dir={inside}{folder}"),
        *(f"--socket-path={inside}{socket}", *words),
    ]


# The tree's programs with the host's files at /mnt, in a mount namespace that ends with them.
WITHIN = (
    'mount --make-rprivate / && mount --rbind / "$0/mnt" && mount --rbind /proc "$0/proc" && '
    'mount --rbind /dev "$0/dev" && mount -t tmpfs tmpfs "$0/run" && '
    'mount -t tmpfs tmpfs "$0/tmp" && exec chroot "$0" "$@"'
)
INSIDE = Path("/mnt")


@contextlib.contextmanager
def running(parts: Parts) -> Iterator[subprocess.Popen[bytes]]:
    """The machine, switched on; afterwards nothing of it is left but its logs."""
    tree = debian.root("virt-launcher")
    netns.plug_tap(TAP)
    with contextlib.ExitStack() as stack:
        stack.callback(netns.unplug_tap, TAP)
        sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hostdev-")))
        log = stack.enter_context((layout.LOGS / f"{NODE.name}-virtiofsd.log").open("wb"))
        shares = {
            ROOT_TAG: virtiofsd(
                Path("/"), sockets / ROOT_TAG, INSIDE, "--readonly", "--cache=always"
            ),
            LOGS_TAG: virtiofsd(layout.LOGS, sockets / LOGS_TAG, INSIDE),
        }
        for tag, command in shares.items():
            _start(stack, tree, command, log)
            _wait_for(sockets / tag)
        console = stack.enter_context(parts.console.open("wb"))
        yield _start(stack, tree, qemu(parts, sockets, INSIDE), console)


def _start(
    stack: contextlib.ExitStack, tree: Path, command: list[str], log: IO[bytes]
) -> subprocess.Popen[bytes]:
    """It ends with us, however we end."""
    process = subprocess.Popen(
        [
            *("setpriv", "--pdeathsig", "KILL"),
            *("nsenter", f"--net={layout.netns_path(layout.SWITCH)}"),
            *("unshare", "--mount", "sh", "-c", WITHIN, str(tree), *command),
        ],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    stack.callback(_end, process)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(GONE_WITHIN)


def _wait_for(socket: Path) -> None:
    deadline = time.monotonic() + GONE_WITHIN
    while not socket.exists():
        if time.monotonic() > deadline:
            log = layout.LOGS / f"{NODE.name}-virtiofsd.log"
            raise Failed("virtiofsd made no socket", log)
        time.sleep(0.05)
