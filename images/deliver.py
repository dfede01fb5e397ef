"""From the store into the nodes of a local cluster, or to a registry.

Source: ctr(8) images import; skopeo-copy(1). A registry on this machine is spoken to without
TLS, any other with it.
"""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from localcluster import cluster, state
from localcluster import layout as cluster_layout
from localcluster.progress import Failed, say, step

from . import oci
from .layers import Store
from .tools import need, run


def into_cluster(built: Sequence[oci.Built], prefix: str, store: Store) -> None:
    """Give every node what it lacks: in seconds where only the project's own layer is new."""
    nodes = [node.name for node in state.load().nodes if state.load().alive(node.name)]
    if not nodes:
        raise Failed("the local cluster has no running node: start it first")
    images = [set(_ctr(node, "images", "ls", "-q")) for node in nodes]
    blobs = [set(_ctr(node, "content", "ls", "-q")) for node in nodes]
    there = frozenset.intersection(*map(frozenset, images))
    have = frozenset.intersection(*map(frozenset, blobs))
    for image in built:
        if image.reference(prefix) in there:
            continue
        new = [layer for layer in image.layers if layer.digest not in have]
        size = sum(layer.size for layer in new)
        with step(f"importing {image.reference(prefix)} into {len(nodes)} nodes, {_mib(size)}"):
            try:
                _import(image, prefix, store, have)
            except Failed:
                # A layer that no image used any more was swept away in between.
                _import(image, prefix, store, frozenset())


def to_registry(built: Sequence[oci.Built], prefix: str, store: Store) -> None:
    skopeo = need("skopeo")
    tls = "false" if without_tls(prefix) else "true"
    for image in built:
        reference = image.reference(prefix)
        look = [skopeo, "inspect", "--raw", f"--tls-verify={tls}", f"docker://{reference}"]
        if subprocess.run(look, capture_output=True, check=False).returncode == 0:
            say(f"{reference} is there")
            continue
        with (
            step(f"pushing {reference}, {_mib(image.size)} before compression"),
            tempfile.TemporaryDirectory(dir=store.folder) as folder,
        ):
            oci.write_folder(image, reference, store, Path(folder))
            copy = [skopeo, "copy", "--quiet", f"--dest-tls-verify={tls}"]
            run([*copy, f"oci:{folder}:{image.tag}", f"docker://{reference}"])


def without_tls(prefix: str) -> bool:
    return prefix.split("/")[0].split(":")[0] in ("127.0.0.1", "localhost")


def _import(image: oci.Built, prefix: str, store: Store, have: frozenset[str]) -> None:
    with tempfile.TemporaryDirectory(dir=store.folder) as folder:
        archive = Path(folder) / f"{image.name}.tar"
        oci.write_archive(image, image.reference(prefix), store, archive, without=have)
        cluster.import_images([archive])


def _ctr(node: str, *words: str) -> list[str]:
    ctr = [str(cluster_layout.BIN / "ctr"), "--namespace", "k8s.io", *words]
    return run(cluster.within(node, ctr)).split()


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
