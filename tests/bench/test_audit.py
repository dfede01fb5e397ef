"""Counting requests: by whom, about which VMI, in which part of its life."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench import audit
from bench.audit import Life

CONTROLLER = "system:serviceaccount:kubevirt:kubevirt-controller"
HANDLER = "system:serviceaccount:kubevirt:kubevirt-handler"


def line(second: int, user: str, verb: str, resource: str, name: str = "", **more: Any) -> bytes:
    about = {"resource": resource, "namespace": "here", "name": name, **more}
    said = {
        "stage": "ResponseComplete",
        "verb": verb,
        "user": {"username": user},
        "objectRef": about,
        "requestReceivedTimestamp": f"2026-01-01T00:00:{second:02d}.500000Z",
    }
    return json.dumps(said).encode()


BEGIN = next(audit.parsed([line(0, "x", "get", "pods")])).at


def counted(lines: list[bytes], **lives: Life) -> audit.Count:
    return audit.count(audit.parsed(lines), "here", lives)


def test_requests_until_it_runs_while_it_does_and_from_its_deletion_on() -> None:
    count = counted(
        [
            line(1, CONTROLLER, "create", "pods", "virt-launcher-vm-0abcd"),
            line(2, CONTROLLER, "patch", "pods", "virt-launcher-vm-0abcd", subresource="status"),
            line(2, "system:kube-scheduler", "create", "events", "virt-launcher-vm-0abcd.18e"),
            line(3, HANDLER, "patch", "virtualmachineinstances", "vm"),
            line(3, HANDLER, "create", "events", "vm.18ea"),
            line(3, HANDLER, "get", "virtualmachineinstances", "vm"),
            line(5, HANDLER, "patch", "virtualmachineinstances", "vm"),
            line(8, CONTROLLER, "delete", "pods", "virt-launcher-vm-0abcd"),
        ],
        vm=Life(BEGIN, BEGIN + 4, BEGIN + 7),
    )
    assert count.writes("create") == 4  # reads and the scheduler's are not ours to save
    assert count.writes("run") == 1
    assert count.writes("delete") == 1
    assert count.create["virt-controller", "patch", "pods/status"] == 1
    assert count.create["virt-handler", "get", "virtualmachineinstances"] == 1
    assert count.create["kube-scheduler", "create", "events"] == 1


def test_others_are_not_counted() -> None:
    count = counted(
        [
            line(1, CONTROLLER, "create", "pods", "virt-launcher-other-0abcd"),
            line(1, CONTROLLER, "patch", "virtualmachineinstances", "vm", namespace="there"),
            line(1, CONTROLLER, "list", "pods"),
            line(0, CONTROLLER, "patch", "virtualmachineinstances", "vm"),  # an earlier vm
        ],
        vm=Life(BEGIN + 1, BEGIN + 4, BEGIN + 7),
    )
    assert not count.create
    assert not count.delete


def test_a_share_per_vmi() -> None:
    lines = [line(1, CONTROLLER, "create", "pods", f"virt-launcher-vm-{n}-0abcd") for n in (1, 2)]
    lines.append(line(2, HANDLER, "patch", "virtualmachineinstances", "vm-1"))
    lives = {"vm-1": Life(BEGIN, BEGIN + 9, BEGIN + 9), "vm-2": Life(BEGIN, BEGIN + 9, BEGIN + 9)}
    assert counted(lines, **lives).writes("create") == 1.5


def test_half_a_line_and_other_stages_are_left_out() -> None:
    whole = line(1, CONTROLLER, "create", "pods", "virt-launcher-vm-0abcd")
    begun = whole.replace(b"ResponseComplete", b"ResponseStarted")
    assert len(list(audit.parsed([whole, begun, whole[:-20], b""]))) == 1


def test_a_line_about_no_object() -> None:
    said = {
        "stage": "ResponseComplete",
        "verb": "get",
        "user": {"username": "kubernetes-admin"},
        "requestReceivedTimestamp": "2026-01-01T00:00:00Z",
    }
    (request,) = audit.parsed([json.dumps(said).encode()])
    assert (request.who, request.resource, request.name) == ("kubernetes-admin", "", "")


def test_who() -> None:
    assert audit.who(HANDLER) == "virt-handler"
    assert audit.who("system:node:n1") == "kubelet"
    assert audit.who("system:serviceaccount:kube-system:job-controller") == "job-controller"
    assert audit.who("system:kube-scheduler") == "kube-scheduler"
    assert audit.who("kubernetes-admin") == "kubernetes-admin"


def test_at_rest_leases_and_heartbeats_are_apart() -> None:
    found = audit.at_rest(
        audit.parsed(
            [
                line(1, CONTROLLER, "update", "leases", "virt-controller"),
                line(2, CONTROLLER, "list", "pods"),
                line(2, HANDLER, "patch", "nodes", "n1"),
                line(3, "system:node:n1", "patch", "nodes", "n1", subresource="status"),
                line(9, HANDLER, "list", "pods"),
            ]
        ),
        BEGIN,
        BEGIN + 5,
    )
    assert found["virt-controller"] == audit.Rest(requests=1, leases=1, heartbeats=0)
    assert found["virt-handler"] == audit.Rest(requests=0, leases=0, heartbeats=1)
    assert found["virt-operator"] == audit.Rest(0, 0, 0)


def test_reading_starts_where_the_run_did(tmp_path: Path) -> None:
    first, second = line(1, HANDLER, "get", "nodes", "n1"), line(2, HANDLER, "get", "nodes", "n2")
    log = tmp_path / "audit.log"
    log.write_bytes(first + b"\n" + second + b"\n")
    assert [request.name for request in audit.read(log, len(first) + 1)] == ["n2"]
    assert [request.name for request in audit.read(log, 0)] == ["n1", "n2"]
