"""The first process of the virtual node: file systems, network, cards, then the services.

What it says goes to the machine's serial console. When it ends, the kernel panics and QEMU with it.

Sources: overlayfs (the kernel's filesystems/overlayfs.rst), virtiofs.rst, switch_root(8).
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from localcluster import cgroups, init, layout, linux, netns
from scripts.hostdev import CARD, DISK, FUNCTIONS, LOGS_TAG, MAC, NODE, functions

SYSFS = Path("/sys")
EARLY = ("virtio_blk", "ext4", "overlay")
MODULES = (
    *("virtio_net", "igb", "vfio-pci", "kvm-amd"),
    *("br_netfilter", "nf_tables", "veth", "tun", "vhost_net", "nf_conntrack", "loop"),
)
OWN = Path("/mnt")
"""Where the machine's own disk is until the root file system is made."""


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text())
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM})
    os.environ["PATH"] = (
        f"{layout.BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    )
    say(f"Linux {os.uname().release}, {os.cpu_count()} CPUs")
    _file_systems(Path(plan["modules"]))
    _network()
    _cards()
    say("starting " + ", ".join(service["name"] for service in plan["services"]))
    init.keep_running(plan["services"])


def say(line: str) -> None:
    print(f"{NODE.name}: {time.monotonic():6.1f} s: {line}", flush=True)


def _file_systems(modules: Path) -> None:
    """The host's files below, what the machine writes above, on its own disk."""
    linux.mount("proc", "/proc", "proc")
    linux.mount("sysfs", "/sys", "sysfs")
    linux.mount("devtmpfs", "/dev", "devtmpfs")
    for name in EARLY:
        _run("modprobe", "--dirname", str(modules.parents[3]), name)
    linux.mount("/dev/vda", OWN, "ext4")
    root, upper, work, var = (OWN / name for name in ("root", "upper", "work", "var"))
    for folder in (root, upper, work, var):
        folder.mkdir(exist_ok=True)
    linux.mount("overlay", root, "overlay", data=f"lowerdir=/,upperdir={upper},workdir={work}")
    linux.mount(str(var), root / "var", flags=linux.MS_BIND)
    for name in ("proc", "sys", "dev"):
        linux.mount(f"/{name}", root / name, flags=linux.MS_MOVE)
    os.chdir(root)
    linux.mount(".", "/", flags=linux.MS_MOVE)
    os.chroot(".")
    os.chdir("/")

    for place in ("run", "tmp", "dev/shm"):
        Path("/", place).mkdir(exist_ok=True)
        mode = "755" if place == "run" else "1777"
        linux.mount("tmpfs", f"/{place}", "tmpfs", data=f"mode={mode}")
    for kind, place in (("devpts", "dev/pts"), ("mqueue", "dev/mqueue")):
        Path("/", place).mkdir(exist_ok=True)
        linux.mount(kind, f"/{place}", kind)
    linux.mount("cgroup2", cgroups.MOUNTS, "cgroup2")
    cgroups.delegate(cgroups.MOUNTS)
    init.furnish_var(Path("/var"))
    Path("/run/lock").mkdir()
    Path("/lib/modules").mkdir(exist_ok=True)
    linux.mount(str(modules.parent), "/lib/modules", flags=linux.MS_BIND)
    linux.mount(LOGS_TAG, layout.LOGS, "virtiofs")
    linux.mount("", "/", flags=linux.MS_REC | linux.MS_SHARED)
    shutil.copytree(NODE.folder / "etc", "/etc", dirs_exist_ok=True)
    say("file systems are there")


def _network() -> None:
    socket.sethostname(NODE.name)
    for name in MODULES:
        _run("modprobe", name)
    _run("ip", "link", "set", "lo", "up")
    for words in netns.plumbing(NODE.name, NODE.address, NODE.address6):
        _run("ip", *words)
    for name, value in netns.SYSCTLS.items():
        Path("/proc/sys", name.replace(".", "/")).write_text(value)
    say("the network is up")


def _cards() -> None:
    """What docs/qat.md asks of an administrator."""
    card = functions.find(SYSFS, CARD)
    link = next((SYSFS / "bus/pci/devices" / card / "net").iterdir()).name
    made = functions.create(SYSFS, card, FUNCTIONS)
    for number in range(FUNCTIONS):
        _run("ip", "link", "set", link, "vf", str(number), "mac", MAC.format(number))
    _run("ip", "link", "set", link, "up")
    say(f"{card} ({CARD}, {link}) has made the virtual functions {', '.join(made)}")
    for address in (*made, functions.find(SYSFS, DISK)):
        functions.give_away(SYSFS, address)
    for line in functions.described(SYSFS):
        say(line)


def _run(*command: str) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr}")
    return done.stdout


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
