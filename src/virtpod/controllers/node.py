"""A node whose virt-handler has fallen silent gets no more guests.

Nothing is done to the guests that are there: silence is not death.
"""

from __future__ import annotations

from dataclasses import dataclass

from virtpod.kube.plan import Event, Patch, Plan, Reference
from virtpod.kube.resources import NODES, Key

SILENCE = 300.0
"""Seconds; virt-handler writes its heartbeat about once a minute."""
SCHEDULABLE = "kubevirt.io/schedulable"
HEARTBEAT = "kubevirt.io/heartbeat"


@dataclass(frozen=True)
class Seen:
    name: str
    uid: str
    resource_version: str
    schedulable: bool
    heartbeat: float | None
    """When virt-handler last wrote, in seconds; None: it never did."""
    now: float


def decide(seen: Seen) -> Plan:
    if not seen.schedulable:
        return Plan("no guests go to this node")
    if seen.heartbeat is None:
        return _close(seen, "no heartbeat was ever written")
    left = seen.heartbeat + SILENCE - seen.now
    if left > 0:
        return Plan("its heartbeat is fresh", again_in=left + 1.0)
    return _close(seen, "its heartbeat is too old")


def _close(seen: Seen, why: str) -> Plan:
    body = {
        "metadata": {
            "resourceVersion": seen.resource_version,
            "labels": {SCHEDULABLE: "false"},
        }
    }
    about = Reference(NODES.api_version, NODES.kind, "", seen.name, seen.uid)
    message = f"virt-handler on node {seen.name} is not responsive: {why}"
    return Plan(
        f"virt-handler is silent: {why}",
        [
            Patch(NODES, Key("", seen.name), body),
            Event(about, "Warning", "NodeUnresponsive", message),
        ],
    )
