"""Which build this is, in the shape of Kubernetes' `/version`."""

from __future__ import annotations

import os
import platform
from importlib import metadata


def info() -> dict[str, str]:
    """Works offline. `VIRTPOD_VERSION` (set in the images) wins over the distribution's version."""
    version = os.environ.get("VIRTPOD_VERSION") or _installed()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return {
        "gitVersion": version if version.startswith("v") else f"v{version}",
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "",
        # Clients written for KubeVirt read this field; what it holds is up to the server.
        "goVersion": f"python{platform.python_version()}",
        "compiler": platform.python_implementation().lower(),
        "platform": f"{platform.system().lower()}/{machine}",
    }


def _installed() -> str:
    try:
        return metadata.version("virtpod")
    except metadata.PackageNotFoundError:
        return "0.0.0+source"
