"""The three images that the cluster itself needs, written as OCI archives without any tool.

A reference's tag is the hash of what the image holds, so a changed image has another name and
an imported one is never stale.

Source: the OCI image layout and image manifest specifications.
"""

import hashlib
import io
import json
import platform
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import layout
from .progress import Failed

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True, slots=True)
class File:
    """A regular file of an image, or a symbolic link where `link` is set."""

    path: str
    source: Path | None = None
    content: bytes = b""
    mode: int = 0o755
    link: str = ""


@dataclass(frozen=True, slots=True)
class Image:
    name: str
    files: Callable[[], list[File]]
    entrypoint: tuple[str, ...]

    @property
    def archive(self) -> Path:
        """Where the image lies as a tar file; written when it is not there."""
        return _written(self)[1]

    @property
    def reference(self) -> str:
        return _written(self)[0]


def _pause_files() -> list[File]:
    return [File("pause", layout.BIN / "pause")]


def _coredns_files() -> list[File]:
    return [File("coredns", layout.BIN / "coredns")]


def _tools_files() -> list[File]:
    """Debian's busybox with the libraries it is linked to, and a page that can be served."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise Failed("busybox is not installed")
    files = [File("bin/busybox", Path(busybox))]
    answer = subprocess.run(["ldd", busybox], capture_output=True, text=True, check=False).stdout
    libraries = re.findall(r"(/\S+) \(0x", answer)
    files += [File(library.lstrip("/"), Path(library).resolve()) for library in libraries]
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout
    links = [applet for applet in applets.split() if applet != "busybox"]
    files += [File(f"bin/{applet}", link="busybox") for applet in links]
    files.append(File("etc/passwd", content=b"root:x:0:0::/:/bin/sh\n", mode=0o644))
    files.append(File("www/index.html", content=b"hello from a pod\n", mode=0o644))
    files.append(File("tmp/.keep", mode=0o644))
    return files


PAUSE = Image("localhost/cluster/pause", _pause_files, ("/pause",))
COREDNS = Image("localhost/cluster/coredns", _coredns_files, ("/coredns",))
TOOLS = Image("localhost/cluster/tools", _tools_files, ("/bin/sleep", "infinity"))
ALL = (PAUSE, COREDNS, TOOLS)

_known: dict[str, tuple[str, Path]] = {}


def _written(image: Image) -> tuple[str, Path]:
    if image.name not in _known:
        files = image.files()
        tag = _fingerprint(image, files)
        reference = f"{image.name}:{tag}"
        archive = layout.IMAGES / f"{image.name.rpartition('/')[2]}-{tag}.tar"
        if not archive.exists():
            layout.IMAGES.mkdir(parents=True, exist_ok=True)
            fresh = archive.with_suffix(".new")
            write_archive(fresh, reference, files, image.entrypoint)
            fresh.replace(archive)
        _known[image.name] = (reference, archive)
    return _known[image.name]


def _fingerprint(image: Image, files: list[File]) -> str:
    """Of names, modes and contents; a large binary stands there with its size and time."""
    digest = hashlib.sha256(repr(image.entrypoint).encode())
    for file in files:
        digest.update(repr((file.path, file.mode, file.link, file.content)).encode())
        if file.source:
            facts = file.source.stat()
            digest.update(repr((facts.st_size, facts.st_mtime_ns)).encode())
    return digest.hexdigest()[:12]


def write_archive(
    path: Path, reference: str, files: list[File], entrypoint: tuple[str, ...]
) -> None:
    """One uncompressed layer: unpacking it costs less than reading it compressed would save."""
    layer = path.with_suffix(".layer")
    _write_layer(layer, files)
    with layer.open("rb") as stream:
        layer_digest = hashlib.file_digest(stream, "sha256").hexdigest()

    config = _json(
        {
            "architecture": _architecture(),
            "os": "linux",
            "config": {"Entrypoint": list(entrypoint), "Env": ["PATH=/bin:/sbin:/usr/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor(CONFIG, config),
            "layers": [
                {
                    "mediaType": LAYER,
                    "digest": f"sha256:{layer_digest}",
                    "size": layer.stat().st_size,
                }
            ],
        }
    )
    annotations = {
        "io.containerd.image.name": reference,
        "org.opencontainers.image.ref.name": reference.rpartition(":")[2],
    }
    entry = _descriptor(MANIFEST, manifest) | {"annotations": annotations}
    index = _json({"schemaVersion": 2, "manifests": [entry]})

    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(archive, "index.json", index)
        for blob in (config, manifest):
            _add(archive, f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}", blob)
        archive.add(layer, f"blobs/sha256/{layer_digest}", filter=_anonymous)
    layer.unlink()


def contents(archive: Path) -> set[tuple[str, ...]]:
    """Pairs of an image's reference and digest, as `ctr images import` will name them."""
    with tarfile.open(archive) as opened:
        try:
            index = opened.extractfile("index.json")
        except KeyError:
            return set()
        manifests = json.load(index)["manifests"] if index else []
    return {
        (name, each["digest"])
        for each in manifests
        if (name := each.get("annotations", {}).get("io.containerd.image.name"))
    }


def _write_layer(path: Path, files: list[File]) -> None:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as layer:
        for file in files:
            entry = tarfile.TarInfo(file.path)
            entry.mode = file.mode
            if file.link:
                entry.type, entry.linkname = tarfile.SYMTYPE, file.link
                layer.addfile(entry)
            elif file.source:
                entry.size = file.source.stat().st_size
                with file.source.open("rb") as stream:
                    layer.addfile(entry, stream)
            else:
                entry.size = len(file.content)
                layer.addfile(entry, io.BytesIO(file.content))


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _descriptor(kind: str, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _architecture() -> str:
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
