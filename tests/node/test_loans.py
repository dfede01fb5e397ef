"""Devices lent to a container that runs: in its own namespace, and in the kernel's own list."""

from __future__ import annotations

import os
import stat
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from virtpod.node.peer import Peer
from virtpod.node.steps import cgroup, loans

GROUP, VFIO = os.makedev(1, 5), os.makedev(10, 196)
"""/dev/zero's number stands for a VFIO group's: what counts is whether it may be opened."""
NODES = {"vfio/12": GROUP, "vfio/vfio": VFIO}
OWNER = 107
PROGRAMS = ("bin", "lib", "lib64", "usr")


@dataclass(frozen=True)
class Container:
    """A process with a root folder, a mount namespace and a cgroup of devices of its own."""

    root: Path
    group: Path
    peer: Peer

    def opens(self, path: str) -> bool:
        """Whether a process of it can read a device."""
        return self._run(f"head -c 1 {path} >/dev/null 2>&1").wait() == 0

    def holds(self, path: str) -> subprocess.Popen[bytes]:
        """A process of it that has a device open."""
        process = self._run(f"exec sleep 60 < {path}")
        deadline = time.monotonic() + 10
        while os.stat(f"/proc/{process.pid}/fd/0").st_rdev != GROUP:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return process

    def _run(self, script: str) -> subprocess.Popen[bytes]:
        enter = f"echo $$ > {self.group}/cgroup.procs && exec nsenter"
        target = f"--target {self.peer.pid} --mount --root"
        return subprocess.Popen(["sh", "-c", f'{enter} {target} sh -c "$0"', script])


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Container]:
    """Which may use no device but those that it is lent."""
    monkeypatch.setattr(cgroup, "HOST", Path("/sys/fs/cgroup"))
    monkeypatch.setattr(cgroup, "HOST_NAMESPACE", "/proc/self/ns/cgroup")
    hierarchy = Path("/sys/fs/cgroup/devices")
    if os.geteuid() != 0 or not os.access(hierarchy / "devices.deny", os.W_OK):
        pytest.skip("devices of cgroups of version 1 are changed by root, where there are any")
    own = next(
        line.split(":", 2)[2].lstrip("/")
        for line in Path("/proc/self/cgroup").read_text().splitlines()
        if "devices" in line.split(":")[1].split(",")
    )
    group = hierarchy / own / f"virtpod-test-{os.getpid()}"
    root = tmp_path / "root"
    for folder in ("dev", "run/kubevirt", "proc", *PROGRAMS):
        (root / folder).mkdir(parents=True)
    os.mknod(root / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    group.mkdir()
    (group / "devices.deny").write_text("a")
    (group / "devices.allow").write_text("c 1:3 rwm")
    binds = " && ".join(f"mount --rbind /{each} {root}/{each}" for each in PROGRAMS)
    script = f"{binds} && mount -t proc proc {root}/proc && exec chroot {root} sleep 120"
    process = subprocess.Popen(["unshare", "--mount", "sh", "-c", script])
    peer = Peer(process.pid, os.pidfd_open(process.pid))
    try:
        deadline = time.monotonic() + 10
        while Path(f"/proc/{process.pid}/comm").read_text().strip() != "sleep":
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        (group / "cgroup.procs").write_text(str(process.pid))
        yield Container(root, group, peer)
    finally:
        peer.close()
        process.kill()
        process.wait()
        for _ in range(100):
            if not (group / "cgroup.procs").read_text().strip():
                break
            time.sleep(0.01)
        group.rmdir()


async def test_a_device_is_lent_and_taken_back(container: Container) -> None:
    assert loans.lent(container.peer) == frozenset()
    assert not (container.root / "dev/vfio").exists()
    for _ in range(2):
        await loans.lend("card", NODES, container.peer, OWNER)
    assert loans.lent(container.peer) == {"card"}
    assert container.opens("/dev/vfio/12")
    found = os.stat(container.root / "dev/vfio/12")
    assert (found.st_rdev, found.st_uid, stat.S_IMODE(found.st_mode)) == (GROUP, OWNER, 0o600)
    rules = (container.group / "devices.list").read_text().splitlines()
    assert {"c 1:5 rwm", "c 10:196 rwm"} <= set(rules)

    await loans.take_back("card", container.peer)
    assert loans.lent(container.peer) == frozenset()
    assert not (container.root / "dev/vfio/12").exists()
    rules = (container.group / "devices.list").read_text().splitlines()
    assert "c 1:5 rwm" not in rules
    assert "c 10:196 rwm" in rules, "the node of all groups stays"
    await loans.take_back("card", container.peer)


async def test_what_is_open_is_not_taken_back(container: Container) -> None:
    await loans.lend("card", NODES, container.peer, OWNER)
    holding = container.holds("/dev/vfio/12")
    try:
        with pytest.raises(OSError, match="still has device card open"):
            await loans.take_back("card", container.peer)
        assert loans.lent(container.peer) == {"card"}
        assert container.opens("/dev/vfio/12")
    finally:
        holding.kill()
        holding.wait()
    await loans.take_back("card", container.peer)
    assert loans.lent(container.peer) == frozenset()


async def test_a_tenant_s_links_are_not_followed(container: Container, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (container.root / "dev/vfio").symlink_to(elsewhere)
    with pytest.raises(OSError, match="vfio"):
        await loans.lend("card", NODES, container.peer, OWNER)
    assert not list(elsewhere.iterdir())
    for name in ("../card", "", ".."):
        with pytest.raises(ValueError, match="cannot be a device's name"):
            await loans.lend(name, NODES, container.peer, OWNER)


async def test_a_process_of_the_node_is_no_container() -> None:
    own = Peer(os.getpid(), os.pidfd_open(os.getpid()))
    try:
        with pytest.raises(PermissionError, match="no container of its own"):
            await loans.lend("card", NODES, own, OWNER)
    finally:
        own.close()


def test_the_kernel_s_list_is_of_kinds(container: Container) -> None:
    cgroup.allow(container.peer.pid, os.makedev(7, 1))
    cgroup.allow(container.peer.pid, os.makedev(7, 1), "c")
    rules = (container.group / "devices.list").read_text().splitlines()
    assert {"b 7:1 rwm", "c 7:1 rwm"} <= set(rules)
    cgroup.deny(container.peer.pid, os.makedev(7, 1), "c")
    rules = (container.group / "devices.list").read_text().splitlines()
    assert "b 7:1 rwm" in rules
    assert "c 7:1 rwm" not in rules
