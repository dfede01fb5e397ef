"""A node whose virt-handler or kubelet has fallen silent gets no more guests.

Nothing is done to the guests that are there: silence is not death. What proves a guest's end when
its pod is gone from the API is `doubt`'s matter.

https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/#non-graceful-node-shutdown
"""

from __future__ import annotations

from dataclasses import dataclass

from virtpod.api.kubevirt import KubeVirtConfiguration
from virtpod.controllers.lifecycle import ON_NODE
from virtpod.kube.plan import Event, Patch, Plan, Reference
from virtpod.kube.resources import NODES, Key

SILENCE = 300.0
"""Seconds; virt-handler writes its heartbeat about once a minute."""
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
"""The taint by which people, or their fencing, say that a node is off."""
DRAIN = "kubevirt.io/drain"
"""A taint (NoSchedule) that asks for all guests to leave."""


def drain(config: KubeVirtConfiguration) -> str:
    """The key of that taint."""
    return (config.migrations and config.migrations.node_drain_taint_key) or DRAIN


REMEDY = (
    "Get the node back; or make sure that it is off, and then taint it "
    f"{OUT_OF_SERVICE}=off:NoExecute or delete the Node object."
)
ALARM = 20.0
"""Seconds of silence before users are told: a kubelet that is started again needs some."""
SCHEDULABLE = "kubevirt.io/schedulable"
HEARTBEAT = "kubevirt.io/heartbeat"


@dataclass(frozen=True)
class Seen:
    name: str
    uid: str
    resource_version: str
    schedulable: bool
    heartbeat: float | None
    """When virt-handler was last heard, by the clock of `now`; None: it never was."""
    now: float
    ready: bool = True
    """The control plane hears its kubelet; within 50 s it notices where it does not."""


@dataclass(frozen=True)
class Standing:
    """What is known of the node that a guest is or was on."""

    name: str
    there: bool = True
    """The Node object exists."""
    ready: bool = True
    out_of_service: bool = False
    draining: bool = False
    silent_for: float = ALARM
    """Seconds since it was first seen not to be ready, by our own clock."""

    @property
    def silent(self) -> bool:
        """It may be off, or cut off: nobody has said which."""
        return self.there and not self.ready and not self.out_of_service

    @property
    def alarming(self) -> bool:
        """It is silent for longer than a kubelet that is started again."""
        return self.silent and self.silent_for >= ALARM

    @property
    def fenced(self) -> bool:
        """Somebody has said that it is off."""
        return not self.there or self.out_of_service


def doubt(phase: str, node: Standing | None, *, end_seen: bool) -> str:
    """Why a guest may run though the API has no pod of it any more; empty: it does not.

    A pod that was force-deleted vanishes from the API while its containers go on. Proofs are: its
    end was seen before it vanished, virt-handler has said how the guest ended, its node is fenced.
    """
    if end_seen or phase == "Succeeded" or node is None or node.fenced:
        return ""
    if node.silent:
        return (
            f"The pod is gone from the API, but node {node.name} is silent and may still run its "
            "guest: no other is started"
        )
    if phase in (*ON_NODE, "Scheduling"):  # the guest may start before the API says Scheduled
        return (
            "The pod was removed before its end was reported: "
            f"virt-handler on node {node.name} has yet to say that the guest is gone"
        )
    return ""


def decide(seen: Seen) -> Plan:
    if not seen.schedulable:
        return Plan("no guests go to this node")
    if seen.heartbeat is None:
        return _close(seen, "no heartbeat was ever written")
    if not seen.ready:
        return _close(seen, "nor is its kubelet, the node is not ready")
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
