"""The same content makes the same bytes, whatever the host, the time or the order of writing."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from images import layers
from images.layers import Store


def packed(root: Path, owner: int | None = 0) -> bytes:
    stream = io.BytesIO()
    layers.write(root, stream, owner=owner)
    return stream.getvalue()


def a_tree(root: Path, names: list[str]) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
        path.chmod(0o755 if name.endswith(".sh") else 0o644)
    for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    return root


def members(data: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return archive.getmembers()


def test_bytes_depend_on_the_content_alone(tmp_path: Path) -> None:
    names = ["usr/bin/a.sh", "usr/bin/b", "etc/c", "usr/bin-two"]
    one = a_tree(tmp_path / "one", names)
    two = a_tree(tmp_path / "two", names[::-1])
    for path in two.rglob("*"):
        os.utime(path, (1, 1))
    assert packed(one) == packed(two)

    (two / "etc/c").write_text("another")
    assert packed(one) != packed(two)


def test_parents_come_before_what_is_in_them(tmp_path: Path) -> None:
    found = [entry.name for entry in members(packed(a_tree(tmp_path / "root", ["a/b/c", "a-b"])))]
    assert found == ["a", "a/b", "a/b/c", "a-b"]


def test_links_stay_links(tmp_path: Path) -> None:
    root = a_tree(tmp_path / "root", ["first"])
    (root / "hard").hardlink_to(root / "first")
    (root / "soft").symlink_to("/etc/passwd")
    found = {entry.name: entry for entry in members(packed(root))}
    assert found["hard"].islnk()
    assert found["hard"].linkname == "first"
    assert found["soft"].issym()
    assert found["soft"].linkname == "/etc/passwd"


def test_nothing_of_the_host_gets_in(tmp_path: Path) -> None:
    names = ["dev/null", "run/secret", "tmp/left", "etc/resolv.conf", "etc/hosts", "etc/kept"]
    root = a_tree(tmp_path / "root", names)
    found = {entry.name for entry in members(packed(root))}
    assert found == {"dev", "run", "tmp", "etc", "etc/kept"}


@pytest.mark.parametrize("owner", [0, 107])
def test_owners_are_numbers(tmp_path: Path, owner: int) -> None:
    root = a_tree(tmp_path / "root", ["file"])
    [entry] = members(packed(root, owner))
    assert (entry.uid, entry.gid, entry.uname, entry.mtime) == (owner, owner, "", 0)


def test_a_layer_is_made_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.known("what", "key") is None
    made = store.add("what", "key", lambda stream: stream.write(b"bytes"))
    assert store.known("what", "key") == made
    assert store.known("what", "another key") is None
    assert store.blob(made.digest).read_bytes() == b"bytes"


def test_what_could_not_be_written_is_not_there(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(FileNotFoundError):
        store.add("what", "key", lambda stream: layers.write(tmp_path / "nowhere", stream))
    assert store.known("what", "key") is None
    assert list(store.blobs.iterdir()) == []


def test_old_layers_go_and_debians_stay(tmp_path: Path) -> None:
    store = Store(tmp_path)
    old = store.add("project-x", "1", lambda stream: stream.write(b"old"))
    new = store.add("project-x", "2", lambda stream: stream.write(b"new"))
    debian = store.add("debian-x", "1", lambda stream: stream.write(b"debian"))
    store.prune(frozenset({new.digest}))
    assert store.known("project-x", "1") is None
    assert not store.blob(old.digest).exists()
    assert store.known("project-x", "2") == new
    assert store.known("debian-x", "1") == debian


def test_a_lost_blob_is_made_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = store.add("what", "key", lambda stream: stream.write(b"bytes"))
    store.blob(made.digest).unlink()
    assert store.known("what", "key") is None


def test_the_hash_of_sources_sees_names_modes_and_contents(tmp_path: Path) -> None:
    root = a_tree(tmp_path / "root", ["a", "b.sh"])
    before = layers.hash_of(root)
    assert before == layers.hash_of(root)
    (root / "__pycache__").mkdir()
    (root / "__pycache__" / "a.pyc").write_text("compiled by the host")
    assert before == layers.hash_of(root)

    (root / "a").chmod(0o755)
    moded = layers.hash_of(root)
    (root / "a").write_text("changed")
    changed = layers.hash_of(root)
    (root / "a").rename(root / "c")
    renamed = layers.hash_of(root)
    assert len({before, moded, changed, renamed}) == 4
    assert layers.hash_of("ab", "c") != layers.hash_of("a", "bc")
