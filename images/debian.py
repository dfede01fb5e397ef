"""A root file system from Debian's packages, which mmdebstrap gets as the host's apt is set up to.

It is kept as a folder too: Python's modules of the layers above are compiled in it, and tests run
its programs.

Source: mmdebstrap(1). Containerfiles use the same list of packages and the same scripts.
"""

import shutil
import time
from pathlib import Path

from localcluster.progress import say, step

from . import layers, layout
from .layers import Layer, Store
from .tools import need, need_root, run

SCRIPTS = layout.HERE / "rootfs"
USERS, FINISH = SCRIPTS / "users.sh", SCRIPTS / "finish.sh"
SUITES = SCRIPTS / "suites.sh"
"""Runs where a package is asked of another suite: `PACKAGE/SUITE`."""
COMPILE = SCRIPTS / "compile.py"
"""Compiles Python's modules; `FINISH` runs it too."""


def layer(name: str, store: Store, finish: Path = FINISH) -> Layer:
    """The image's lowest layer."""
    what = f"debian-{name}"
    key = layers.hash_of(_key(name, finish=finish), Path(layers.__file__))
    known = store.known(what, key)
    if known:
        return known
    tree = root(name, finish=finish)
    with step(f"packing the root file system of {name}"):
        return store.add(what, key, lambda stream: layers.write(tree, stream))


def root(name: str, users: Path | None = USERS, finish: Path = FINISH) -> Path:
    """The same as a folder; made when it is not there. The scripts are those of containers; what
    boots has its own."""
    tree = layout.CACHE / f"debian-{name}-{_key(name, users, finish)}"
    if not tree.exists():
        need_root()
        mmdebstrap = need("mmdebstrap")
        tree.parent.mkdir(parents=True, exist_ok=True)
        for old in tree.parent.glob(f"debian-{name}-*"):
            shutil.rmtree(old)
        partial = tree.with_suffix(".partial")
        wanted = packages(name)
        with step(f"root file system of {name} from {len(wanted)} Debian packages and their own"):
            begun = time.monotonic()
            run(_mmdebstrap(mmdebstrap, wanted, users, partial))
            run(["sh", str(finish), str(partial)])
        say(f"{name}: {len(_installed(partial))} packages, {time.monotonic() - begun:.0f} s")
        partial.rename(tree)
    return tree


def packages(name: str) -> tuple[str, ...]:
    lines = (layout.HERE / f"{name}.packages").read_text().splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


def _mmdebstrap(
    program: str, wanted: tuple[str, ...], users: Path | None, target: Path
) -> list[str]:
    return [
        # What it mounts is gone with it, even when it is killed.
        *("unshare", "--mount", program),
        *("--mode=root", "--variant=essential", "--format=directory", "--quiet"),
        f"--include={','.join(wanted)}",
        *(f'--setup-hook=sh "{script}" "$1"' for script in _suites(wanted)),
        *((f'--essential-hook=sh "{users}" "$1"',) if users else ()),
        '--aptopt=Acquire::Languages "none"',
        "--dpkgopt=force-unsafe-io",  # an interrupted build starts anew
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        layout.SUITE,
        str(target),
    ]


def _installed(tree: Path) -> list[str]:
    status = (tree / "var/lib/dpkg/status").read_text(errors="replace")
    return [line for line in status.splitlines() if line.startswith("Package: ")]


def _suites(wanted: tuple[str, ...]) -> list[Path]:
    return [SUITES] if any("/" in package for package in wanted) else []


def _key(name: str, users: Path | None = USERS, finish: Path = FINISH) -> str:
    wanted = packages(name)
    scripts = [
        *_suites(wanted),
        *([users] if users else []),
        finish,
        *([COMPILE] if finish == FINISH else []),
    ]
    return layers.hash_of(layout.SUITE, *wanted, *scripts)
