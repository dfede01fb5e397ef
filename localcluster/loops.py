"""Loop devices: a file of the host as a block device, seen by all nodes, who share its /dev.

Source: losetup(8), loop(4).
"""

import subprocess
from pathlib import Path

from . import layout


def attach(file: Path, device: str = "") -> str:
    """The device that shows the file; `device` where it must be that one. Safe to repeat."""
    for found in of(file):
        if not device or found == device:
            return found
    # Past the page cache: what a guest was told to be on its disk is in the file.
    where = [device] if device else ["--find", "--show"]
    return _losetup("--direct-io=on", *where, str(file)) or device


def grow(file: Path) -> None:
    """Lets the file's devices show its new size."""
    for device in of(file):
        _losetup("--set-capacity", device)


def detach(file: Path) -> None:
    """Also where a kubelet has its own device on top: that one keeps ours until it goes itself."""
    for device in of(file):
        _losetup("--detach", device)


def of(file: Path) -> list[str]:
    return [name for name, backing in _all() if backing == str(file)]


def detach_all() -> None:
    """All that show files of this checkout's cluster, and what kubelets had put on top of them."""
    found = _all()
    ours = {name: file for name, file in found if file.startswith(f"{layout.CLUSTER}/")}
    # A kubelet's is known by the folder that it is in, which has the volume's name.
    volumes = {Path(file).name for file in ours.values()}
    tops = [name for name, file in found if name not in ours and volumes & {*Path(file).parts}]
    for device in (*tops, *ours):
        _losetup("--detach", device)


def _all() -> list[tuple[str, str]]:
    """Device and file, of each in use. A file that was deleted has that word after its name."""
    lines = _losetup("--list", "--noheadings", "--raw", "--output", "NAME,BACK-FILE").splitlines()
    found = [line.split(" ", 1) for line in lines if " " in line]
    return [(name, file.strip().removesuffix(" (deleted)")) for name, file in found]


def _losetup(*words: str) -> str:
    done = subprocess.run(["losetup", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"losetup {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()
