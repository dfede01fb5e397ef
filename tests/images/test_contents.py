"""What the built images hold: each entry point imports, each program runs, nothing is stale."""

import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from images import catalogue, debian, layers, layout
from images.layers import Store

pytestmark = pytest.mark.images

UNCHECKED_HASH = b"\x01\x00\x00\x00"  # PEP 552: the flags after the magic number
IN_ROOT = 'mount -t proc proc "$1/proc" && exec chroot --userspec="$0" "$@"'
DEVICES = {"null": 3, "zero": 5, "random": 8, "urandom": 9}
PROGRAMS = {
    "virtpod": ["nft --version", "ip -V", "nsenter --version"],
    "virt-launcher": [
        *("qemu-system-x86_64 --version", "qemu-img --version", "libvirtd --version"),
        *("virsh --version", "dnsmasq --version", "xorriso --version", "passt --version"),
        *("swtpm --version", "swtpm_setup --print-capabilities", "nft --version", "ip -V"),
        *("/usr/libexec/virtiofsd --version", "container-disk --no-op"),
    ],
}


@pytest.fixture(scope="module", params=sorted(catalogue.CODE))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def root(name: str) -> Iterator[Path]:
    """The image as a folder: its layers, unpacked one over the other as containerd does."""
    layout.CACHE.mkdir(parents=True, exist_ok=True)
    store = Store()
    built = catalogue.ALL[name].build(store)
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=layout.CACHE))
    folder.chmod(0o755)
    try:
        for layer in built.layers:
            layers.unpack(layer, store, folder)
        for device, minor in DEVICES.items():
            os.mknod(folder / "dev" / device, stat.S_IFCHR | 0o666, os.makedev(1, minor))
            (folder / "dev" / device).chmod(0o666)
        yield folder
    finally:
        shutil.rmtree(folder)


def in_root(root: Path, command: list[str], user: int = 107) -> str:
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", IN_ROOT, f"{user}:{user}", str(root), *command],
        env={"PATH": catalogue.PATH, "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def test_every_entry_point_imports(name: str, root: Path) -> None:
    """A chroot has no network and no cluster: importing is as far as it goes."""
    for script in catalogue.CODE[name].scripts:
        text = (root / "usr/bin" / script).read_text()
        # A launcher is the first process of its container: its SIGTERM must not come too early.
        blocked = "/usr/bin/env -S --block-signal=TERM,INT " * (script == "virt-launcher")
        assert text.startswith(f"#!{blocked}/usr/bin/python3 -I\n")
        [line] = re.findall(r"^from .* import .*$", text, re.MULTILINE)
        in_root(root, ["python3", "-I", "-c", line])


def test_every_module_imports(name: str, root: Path) -> None:
    """Also what is imported late. The protocol of the kubelet is for virt-handler only."""
    skipped = "__main__" if name == "virtpod" else ("__main__", "_pb2", "_pb2_grpc")
    code = (
        "import importlib, pkgutil, virtpod\n"
        "for found in pkgutil.walk_packages(virtpod.__path__, 'virtpod.'):\n"
        f"    if not found.name.endswith({skipped!r}): importlib.import_module(found.name)\n"
    )
    in_root(root, ["python3", "-I", "-c", code])


def test_its_programs_run(name: str, root: Path) -> None:
    for program in PROGRAMS[name]:
        in_root(root, program.split())


def test_modules_are_compiled_for_good(root: Path) -> None:
    own = list((root / layout.SITE_PACKAGES).rglob("*.py"))
    library = list((root / "usr/lib/python3.13").glob("*.py"))
    assert own
    assert library
    for source in own + library:
        compiled = source.parent / "__pycache__" / f"{source.stem}.cpython-313.pyc"
        assert compiled.read_bytes()[4:8] == UNCHECKED_HASH, source


def test_processes_are_spared_what_nobody_reads(name: str, root: Path) -> None:
    """Docstrings in all of them; C++'s library and the public CAs in those that speak HTTP."""
    said = in_root(root, ["python3", "-I", "-c", "import json, virtpod; print(json.__doc__)"])
    assert said.strip() == "None"
    if name == "virtpod":
        code = (
            "import ssl, aiohttp.web\n"
            "print('stdc++' in open('/proc/self/maps').read())\n"
            "print(len(ssl.create_default_context().get_ca_certs()))\n"
        )
        assert in_root(root, ["python3", "-I", "-c", code]).split() == ["False", "0"]


def test_the_version_is_known(root: Path) -> None:
    said = in_root(
        root,
        ["python3", "-I", "-c", "from virtpod import build; print(build.info()['gitVersion'])"],
    )
    assert re.fullmatch(r"v\d+\.\d+\.\d+", said.strip())


def test_user_107_and_the_run_folder(root: Path) -> None:
    users = dict(line.split(":")[:3:2] for line in (root / "etc/passwd").read_text().splitlines())
    assert users["qemu"] == "107"
    assert list(users.values()).count("107") == 1
    assert (root / "var/run").readlink() == Path("../run")


def test_the_launcher_has_one_qemu_and_one_libvirt_driver() -> None:
    """Each further one would cost a probe, or memory, in every launcher."""
    root = debian.root("virt-launcher")
    binaries = {
        path.name
        for path in (root / "usr/bin").glob("qemu-system-*")
        if path.is_file() and not path.is_symlink()
    }
    assert binaries == {"qemu-system-x86_64"}
    drivers = (root / "usr/lib/x86_64-linux-gnu/libvirt/connection-driver").iterdir()
    assert [path.name for path in drivers] == ["libvirt_driver_qemu.so"]
