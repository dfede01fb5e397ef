"""The running local cluster, seen as a user sees it: through kubectl and a kubeconfig."""

import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcluster import images
from tests.localcluster.support import ROOT, Kubectl, eventually


@pytest.fixture(scope="session")
def kubeconfig() -> Path:
    return Path(os.environ.get("KUBECONFIG") or ROOT / ".local/kubeconfig")


@pytest.fixture(scope="session")
def nodes(kubeconfig: Path) -> list[str]:
    """Names of the ready nodes of a cluster with two, which is started where it is not there."""
    if kubeconfig == ROOT / ".local/kubeconfig":
        up = [sys.executable, "-m", "localcluster", "up", "--nodes", "2"]
        subprocess.run(up, cwd=ROOT, check=True)
    os.environ["KUBECONFIG"] = str(kubeconfig)
    names = [each["metadata"]["name"] for each in Kubectl("default").get("nodes")["items"]]
    assert len(names) >= 2
    return names


@pytest.fixture(scope="session")
def tools(nodes: list[str]) -> str:
    """The reference of the image with busybox that each node has from the start."""
    return images.TOOLS.reference


@pytest.fixture(scope="module")
def kubectl(nodes: list[str]) -> Iterator[Kubectl]:
    """A namespace of its own for each module, taken away at its end."""
    name = f"localcluster-{uuid.uuid4().hex[:8]}"
    cluster = Kubectl("default")
    cluster("create", "namespace", name)
    eventually(lambda: _exists(Kubectl(name)), "the namespace's service account")
    try:
        yield Kubectl(name)
    finally:
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            cluster("delete", "namespace", name, "--wait=false")


def _exists(kubectl: Kubectl) -> bool:
    found = kubectl("get", "serviceaccount", "default", "--ignore-not-found", "--output", "name")
    return bool(found.strip())
