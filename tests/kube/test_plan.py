"""The pure values: references, pointers, tests of what was read."""

from __future__ import annotations

import subprocess
import sys

from virtpod.kube.plan import Reference, pointer, value_at
from virtpod.kube.plan import tests as read
from virtpod.kube.resources import (
    KNOWN,
    NODES,
    PODS,
    VMIS,
    Key,
    key_of,
    of,
    owner_of,
    owner_reference,
)

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"namespace": "n", "name": "a", "uid": "u", "labels": {"a/b": "1"}},
    "status": {"conditions": [{"type": "Ready"}]},
}


def test_pointers_reach_what_they_name() -> None:
    assert pointer("metadata", "labels", "a/b") == "/metadata/labels/a~1b"
    assert value_at(POD, "/metadata/labels/a~1b") == "1"
    assert value_at(POD, "/status/conditions/0/type") == "Ready"
    assert value_at(POD, "/status/conditions/1/type") is None
    assert value_at(POD, "/spec/nodeName") is None


def test_what_was_read_is_tested_and_what_is_absent_at_its_outermost() -> None:
    assert read(POD, "/status/conditions/0/type", "/spec/nodeName", "/metadata/name") == [
        {"op": "test", "path": "/status/conditions/0/type", "value": "Ready"},
        {"op": "test", "path": "/spec", "value": None},
        {"op": "test", "path": "/metadata/name", "value": "a"},
    ]
    assert read(POD, "/status/conditions/7/type") == [
        {"op": "test", "path": "/status/conditions", "value": [{"type": "Ready"}]}
    ]


def test_paths_of_resources() -> None:
    assert PODS.path("n", "a", "status") == "/api/v1/namespaces/n/pods/a/status"
    assert PODS.path() == "/api/v1/pods"
    assert NODES.path("", "n1") == "/api/v1/nodes/n1"
    assert VMIS.path("n") == "/apis/kubevirt.io/v1/namespaces/n/virtualmachineinstances"
    assert of(POD) is PODS
    assert len({(known.group, known.plural) for known in KNOWN.values()}) == len(KNOWN)


def test_owners() -> None:
    child = {"metadata": {"name": "b", "ownerReferences": [owner_reference(POD)]}}
    assert (owner_of(child) or {})["uid"] == "u"
    assert owner_of(POD) is None
    assert key_of(POD) == Key("n", "a")
    assert Reference.to(POD) == Reference("v1", "Pod", "n", "a", "u")


def test_the_pure_part_imports_no_machinery() -> None:
    script = (
        "import sys, virtpod.kube.plan, virtpod.kube.errors, virtpod.kube.resources;"
        "print([m for m in ('asyncio', 'aiohttp', 'logging', 'socket') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "[]"
