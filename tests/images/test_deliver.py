"""Images pushed to a real registry on this machine, and read back from there."""

import json
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from images import deliver, oci
from images.layers import Store
from localcluster import layout as cluster_layout

pytestmark = pytest.mark.images
DEADLINE = 10.0
REGISTRY = cluster_layout.BIN / "registry"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """The address of a registry that keeps its blobs in a folder."""
    if not REGISTRY.exists() or not shutil.which("skopeo"):
        pytest.skip("the registry and skopeo come with `python3 -m localcluster build` and apt")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with subprocess.Popen(
        [REGISTRY, "-address", address, "-folder", tmp_path / "registry"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            until = time.monotonic() + DEADLINE
            while not answers(address):
                assert process.poll() is None
                assert time.monotonic() < until, "the registry does not answer"
            yield address
        finally:
            process.terminate()


def answers(address: str) -> bool:
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=DEADLINE).close()
    except ConnectionRefusedError:
        return False
    return True


def an_image(store: Store) -> oci.Built:
    def write(stream: IO[bytes]) -> None:
        with tarfile.open(fileobj=stream, mode="w|") as archive:
            archive.addfile(tarfile.TarInfo("file"))

    return oci.image("small", (store.add("layer", "key", write),), oci.Settings(user="107"))


def test_a_pushed_image_can_be_read_back(
    registry: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "store")
    built = an_image(store)
    prefix = f"{registry}/some/where"
    deliver.to_registry([built], prefix, store)
    said = subprocess.run(
        [
            "skopeo",
            "inspect",
            "--config",
            "--tls-verify=false",
            f"docker://{prefix}/small:{built.tag}",
        ],
        capture_output=True,
        check=True,
    ).stdout
    assert json.loads(said) == json.loads(built.config)

    deliver.to_registry([built], prefix, store)
    assert f"{built.reference(prefix)} is there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("prefix", "plain"),
    [
        ("127.0.0.1:5000/x", True),
        ("localhost", True),
        ("127.0.0.1.example/x", False),
        ("r/x", False),
    ],
)
def test_only_a_registry_on_this_machine_goes_without_tls(prefix: str, plain: bool) -> None:
    assert deliver.without_tls(prefix) == plain
