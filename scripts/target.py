"""Which cluster is meant: the one that KUBECONFIG names, or the embedded one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from localcluster import build, layout
from localcluster.progress import Failed


@dataclass(frozen=True)
class Target:
    """`local`: the embedded cluster, which is started and given images directly."""

    kubeconfig: str
    local: bool


def target() -> Target:
    """By the environment: KUBECONFIG set means that nothing is started here."""
    given = os.environ.get("KUBECONFIG", "")
    if not given or given == str(layout.KUBECONFIG):
        if not os.environ.get("IMAGE_PREFIX"):
            return Target(str(layout.KUBECONFIG), local=True)
        given = str(layout.KUBECONFIG)
    if not os.environ.get("IMAGE_PREFIX"):
        raise Failed(
            "KUBECONFIG names a cluster: say by IMAGE_PREFIX where its nodes pull images from, "
            "such as registry.example.org/virtpod"
        )
    return Target(given, local=False)


def module(name: str, *words: str) -> None:
    """Runs one of the project's modules; its progress is shown as it comes. Raises Failed."""
    if subprocess.run([sys.executable, "-m", name, *words], check=False).returncode != 0:
        raise Failed(f"`python3 -m {name} {' '.join(words)}` failed")


def build_all(*beside: Callable[[], object]) -> None:
    """Builds the cluster's programs and the images; what is given goes on beside it."""
    build.install_packages()  # one after the other what both would install
    build.find_go()
    with ThreadPoolExecutor() as pool:
        parts = [
            pool.submit(module, "localcluster", "build"),
            pool.submit(module, "images", "build"),
        ]
        for one in beside:
            one()
        for part in parts:
            part.result()


def references(how: str = "refs", *names: str) -> dict[str, str]:
    """The references of the images named, by default of virtpod, virt-launcher and demo-guest.

    `how`: refs, import or push, which all build what is not built yet. Raises Failed.
    """
    said = subprocess.run(
        [sys.executable, "-m", "images", how, *names],
        check=False,
        stdout=subprocess.PIPE,
        text=True,
    )
    if said.returncode != 0:
        raise Failed(f"`python3 -m images {' '.join((how, *names))}` failed")
    found: dict[str, str] = json.loads(said.stdout)
    return found
