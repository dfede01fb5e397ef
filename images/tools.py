"""Programs of the host: found, or installed from Debian where they are missing."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from localcluster.progress import Failed, step

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def need(program: str, package: str = "") -> str:
    """The path of a program; its Debian package is installed when it is not there."""
    found = shutil.which(program, path=PATH)
    if found is None:
        _apt_install(package or program)
        found = shutil.which(program, path=PATH)
    if found is None:
        raise Failed(f"{program} is not in Debian's package {package or program}")
    return found


def run(
    command: Sequence[str],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """What the command printed; it is a failure, with its last words, when it fails."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "LC_ALL": "C.UTF-8", "PATH": PATH, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        words = (done.stderr or done.stdout).strip()[-3000:]
        raise Failed(f"{' '.join(command)}: exit code {done.returncode}\n{words}")
    return done.stdout


def need_root() -> None:
    if os.geteuid() != 0:
        raise Failed("a root file system is made by root only: run this as root")


def _apt_install(package: str) -> None:
    """A fresh machine has no package lists, so the first try may fail for want of them."""
    need_root()
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package]
    install += ["-o", "DPkg::Lock::Timeout=300"]  # the cluster's packages may be on their way
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    with step(f"installing {package}"):
        try:
            run(install, environment=quiet)
        except Failed:
            run(["apt-get", "update", "-qq"])
            run(install, environment=quiet)
