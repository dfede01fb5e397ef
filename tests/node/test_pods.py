"""What is read out of a launcher's pod about its end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from virtpod.node import pods
from virtpod.node.pods import WORDS

LOG = "dnsmasq: started\n" * 100


def project(status: dict[str, Any], **terminated: Any) -> pods.Pod:
    if terminated:
        state = {"terminated": terminated}
        status = {**status, "containerStatuses": [{"name": "compute", "state": state}]}
    metadata = {"name": "virt-launcher-a", "namespace": "default", "uid": "p1"}
    return pods.project(json.dumps({"metadata": metadata, "status": status}).encode())


@pytest.mark.parametrize(
    ("terminated", "end"),
    [
        ({"exitCode": 0, "reason": "Completed", "message": ""}, ""),
        (
            {"exitCode": 137, "reason": "OOMKilled", "message": LOG},
            "OOMKilled; virt-launcher was ended by SIGKILL",
        ),
        (
            {"exitCode": 137, "reason": "Error", "message": LOG},
            "virt-launcher was ended by SIGKILL",
        ),
        ({"exitCode": 1, "reason": "Error", "message": "the guest\nended"}, "the guest ended"),
        ({"exitCode": 255, "reason": "Unknown"}, "Unknown; virt-launcher was ended by signal 127"),
    ],
)
def test_a_container_says_how_it_ended(terminated: dict[str, Any], end: str) -> None:
    found = project({"phase": "Running"}, **terminated)
    assert (found.ended, found.end) == (terminated["exitCode"], end)


def test_a_traceback_is_cut_at_its_beginning() -> None:
    found = project({}, exitCode=1, reason="Error", message=f"{LOG}the cause")
    assert found.end.endswith("the cause")
    assert len(found.end) == WORDS


def test_a_guest_that_heeded_its_node_in_time_leaves_a_condition() -> None:
    told = {"reason": "TerminationByKubelet", "message": "The node was low on memory."}
    ousted = {"type": "DisruptionTarget", "status": "True", **told}
    found = project({"phase": "Succeeded", "conditions": [ousted]}, exitCode=0)
    assert found.ousted
    assert found.final
    assert found.end == "The node was low on memory."


def test_an_evicted_pod_says_itself_why() -> None:
    status = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."}
    found = project(status, exitCode=137, reason="Error", message=LOG)
    assert found.ousted
    assert found.end == "Evicted; The node was low on memory."
