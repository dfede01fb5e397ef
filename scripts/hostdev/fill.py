"""Images onto the node's disk before it boots: `python -m scripts.hostdev.fill DISK ARCHIVE...`.

containerd does it on the host, in seconds; within the node the hashing and unpacking would take
minutes. To be run in a mount namespace of its own (unshare(1)), which ends with it.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from localcluster import layout
from localcluster.progress import Failed, until

CONTAINERD = "var/lib/containerd"
"""Below the file system's top, where boot.py looks for /var."""


def main() -> int:
    disk, *archives = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="hostdev-") as made:
        folder = Path(made)
        (folder / "disk").mkdir()
        _run("mount", "--make-rprivate", "/")
        _run("mount", "-o", "loop", disk, str(folder / "disk"))
        try:
            _import(folder, folder / "disk" / CONTAINERD, archives)
        finally:
            _run("umount", str(folder / "disk"))
    return 0


def _import(folder: Path, root: Path, archives: list[str]) -> None:
    socket = folder / "containerd.sock"
    config = folder / "containerd.toml"
    config.write_text(f"""\
version = 3
root = "{root}"
state = "{folder / "state"}"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.nri.v1.nri"]

[grpc]
  address = "{socket}"

[ttrpc]
  address = "{folder / "ttrpc.sock"}"
""")
    log = layout.LOGS / "hostdev-fill.log"
    with log.open("wb") as stream:
        command = [str(layout.BIN / "containerd"), "--config", str(config)]
        process = subprocess.Popen(command, stdout=stream, stderr=stream)
        try:
            until("containerd", socket.exists, seconds=60, logs=(log,))
            for archive in archives:
                ctr = (str(layout.BIN / "ctr"), "--address", str(socket), "--namespace", "k8s.io")
                _run(*ctr, "images", "import", archive)
        finally:
            process.terminate()
            process.wait(60)


def _run(*command: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr}")


if __name__ == "__main__":
    sys.exit(main())
