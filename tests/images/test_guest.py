"""The demo guest in a real QEMU: boots, reads its NoCloud disk, lets the user in, powers off."""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from images import catalogue, debian
from images.guest import build
from images.layers import Store

BOOT_DEADLINE = 60.0
ANSWER_DEADLINE = 20.0
LIMIT = 30 << 20

META_DATA = '{"instance-id": "i-1", "local-hostname": "vm-one"}'
USER_DATA = """#cloud-config
password: "s3cret"
runcmd:
  - echo plain > /tmp/said
  - [ sh, -c, "echo 'a, b' >> /tmp/said" ]
  - |
    for i in 1 2; do
      echo "block $i" >> /tmp/said
    done
"""
NETWORK = """version: 2
ethernets:
  eth0:
    addresses: [ 10.0.2.77/24 ]
    gateway4: 10.0.2.2
"""

AGENT = (
    *("-device", "virtio-serial-pci", "-chardev", "socket,id=ga,path=SHARED/ga,server=on,wait=off"),
    *("-device", "virtserialport,chardev=ga,name=org.qemu.guest_agent.0"),
)
VIRTIO_DISK = "virtio-blk-pci-non-transitional"
NIC = ("-netdev", "user,id=n", "-device", "virtio-net-pci-non-transitional,netdev=n,romfile=")

pytestmark = pytest.mark.images


@dataclass(frozen=True)
class Console:
    """The guest's serial console."""

    stream: socket.socket

    def until(self, text: str, deadline: float = ANSWER_DEADLINE) -> str:
        end = time.monotonic() + deadline
        seen = ""
        while text not in seen:
            left = end - time.monotonic()
            assert left > 0, f"no {text!r} on the console, but: {seen}"
            self.stream.settimeout(left)
            data = self.stream.recv(4096)
            assert data, f"the console ended before {text!r}: {seen}"
            seen += data.decode(errors="replace").replace("\r", "")
        return seen

    def say(self, line: str) -> None:
        self.stream.sendall(line.encode() + b"\n")

    def log_in(self, user: str, password: str) -> None:
        self.say(user)
        self.until("assword: ")
        self.say(password)
        self.until("# " if user == "root" else "$ ")

    def answer(self, command: str) -> str:
        """What a command prints. The marks are put together by the shell, not by the echo."""
        self.say(f"echo be''gin; {command}; echo en''d")
        after = self.until("\nend\n").split("\nbegin", 1)[1]
        return after.split("\nend\n", 1)[0].removeprefix("\n")


@dataclass(frozen=True)
class Machine:
    process: subprocess.Popen[bytes]
    console: Console
    monitor: Path

    def press_power_button(self) -> None:
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(ANSWER_DEADLINE)
            monitor.connect(str(self.monitor))
            lines = monitor.makefile("rw")
            lines.readline()
            for command in ("qmp_capabilities", "system_powerdown"):
                lines.write(json.dumps({"execute": command}) + "\n")
                lines.flush()
                lines.readline()


@pytest.fixture(scope="session")
def disk() -> Path:
    """The disk that the image has."""
    catalogue.DEMO_GUEST.build(Store())
    return catalogue.DEMO_GUEST_DISK


@pytest.fixture(scope="session")
def root() -> Path:
    """The root file system that QEMU runs in: the launcher's."""
    named = os.environ.get("VIRTPOD_TEST_ROOTFS")
    return Path(named) if named else debian.root("virt-launcher")


@pytest.fixture(scope="session")
def tools() -> Path:
    return build.tools(catalogue.DEMO_GUEST_WORK)


@pytest.fixture
def shared(root: Path, disk: Path) -> Iterator[Path]:
    """A folder within `root` with the disk in it."""
    (root / "tmp").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="guest-", dir=root / "tmp") as folder:
        shutil.copy(disk, Path(folder) / "disk.qcow2")
        yield Path(folder)


