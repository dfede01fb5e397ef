"""A folder as a layer of an image: one tar stream whose bytes depend on the content alone.

Names are sorted, times are 0, owners are numbers. It is not compressed: on one host the
unpacking would cost more than the reading saves, and skopeo compresses on the way to a registry.

Made layers are kept under the hash of what they were made from, so that only a changed one is
made again.

Source: OCI image-spec, layer.md.
"""

import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, cast

from . import layout

MEDIA_TYPE = "application/vnd.oci.image.layer.v1.tar"
# Mount points: what they hold in a folder is the building host's.
EMPTY = frozenset({"dev", "proc", "run", "sys", "tmp"})
HOSTS_OWN = frozenset({"etc/resolv.conf", "etc/hostname", "etc/hosts"})


@dataclass(frozen=True, slots=True)
class Layer:
    """A blob of the store. It is not compressed, so its digest is also its `diff_id`."""

    digest: str
    size: int
    what: str


@dataclass(frozen=True, slots=True)
class Store:
    """Blobs by digest and, for each way of making one, which it became."""

    folder: Path = layout.MADE

    @property
    def blobs(self) -> Path:
        return self.folder / "blobs" / "sha256"

    def blob(self, digest: str) -> Path:
        return self.blobs / digest.removeprefix("sha256:")

    def known(self, what: str, key: str) -> Layer | None:
        """The layer that was made from what `key` is the hash of."""
        try:
            layer = Layer(**json.loads(self._record(what, key).read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        return layer if self.blob(layer.digest).exists() else None

    def add(self, what: str, key: str, write: Callable[[IO[bytes]], object]) -> Layer:
        """Keep what `write` writes, whole or not at all."""
        self.blobs.mkdir(parents=True, exist_ok=True)
        partial = self.blobs / f".{os.getpid()}"
        try:
            with partial.open("wb") as raw:
                stream = _Hashing(raw)
                write(cast(IO[bytes], stream))
            layer = Layer(f"sha256:{stream.digest.hexdigest()}", partial.stat().st_size, what)
            partial.replace(self.blob(layer.digest))
        finally:
            partial.unlink(missing_ok=True)
        record = self._record(what, key)
        record.parent.mkdir(exist_ok=True)
        fresh = record.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps(asdict(layer)))
        fresh.replace(record)
        return layer

    def prune(self, keep: frozenset[str]) -> None:
        """Forget what was made from older sources; Debian's layers take long to make and stay."""
        kept = set(keep)
        for record in self.folder.glob("records/*.json"):
            layer = Layer(**json.loads(record.read_bytes()))
            if layer.digest in keep or layer.what.startswith("debian"):
                kept.add(layer.digest)
            else:
                record.unlink()
        for blob in self.blobs.iterdir():
            if f"sha256:{blob.name}" not in kept and not blob.name.startswith("."):
                blob.unlink()

    def _record(self, what: str, key: str) -> Path:
        return self.folder / "records" / f"{what}-{key}.json"


def write(root: Path, stream: IO[bytes], owner: int | None = None) -> None:
    """All that lies under `root`. Files belong to `owner`, or else to whom they belong there."""
    linked: dict[tuple[int, int], str] = {}
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for name, path in _names(root):
            facts = path.lstat()
            entry = tarfile.TarInfo(name)
            entry.mode = stat.S_IMODE(facts.st_mode)
            entry.uid = facts.st_uid if owner is None else owner
            entry.gid = facts.st_gid if owner is None else owner
            if stat.S_ISLNK(facts.st_mode):
                entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(path)
                archive.addfile(entry)
            elif stat.S_ISDIR(facts.st_mode):
                entry.type = tarfile.DIRTYPE
                archive.addfile(entry)
            elif stat.S_ISREG(facts.st_mode):
                first = linked.setdefault((facts.st_dev, facts.st_ino), name)
                if first != name:
                    entry.type, entry.linkname = tarfile.LNKTYPE, first
                    archive.addfile(entry)
                else:
                    entry.size = facts.st_size
                    with path.open("rb") as file:
                        archive.addfile(entry, file)


def unpack(layer: Layer, store: Store, root: Path) -> None:
    """Lay one layer over what is in `root`; the layers made here have no whiteouts."""
    with tarfile.open(store.blob(layer.digest)) as archive:
        archive.extractall(root, numeric_owner=True, filter="fully_trusted")


def hash_of(*parts: str | bytes | Path) -> str:
    """A short hash of texts, of files (name, mode, content) and of folders of such."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            for name, path in _names(part) if part.is_dir() else [(part.name, part)]:
                if "__pycache__" in name or not path.is_file():
                    continue
                digest.update(f"{name}\0{path.stat().st_mode & 0o111}\0".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
        else:
            text = part.encode() if isinstance(part, str) else part
            digest.update(b"%d:" % len(text) + text)
    return digest.hexdigest()[:16]


def _names(root: Path) -> Iterator[tuple[str, Path]]:
    """Every name below `root`, parents first, each folder's names in the order of their bytes."""

    def walk(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
        for name in sorted(os.listdir(folder), key=os.fsencode):
            inner, path = f"{prefix}{name}", folder / name
            if inner in HOSTS_OWN:
                continue
            yield inner, path
            if inner not in EMPTY and path.is_dir() and not path.is_symlink():
                yield from walk(path, f"{inner}/")

    return walk(root, "")


class _Hashing(io.RawIOBase):
    """A stream that knows the digest of what has gone through it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.digest.update(data)
        return self._stream.write(data)
