"""The container-disk program as the launcher meets it: a socket that hands out an open folder."""

import array
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "images" / "container-disk"
DEADLINE = 10.0

pytestmark = pytest.mark.images


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert shutil.which("go"), "the container-disk program needs Go to be built"
    out = tmp_path_factory.mktemp("container-disk") / "container-disk"
    subprocess.run(
        ["go", "build", "-trimpath", "-ldflags", "-s -w", "-o", str(out), "."],
        cwd=SOURCE,
        env=os.environ | {"CGO_ENABLED": "0"},
        check=True,
    )
    return out


@contextmanager
def serving(program: Path, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    process = subprocess.Popen([program, "--copy-path", folder / "disk_0"])
    path = folder / "disk_0.sock"
    try:
        until = time.monotonic() + DEADLINE
        while not path.exists():
            assert process.poll() is None
            assert time.monotonic() < until, "no socket"
            os.sched_yield()
        yield process, path
    finally:
        process.kill()
        process.wait()


def received(path: Path) -> int:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(DEADLINE)
        connection.connect(str(path))
        data, control, _, _ = connection.recvmsg(16, socket.CMSG_SPACE(4))
        assert data == b"\0"
        [(level, kind, rights)] = control
        assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
        assert connection.recv(1) == b""
    [handle] = array.array("i", rights)
    return handle


def test_hands_out_its_root_folder(program: Path, tmp_path: Path) -> None:
    with serving(program, tmp_path) as (_, path):
        assert path.stat().st_mode & 0o777 == 0o600
        assert [entry.name for entry in tmp_path.iterdir()] == ["disk_0.sock"]
        for _ in range(3):
            handle = received(path)
            assert os.path.samestat(os.fstat(handle), os.stat("/"))
            os.close(handle)


def test_ends_on_sigterm_and_takes_its_socket_along(program: Path, tmp_path: Path) -> None:
    with serving(program, tmp_path) as (process, path):
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
        assert not path.exists()


def test_ends_when_the_socket_is_removed(program: Path, tmp_path: Path) -> None:
    with serving(program, tmp_path) as (process, path):
        os.close(received(path))
        path.unlink()
        assert process.wait(DEADLINE) == 0


def test_copies_itself(program: Path, tmp_path: Path) -> None:
    subprocess.run([program, "--copy-to", tmp_path], check=True, timeout=DEADLINE)
    [copy] = tmp_path.iterdir()
    assert copy.name == "container-disk"
    assert copy.stat().st_mode & 0o777 == 0o755
    assert copy.read_bytes() == program.read_bytes()
    assert subprocess.run([copy, "--no-op"], timeout=DEADLINE, check=False).returncode == 0
