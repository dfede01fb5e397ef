"""Images as other programs read them: digests that hold, references made of content."""

import hashlib
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from images import oci
from images.layers import Layer, Store
from images.oci import Settings

SETTINGS = Settings(command=("/bin/a",), environment={"B": "2", "A": "1"}, user="107")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def an_image(store: Store, top: bytes = b"top", settings: Settings = SETTINGS) -> oci.Built:
    def a_layer(name: str, content: bytes) -> Layer:
        def write(stream: object) -> None:
            with tarfile.open(fileobj=stream, mode="w|") as archive:  # type: ignore[call-overload]
                entry = tarfile.TarInfo(content.decode())
                archive.addfile(entry)

        return store.add(name, content.decode(), write)

    return oci.image("name", (a_layer("base", b"base"), a_layer("top", top)), settings)


def test_a_reference_is_made_of_the_content(store: Store) -> None:
    first = an_image(store)
    assert first.reference("virtpod.local") == f"virtpod.local/name:{first.digest[7:19]}"
    assert first.reference("p") == an_image(store).reference("p")
    others = [an_image(store, top=b"changed"), an_image(store, settings=Settings())]
    assert len({first.tag, *(other.tag for other in others)}) == 3


def test_the_archive_is_a_whole_image_layout(store: Store, tmp_path: Path) -> None:
    built = an_image(store)
    path = tmp_path / "image.tar"
    oci.write_archive(built, built.reference("p"), store, path)
    with tarfile.open(path) as archive:
        files = {each.name: archive.extractfile(each).read() for each in archive}  # type: ignore[union-attr]
    for name, content in files.items():
        if name.startswith("blobs/"):
            assert name == f"blobs/sha256/{hashlib.sha256(content).hexdigest()}"

    def blob(descriptor: dict[str, object]) -> bytes:
        content = files[f"blobs/{str(descriptor['digest']).replace(':', '/')}"]
        assert descriptor["size"] == len(content)
        return content

    [entry] = json.loads(files["index.json"])["manifests"]
    assert entry["annotations"]["io.containerd.image.name"] == built.reference("p")
    manifest = json.loads(blob(entry))
    config = json.loads(blob(manifest["config"]))
    assert config["config"] == {"Cmd": ["/bin/a"], "Env": ["A=1", "B=2"], "User": "107"}
    assert config["rootfs"]["diff_ids"] == [each["digest"] for each in manifest["layers"]]
    assert [len(blob(each)) for each in manifest["layers"]] == [each.size for each in built.layers]


def test_the_same_image_is_the_same_archive(store: Store, tmp_path: Path) -> None:
    built = an_image(store)
    for name in ("one", "two"):
        oci.write_archive(built, built.reference("p"), store, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_layers_that_a_node_has_are_left_out(store: Store, tmp_path: Path) -> None:
    built = an_image(store)
    base, top = (layer.digest.removeprefix("sha256:") for layer in built.layers)
    path = tmp_path / "image.tar"
    oci.write_archive(built, "p/n:t", store, path, without=frozenset({f"sha256:{base}"}))
    with tarfile.open(path) as archive:
        names = archive.getnames()
    assert f"blobs/sha256/{top}" in names
    assert f"blobs/sha256/{base}" not in names


@pytest.mark.images
@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is another reader of images")
def test_skopeo_reads_it(store: Store, tmp_path: Path) -> None:
    built = an_image(store)
    oci.write_folder(built, built.reference("p"), store, tmp_path / "layout")
    said = subprocess.run(
        ["skopeo", "inspect", f"oci:{tmp_path / 'layout'}:{built.tag}"],
        capture_output=True,
        check=True,
    ).stdout
    found = json.loads(said)
    assert found["Digest"] == built.digest
    assert found["Layers"] == [layer.digest for layer in built.layers]
