"""From the store into the nodes of a local cluster, or to a registry.

Source: ctr(8) images import; skopeo-copy(1). A registry on this machine is spoken to without
TLS, any other with it.
"""

import shutil
import tempfile
from pathlib import Path

from localcluster import cluster
from localcluster.progress import say, step

from . import layout, oci
from .layers import Store
from .tools import need, run


def into_cluster(built: list[oci.Built], prefix: str, store: Store) -> None:
    """Import what a node does not have yet; an archive stays for nodes that come later."""
    folder = layout.MADE / "archives"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {folder / f"{image.name}-{image.tag}.tar": image for image in built}
    for old in set(folder.glob("*.tar")) - wanted.keys():
        old.unlink()
    for path, image in wanted.items():
        reference = image.reference(prefix)
        marker = path.with_suffix(".ref")
        if not path.exists() or not marker.exists() or marker.read_text() != reference:
            oci.write_archive(image, reference, store, path)
            marker.write_text(reference)
    with step(f"importing {len(wanted)} images into the cluster's nodes"):
        cluster.import_images(list(wanted))


def to_registry(built: list[oci.Built], prefix: str, store: Store) -> None:
    skopeo = need("skopeo")
    for image in built:
        reference = image.reference(prefix)
        plain = prefix.split("/")[0].split(":")[0] in ("127.0.0.1", "localhost")
        options = [f"--dest-tls-verify={'false' if plain else 'true'}"]
        if _is_there(skopeo, reference, plain):
            say(f"{reference} is there")
            continue
        layout.MADE.mkdir(parents=True, exist_ok=True)
        with (
            step(f"pushing {reference}, {image.size >> 20} MiB before compression"),
            tempfile.TemporaryDirectory(dir=layout.MADE) as folder,
        ):
            oci.write_folder(image, reference, store, Path(folder))
            source = f"oci:{folder}:{image.tag}"
            run([skopeo, "copy", "--quiet", *options, source, f"docker://{reference}"])


def _is_there(skopeo: str, reference: str, plain: bool) -> bool:
    import subprocess

    return (
        subprocess.run(
            [
                skopeo,
                "inspect",
                "--raw",
                f"--tls-verify={'false' if plain else 'true'}",
                f"docker://{reference}",
            ],
            capture_output=True,
            check=False,
        ).returncode
        == 0
    )
