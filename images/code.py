"""Python code as layers: the pinned dependencies from PyPI, and the project itself.

The project's layer is what its wheel would install, less the packages that the image's processes
never import: so a change in virt-api makes no new launcher. Modules are compiled here by the
image's own Python, as a container cannot keep what it compiles, and would do so at each start.

Source: PEP 427 and 376 (dist-info), PEP 552 (unchecked hash-based .pyc files).
"""

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from localcluster.progress import Failed, step

from . import debian, layers, layout
from .layers import Layer, Store
from .tools import need, run

PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
# Of no use to a running program.
SUPERFLUOUS = (
    *("bin", "**/tests", "**/test", "**/*.pyi", "**/*.pxd", "**/*.pyx", "**/*.h"),
    # It would bring C++'s library into each process, 1.5 MiB, and has a twin in Python.
    "frozenlist/_frozenlist*.so",
    # They tell which program installed, and that must not change the digest.
    *("*.dist-info/INSTALLER", "*.dist-info/RECORD", "*.dist-info/REQUESTED", ".lock"),
)
MAKERS = (Path(__file__), debian.COMPILE)
"""What the layers' content depends on beside its sources."""


@dataclass(frozen=True, slots=True)
class Code:
    """The Python code of one image: entry points from pyproject.toml, sub-packages left out."""

    image: str
    lock: Path
    scripts: tuple[str, ...]
    without: frozenset[str]
    patient: frozenset[str] = frozenset()
    """Scripts for which SIGTERM waits until they handle it: the kernel drops what the first process
    of a container does not handle yet, and Python takes its time to come up."""


def dependencies(code: Code, store: Store) -> Layer:
    """All that the lock file names, with hashes, for the image's Python rather than the host's."""
    what = f"dependencies-{code.image}"
    key = layers.hash_of(
        code.lock, layout.PYTHON, *PLATFORMS, *SUPERFLUOUS, Path(__file__), debian.COMPILE
    )
    known = store.known(what, key)
    if known:
        return known
    with step(f"Python dependencies of {code.image}"), _stage(code) as stage:
        install_dependencies(code, stage)
        _compile(code, stage)
        return store.add(what, key, lambda stream: layers.write(stage, stream, owner=0))


def project(code: Code, store: Store) -> Layer:
    """What of `virtpod` the image's processes import, and their scripts in /usr/bin."""
    what = f"project-{code.image}"
    parts = _parts(code)
    names = (path.name for path in parts)
    key = layers.hash_of(
        *parts, *names, *code.scripts, layout.PYPROJECT, Path(__file__), debian.COMPILE
    )
    known = store.known(what, key)
    if known:
        return known
    with step(f"virtpod itself for {code.image}"), _stage(code) as stage:
        install_project(code, stage)
        _compile(code, stage)
        return store.add(what, key, lambda stream: layers.write(stage, stream, owner=0))


def install_dependencies(code: Code, root: Path) -> None:
    packages = root / layout.SITE_PACKAGES
    packages.mkdir(parents=True, exist_ok=True)
    run([*_installer(), "--target", str(packages), "--requirement", str(code.lock)])
    for pattern in SUPERFLUOUS:
        for path in list(packages.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def install_project(code: Code, root: Path) -> None:
    package = root / layout.SITE_PACKAGES / "virtpod"
    package.mkdir(parents=True)
    for part in _parts(code):
        if part.is_dir():
            shutil.copytree(part, package / part.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(part, package)
    for path in package.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    about = tomllib.loads(layout.PYPROJECT.read_text())["project"]
    _write_metadata(package.parent / f"virtpod-{about['version']}.dist-info", about)
    for script in code.scripts:
        _write_script(root / "usr/bin" / script, about["scripts"][script], script in code.patient)


def _parts(code: Code) -> list[Path]:
    unwanted = code.without | {"__pycache__"}
    return [path for path in sorted(layout.SOURCE.iterdir()) if path.name not in unwanted]


PATIENTLY = "/usr/bin/env -S --block-signal=TERM,INT "


def _write_metadata(folder: Path, about: dict[str, str]) -> None:
    """What importlib.metadata reads: the name and the version."""
    folder.mkdir()
    fields = {"Metadata-Version": "2.4", "Name": about["name"], "Version": about["version"]}
    text = "".join(f"{key}: {value}\n" for key, value in fields.items())
    (folder / "METADATA").write_text(text)
    (folder / "INSTALLER").write_text("virtpod-images\n")


def _write_script(path: Path, target: str, patient: bool) -> None:
    """-I: neither the environment nor the working folder can put code in front of ours."""
    module, function = target.split(":")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"#!{PATIENTLY if patient else ''}/usr/bin/python3 -I\n"
        "import sys\n\n"
        f"from {module} import {function}\n\n"
        f"sys.exit({function}())\n"
    )
    path.chmod(0o755)


@contextmanager
def _stage(code: Code) -> Iterator[Path]:
    """An empty folder within the image's root file system, where its Python can see it."""
    with tempfile.TemporaryDirectory(dir=debian.root(code.image) / "tmp") as folder:
        stage = Path(folder) / "layer"
        stage.mkdir()
        yield stage


def _compile(code: Code, stage: Path) -> None:
    root = debian.root(code.image)
    inside = f"/{stage.relative_to(root)}"
    shutil.copy(debian.COMPILE, stage.parent)
    program = f"{inside}/../{debian.COMPILE.name}"
    run(["chroot", str(root), "python3", "-I", program, inside, inside])


def _installer() -> list[str]:
    """uv where there is one (it is faster, and asks the target's markers), or else pip."""
    uv = shutil.which("uv") or shutil.which("uv", path=str(layout.ROOT / ".local/venv/bin"))
    if uv:
        target = ["--python-version", layout.PYTHON, "--python-platform", "x86_64-manylinux_2_28"]
        return [uv, "pip", "install", "--quiet", "--require-hashes", "--no-deps", *target]
    options = ["--quiet", "--disable-pip-version-check", "--no-compile", "--no-deps"]
    target = ["--implementation", "cp", "--python-version", layout.PYTHON]
    target += ["--only-binary", ":all:"]
    for platform in PLATFORMS:
        target += ["--platform", platform]
    return [*_pip(), "install", *options, "--require-hashes", "--root-user-action=ignore", *target]


def _pip() -> list[str]:
    pip = [sys.executable, "-m", "pip"]
    if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode:
        pip = [need("pip3", "python3-pip")]
    version = re.search(r"pip (\d+)", run([*pip, "--version"]))
    if not version or int(version[1]) < 22:
        raise Failed("uv, or pip 22 or newer, is needed for Python's packages")
    return pip