def no_cloud(tools: Path, shared: Path, **files: str) -> None:
    """A vfat NoCloud disk, by the tools that the guest's own disk was made with."""
    image = shared / "cidata.img"
    image.write_bytes(bytes(1440 << 10))
    with tempfile.TemporaryDirectory(prefix="nocloud-", dir=tools / "tmp") as folder:
        inside = Path("/") / Path(folder).relative_to(tools)
        made = Path(folder) / "image"
        shutil.copy(image, made)
        chroot = ("chroot", str(tools))
        subprocess.run(
            [*chroot, "mkfs.vfat", "-n", "CIDATA", str(inside / "image")],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        for name, text in files.items():
            (Path(folder) / name).write_text(text)
            subprocess.run(
                [*chroot, "mcopy", "-i", str(inside / "image"), str(inside / name), "::"],
                check=True,
            )
        shutil.copy(made, image)


@contextmanager
def booted(root: Path, shared: Path, *options: str, disk: str = VIRTIO_DISK) -> Iterator[Machine]:
    inside = Path("/") / shared.relative_to(root)
    serial, monitor = shared / "serial", shared / "monitor"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(serial))
        listener.listen()
        listener.settimeout(ANSWER_DEADLINE)
        process = subprocess.Popen(
            [
                *(() if root == Path("/") else ("chroot", str(root))),
                *("qemu-system-x86_64", "-nodefaults", "-accel", "tcg", "-m", "128"),
                *("-display", "none", "-serial", f"unix:{inside}/serial"),
                *("-qmp", f"unix:{inside}/monitor,server=on,wait=off"),
                *("-drive", f"if=none,id=d,file={inside}/disk.qcow2,snapshot=on"),
                *("-device", f"{disk},drive=d,bootindex=1", *NIC),
                *(option.replace("SHARED", str(inside)) for option in options),
            ]
        )
        try:
            stream, _ = listener.accept()
            with stream:
                yield Machine(process, Console(stream), monitor)
        finally:
            process.kill()
            process.wait()


def asked_agent(port: Path, command: str) -> object:
    """The agent's answer; it may still be on its way up."""
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(ANSWER_DEADLINE)
        stream.connect(str(port))
        stream.sendall(json.dumps({"execute": command}).encode() + b"\n")
        return json.loads(stream.makefile("r").readline())["return"]


def test_size(disk: Path) -> None:
    assert disk.stat().st_size <= LIMIT


def test_no_cloud(root: Path, tools: Path, shared: Path) -> None:
    no_cloud(tools, shared, **{"meta-data": META_DATA, "user-data": USER_DATA})
    with booted(
        *(root, shared, "-M", "q35"),
        *("-drive", "if=none,id=ci,file=SHARED/cidata.img,format=raw,readonly=on"),
        *("-device", "virtio-blk-pci,drive=ci", *AGENT),
    ) as machine:
        console = machine.console
        console.until("vm-one login: ", BOOT_DEADLINE)
        assert asked_agent(shared / "ga", "guest-get-host-name") == {"host-name": "vm-one"}
        console.log_in("root", "s3cret")
        assert console.answer("cat /tmp/said").split("\n") == [
            *("plain", "a, b", "block 1", "block 2"),
        ]
        assert console.answer("wget -qO- http://127.0.0.1/") == "hello from vm-one"
        assert "10.0.2.15/24" in console.answer("ip -4 address show dev eth0")
        console.say("poweroff")
        assert machine.process.wait(ANSWER_DEADLINE) == 0


def test_static_network_from_a_sata_disk(root: Path, tools: Path, shared: Path) -> None:
    no_cloud(tools, shared, **{"meta-data": META_DATA, "network-config": NETWORK})
    with booted(
        *(root, shared, "-M", "q35"),
        *("-drive", "if=none,id=ci,file=SHARED/cidata.img,format=raw,snapshot=on"),
        *("-device", "ide-hd,drive=ci"),
    ) as machine:
        console = machine.console
        console.until("vm-one login: ", BOOT_DEADLINE)
        console.log_in("demo", "demo")
        assert "10.0.2.77/24" in console.answer("ip -4 address show dev eth0")
        assert "default via 10.0.2.2" in console.answer("ip route")


@pytest.mark.parametrize("machine_type", ["q35", "pc"])
def test_power_button_and_old_disk_bus(root: Path, shared: Path, machine_type: str) -> None:
    with booted(root, shared, "-M", machine_type, disk="ide-hd") as machine:
        machine.console.until("demo login: ", BOOT_DEADLINE)
        machine.press_power_button()
        assert machine.process.wait(ANSWER_DEADLINE) == 0
