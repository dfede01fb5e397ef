"""A cluster of two nodes with Virtpod on it, and what it looks like when a test fails."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcluster import layout
from tests.e2e.support import ENVIRONMENT, ROOT, SYSTEM, Namespace, Refused, available, kubectl

COMPONENTS = ("virt-api", "virt-controller", "virt-handler", "virt-operator")
ORDER = (
    *("test_nodes_life", "test_side_car", "test_operator", "test_upgrade", "test_install"),
    *("test_registry", "test_rights"),
)
"""What kills a node or changes the whole installation comes last; then what takes its images from
a registry that is gone afterwards, and last what looks back at all of them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Orders the tests of this folder; the others keep their places."""
    here = Path(__file__).parent
    places = [index for index, item in enumerate(items) if item.path.parent == here]

    def place(item: pytest.Item) -> int:
        return ORDER.index(item.path.stem) + 1 if item.path.stem in ORDER else 0

    for index, item in zip(places, sorted((items[i] for i in places), key=place), strict=True):
        items[index] = item


@pytest.fixture(scope="session")
def cluster() -> None:
    """VIRTPOD_E2E_READY=1: it is there already and is to be taken as it is."""
    if os.environ.get("VIRTPOD_E2E_READY") != "1":
        environment = {**ENVIRONMENT, "KUBECONFIG": "", "IMAGE_PREFIX": "", "NODES": "2"}
        done = subprocess.run(
            [sys.executable, "-m", "scripts.install"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            pytest.fail(f"Virtpod was not installed:\n{done.stdout}\n{component_logs()}")
    available()


@pytest.fixture(scope="module")
def namespace(cluster: None) -> Iterator[Namespace]:
    """A namespace of its own for each module, taken away at its end."""
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    yield Namespace(name)
    # Guests first: the namespace's controller looks again only after a long time at what is left.
    said("-n", name, "delete", "vm,vmi", "--all", "--timeout=60s")
    kubectl("delete", "namespace", name, "--timeout=120s")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if not report.failed or report.when == "teardown":
        return
    found = getattr(item, "funcargs", {}).get("namespace")
    if isinstance(found, Namespace):
        report.sections.append(("the namespace", state_of(found.name)))
    report.sections.append(("the components", component_logs()))


def state_of(namespace: str) -> str:
    pods = said("-n", namespace, "get", "pods", "-o", "name").split()
    return "\n".join(
        [
            said("-n", namespace, "get", "vm,vmi,pod", "-o", "wide"),
            said("-n", namespace, "get", "vmi", "-o", "yaml"),
            said("-n", namespace, "get", "events", "--sort-by=.metadata.creationTimestamp"),
            *(said("-n", namespace, "logs", pod, "--all-containers", "--tail=60") for pod in pods),
        ]
    )


def component_logs() -> str:
    selected = [
        said("-n", SYSTEM, "logs", "-l", f"kubevirt.io={name}", "--prefix", "--tail=40")
        for name in COMPONENTS
    ]
    return "\n".join([said("-n", SYSTEM, "get", "kubevirt,pods", "-o", "wide"), *selected])


def said(*words: str, seconds: float = 90) -> str:
    """What kubectl answers, be it an error."""
    if not layout.KUBECONFIG.exists():
        return "there is no cluster"
    with contextlib.suppress(subprocess.TimeoutExpired):
        try:
            return kubectl(*words, seconds=seconds)
        except Refused as refused:
            return str(refused)
    return f"kubectl {' '.join(words)}: no answer"
