"""What a tenant can put in place of a launcher's socket, and that nobody falls for it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from virtpod.node.peer import in_pod, peer
from virtpod.node.safepath import Unsafe, beneath, connected

ME = os.getuid()


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    return folder


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    folder = tmp_path / "volume"
    folder.mkdir()
    handle = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    yield handle, folder
    os.close(handle)


def listener(path: Path) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    return server


def test_a_socket_of_the_right_owner(volume: tuple[int, Path]) -> None:
    handle, folder = volume
    with listener(folder / "sock"), connected(handle, "sock", ME) as connection:
        assert not connection.getblocking()


def test_a_link_to_somebody_else_s_socket(volume: tuple[int, Path], outside: Path) -> None:
    """CVE-2026-7374."""
    handle, folder = volume
    (folder / "sock").symlink_to(outside / "containerd.sock")
    with listener(outside / "containerd.sock"), pytest.raises(OSError, match="symbolic links"):
        connected(handle, "sock", ME)


def test_a_link_in_place_of_a_folder(volume: tuple[int, Path], outside: Path) -> None:
    handle, folder = volume
    (folder / "uid").symlink_to(outside)
    with listener(outside / "sock"), pytest.raises(OSError, match="symbolic links"):
        connected(handle, "uid/sock", ME)


def test_a_magic_link(volume: tuple[int, Path]) -> None:
    proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
    try:
        with pytest.raises(OSError, match="symbolic links"), beneath(proc, "self/root/etc"):
            pass
    finally:
        os.close(proc)


@pytest.mark.parametrize("path", ["../outside/sock", "/etc/passwd", "uid/../../outside/sock"])
def test_the_volume_is_not_left(volume: tuple[int, Path], outside: Path, path: str) -> None:
    handle, folder = volume
    (folder / "uid").mkdir()
    with listener(outside / "sock"), pytest.raises(OSError, match="cross-device"):
        connected(handle, path, ME)


def test_a_fifo_does_not_block(volume: tuple[int, Path]) -> None:
    handle, folder = volume
    os.mkfifo(folder / "sock")
    with pytest.raises(Unsafe, match="not a socket"):
        connected(handle, "sock", ME)


def test_a_socket_of_another_user(volume: tuple[int, Path]) -> None:
    handle, folder = volume
    with listener(folder / "sock"), pytest.raises(Unsafe, match="belongs to user"):
        connected(handle, "sock", ME + 1)


def test_a_socket_that_is_exchanged_behind_our_back(
    volume: tuple[int, Path], outside: Path
) -> None:
    """Between the look and the connection only the handle counts."""
    handle, folder = volume
    with (
        listener(folder / "sock") as ours,
        listener(outside / "theirs"),
        beneath(handle, "sock") as opened,
        socket.socket(socket.AF_UNIX) as connection,
    ):
        (folder / "sock").rename(folder / "old")
        (folder / "sock").symlink_to(outside / "theirs")
        connection.connect(f"/proc/self/fd/{opened}")
        ours.settimeout(1)
        ours.accept()[0].close()


def test_a_listener_outside_the_pod(volume: tuple[int, Path]) -> None:
    handle, folder = volume
    with listener(folder / "sock"), connected(handle, "sock", ME) as connection:
        with pytest.raises(Unsafe, match="is not of pod"):
            peer(connection, "5f0d1c4e-0000-4000-8000-00000000000a", ME)
        with pytest.raises(Unsafe, match="runs as user"):
            peer(connection, "5f0d1c4e-0000-4000-8000-00000000000a", ME + 1)


POD = "5f0d1c4e-0000-4000-8000-00000000000a"


@pytest.mark.parametrize(
    ("cgroups", "ours"),
    [
        (f"4:memory:/kubepods/burstable/pod{POD}/0123abcd\n", True),
        (f"0::/kubepods/besteffort/pod{POD}/0123abcd\n", True),
        (f"0::/../../pod{POD}/0123abcd\n", True),
        (
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod"
            f"{POD.replace('-', '_')}.slice/cri-containerd-01.scope\n",
            True,
        ),
        (f"0::/kubepods/burstable/pod{POD}0/0123abcd\n", False),
        (f"0::/kubepods/burstable/xpod{POD}/0123abcd\n", False),
        ("0::/system.slice/containerd.service\n", False),
        ("", False),
    ],
)
def test_a_pod_s_processes_are_known_by_their_cgroup(cgroups: str, ours: bool) -> None:
    assert in_pod(cgroups, POD) is ours
