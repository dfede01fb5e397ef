"""An installation at rest writes nothing, goes when its object goes, and comes back."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from localcluster import layout
from tests.e2e.conftest import said
from tests.e2e.support import (
    SYSTEM,
    Console,
    Namespace,
    Object,
    available,
    condition,
    kubectl,
    kubevirt,
    vm,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

REST = 20
"""Seconds in which nobody asks for anything."""

READS = ("get", "list", "watch")


class Mark(NamedTuple):
    """A moment of the audit log: requests are logged when they are answered, so by time too."""

    place: int
    at: str

    @classmethod
    def now(cls) -> Mark:
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return cls(os.stat(layout.AUDIT_LOG).st_size, at)


def written(since: Mark) -> Iterator[str]:
    """The writes that Virtpod's components asked for after this moment."""
    with layout.AUDIT_LOG.open("rb") as log:
        log.seek(since.place)
        for line in log:
            try:
                entry: dict[str, Any] = json.loads(line)
            except ValueError:  # the last line may still grow
                continue
            if entry["requestReceivedTimestamp"] < since.at:
                continue
            user = entry["user"]["username"]
            about = entry.get("objectRef", {})
            if not user.startswith(f"system:serviceaccount:{SYSTEM}:") or entry["verb"] in READS:
                continue
            if about.get("resource") in ("leases", "subjectaccessreviews", "tokenreviews"):
                continue
            where = f"{about.get('resource')}/{about.get('name')} {about.get('subresource', '')}"
            yield f"{user.rpartition(':')[2]} {entry['verb']} {where}".strip()


def test_at_rest_nothing_is_written(namespace: Namespace) -> None:
    """Leases and a node's heartbeat apart: here with a guest that runs."""
    since = Mark.now()
    namespace.apply(vm("resting"))
    namespace.running("resting")
    assert any(each.startswith("kubevirt-controller create pods") for each in written(since))
    # The last that a guest's start writes is what its agent tells, on the VM too.
    namespace.wait("vm", "resting", lambda vm: condition(vm, "AgentConnected") == "True", "told")
    since = Mark.now()
    threading.Event().wait(REST)
    writes = [each for each in written(since) if not heartbeat(each)]
    assert writes == []
    namespace.delete("vm", "resting")


def heartbeat(write: str) -> bool:
    return write.startswith("kubevirt-handler patch nodes/")


@pytest.fixture(scope="module")
def removed(namespace: Namespace) -> Iterator[Object]:
    """The KubeVirt object is deleted while a VM is there; it is applied again at the end."""
    namespace.apply(vm("last"))
    namespace.running("last")
    before = kubevirt()
    clean = {
        "apiVersion": before["apiVersion"],
        "kind": before["kind"],
        "metadata": {"name": "kubevirt", "namespace": SYSTEM},
        "spec": {**before["spec"], "uninstallStrategy": "RemoveWorkloads"},
    }
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(clean))
    kubectl("-n", SYSTEM, "delete", "kubevirt", "kubevirt", "--timeout=180s", seconds=200)
    yield clean
    if "kubevirt" not in said("-n", SYSTEM, "get", "kubevirt", "-o", "name"):
        again(before)


def again(kubevirt: Object) -> None:
    clean = {key: kubevirt[key] for key in ("apiVersion", "kind", "spec")}
    clean["metadata"] = {"name": "kubevirt", "namespace": SYSTEM}
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(clean))
    available()


def test_all_but_the_operator_is_gone(namespace: Namespace, removed: Object) -> None:
    crds = kubectl("get", "crd", "-o", "name").split()
    ours = sorted(name.partition("/")[2] for name in crds if "kubevirt.io" in name)
    assert ours == ["kubevirts.kubevirt.io"]
    pods = Namespace(SYSTEM).items("pod")
    alive = {
        each["metadata"]["labels"].get("kubevirt.io")
        for each in pods
        if "deletionTimestamp" not in each["metadata"]
    }
    assert alive == {"virt-operator"}
    assert not namespace.items("pod"), "the guest's pod is gone"
    for kind in ("mutatingwebhookconfiguration", "validatingwebhookconfiguration", "apiservice"):
        names = kubectl("get", kind, "-o", "name").split()
        left = [each for each in names if "virt-" in each or "subresources.kubevirt" in each]
        assert [each for each in left if "operator" not in each] == []


def test_it_comes_back(namespace: Namespace, removed: Object) -> None:
    again(removed)
    namespace.apply(vm("first"))
    namespace.running("first")
    with Console(namespace.name, "first") as console:
        assert console.login().run("hostname") == "first"
    namespace.delete("vm", "first")
