"""The image `traffic`: its program answers, gives itself away, and says what it cannot reach."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from images import catalogue, layers

pytestmark = pytest.mark.images


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = layers.Store()
    root = tmp_path_factory.mktemp("traffic")
    for layer in catalogue.TRAFFIC.build(store).layers:
        layers.unpack(layer, store, root)
    return root / "usr/bin/traffic"


@pytest.fixture(scope="module")
def port(program: Path) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
    server = subprocess.Popen([program, "serve", f"127.0.0.1:{number}"])
    try:
        for _ in range(10_000):
            with socket.socket() as asking:
                if asking.connect_ex(("127.0.0.1", number)) == 0:
                    break
        yield number
    finally:
        server.kill()
        server.wait()


def test_it_sends_back_takes_and_gives(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as echo:
        echo.sendall(b"eHello")
        assert echo.makefile("rb").read(5) == b"Hello"
    with socket.create_connection(("127.0.0.1", port), 10) as take:
        take.sendall(b"t" + bytes(1 << 20))
        take.shutdown(socket.SHUT_WR)
        assert take.recv(1) == b"t", "when all has arrived"
    with socket.create_connection(("127.0.0.1", port), 10) as give:
        give.sendall(b"g")
        assert len(give.makefile("rb").read(1 << 20)) == 1 << 20


def test_a_guest_gets_the_same_program(program: Path, port: int) -> None:
    with urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
        assert answer.read() == program.read_bytes()


def test_nobody_there_is_an_error(program: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, and nobody listens
        address = f"127.0.0.1:{free.getsockname()[1]}"
        done = subprocess.run([program, "measure", address], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"traffic: dial tcp {address}")
    assert done.stdout == ""
