"""Which build this is, in the shape of Kubernetes' `/version`."""

from __future__ import annotations

import os
import sys


def info() -> dict[str, str]:
    """Works offline. `VIRTPOD_VERSION` (set in the images) wins over the distribution's version."""
    version = os.environ.get("VIRTPOD_VERSION") or _installed()
    system, machine = os.uname().sysname, os.uname().machine
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    return {
        "gitVersion": version if version.startswith("v") else f"v{version}",
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "",
        # Clients written for KubeVirt read this field; what it holds is up to the server.
        "goVersion": f"python{sys.version.partition(' ')[0]}",
        "compiler": sys.implementation.name,
        "platform": f"{system.lower()}/{machine}",
    }


def _installed() -> str:
    """From the name of the distribution's folder, as packaging's rules have it: to ask
    importlib.metadata costs more than all else that `virtctl --help` does.

    https://packaging.python.org/en/latest/specifications/recording-installed-packages/
    """
    for folder in filter(os.path.isdir, sys.path):
        for name in os.listdir(folder):
            if name.startswith("virtpod-") and name.endswith(".dist-info"):
                return name.removeprefix("virtpod-").removesuffix(".dist-info")
    return "0.0.0+source"
