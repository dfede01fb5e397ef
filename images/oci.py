"""Layers as an OCI image: configuration, manifest, index, and the whole as one tar file.

Nothing of it depends on the time or the machine, so the same content has the same digest, and a
reference can carry it: `virtpod.local/virtpod:0123456789ab`. Such a reference is never stale, and
a changed image has another one.

Source: OCI image-spec (manifest.md, config.md, image-layout.md); containerd's import reads the
annotation `io.containerd.image.name`.
"""

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import layers
from .layers import Layer, Store

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
TAG_LENGTH = 12


@dataclass(frozen=True, slots=True)
class Settings:
    """How a container of the image starts where nobody says otherwise."""

    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""


@dataclass(frozen=True, slots=True)
class Built:
    """An image whose layers are in the store."""

    name: str
    layers: tuple[Layer, ...]
    config: bytes
    manifest: bytes

    @property
    def digest(self) -> str:
        return _digest(self.manifest)

    @property
    def tag(self) -> str:
        return self.digest.removeprefix("sha256:")[:TAG_LENGTH]

    @property
    def size(self) -> int:
        return sum(layer.size for layer in self.layers)

    def reference(self, prefix: str) -> str:
        return f"{prefix}/{self.name}:{self.tag}"


def image(name: str, content: tuple[Layer, ...], settings: Settings) -> Built:
    process: dict[str, Any] = {}
    if settings.environment:
        process["Env"] = [f"{key}={value}" for key, value in sorted(settings.environment.items())]
    if settings.command:
        process["Cmd"] = list(settings.command)
    if settings.user:
        process["User"] = settings.user
    config = _json(
        {
            "architecture": architecture(),
            "os": "linux",
            "config": process,
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in content]},
            "history": [{"created_by": layer.what} for layer in content],
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor(CONFIG, config),
            "layers": [
                {"mediaType": layers.MEDIA_TYPE, "digest": layer.digest, "size": layer.size}
                for layer in content
            ],
        }
    )
    return Built(name, content, config, manifest)


def write_archive(
    built: Built,
    reference: str,
    store: Store,
    path: Path,
    without: frozenset[str] = frozenset(),
) -> None:
    """A tar file for `ctr images import`, less the layers that containerd has already."""
    partial = path.with_suffix(".partial")
    try:
        with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as archive:
            for name, content in _documents(built, reference).items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
            for layer in dict.fromkeys(built.layers):
                if layer.digest in without:
                    continue
                entry = tarfile.TarInfo(_blob_name(layer.digest))
                entry.size = layer.size
                with store.blob(layer.digest).open("rb") as blob:
                    archive.addfile(entry, blob)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_folder(built: Built, reference: str, store: Store, folder: Path) -> None:
    """An image layout as a folder; its layers are hard links into the store."""
    for name, content in _documents(built, reference).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for layer in dict.fromkeys(built.layers):
        (folder / _blob_name(layer.digest)).hardlink_to(store.blob(layer.digest))


def architecture() -> str:
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def _documents(built: Built, reference: str) -> dict[str, bytes]:
    annotations = {
        "io.containerd.image.name": reference,
        "org.opencontainers.image.ref.name": reference.rpartition(":")[2],
    }
    entry = _descriptor(MANIFEST, built.manifest) | {"annotations": annotations}
    return {
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        "index.json": _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}),
        _blob_name(_digest(built.config)): built.config,
        _blob_name(_digest(built.manifest)): built.manifest,
    }


def _blob_name(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _descriptor(kind: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": _digest(content), "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
