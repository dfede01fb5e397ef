"""The life of a VMI: its phases, who moves it from one to the next, and how a guest's end is read.

virt-controller's part of the decisions is `vmi.py`, virt-handler's is `node_vmi.py`; both enter a
phase through `enter` and nowhere else, so a move that is not in `MOVES` cannot be written. What the
two decide in every situation: docs/vm-pod-lifecycle.md, made from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from virtpod.controllers import conditions
from virtpod.kube.plan import Event, Reference
from virtpod.wire.messages import DomainChanged

Json = dict[str, Any]
Owner = Literal["virt-controller", "virt-handler"]
CONTROLLER: Owner = "virt-controller"
HANDLER: Owner = "virt-handler"

MACHINE_FINALIZER = "kubevirt.io/virtualMachineControllerFinalize"
"""On a VM, and on its VMI until the VM's controller knows how that ended."""
FINAL = ("Succeeded", "Failed")
ON_NODE = ("Scheduled", "Running")
"""The phases in which virt-handler owns the status."""


@dataclass(frozen=True)
class Phase:
    """`owner` writes the status in this phase; "" is a VMI that admission has not seen."""

    name: str
    owner: Owner
    about: str


PHASES = (
    Phase("", CONTROLLER, "just created"),
    Phase("Pending", CONTROLLER, "waits for what its pod needs before it can be made"),
    Phase("WaitingForSync", CONTROLLER, "waits for a guest that is to move in from elsewhere"),
    Phase("Scheduling", CONTROLLER, "its pod is there and is on the way to a node"),
    Phase("Scheduled", HANDLER, "the launcher runs on its node and starts the guest"),
    Phase("Running", HANDLER, "the guest is there, be it paused"),
    Phase("Succeeded", CONTROLLER, "the guest went down by itself or because it was asked to"),
    Phase("Failed", CONTROLLER, "the guest crashed, was killed, or never came to run"),
)

MOVES: Mapping[tuple[str, str], tuple[Owner, ...]] = {
    ("", "Pending"): (CONTROLLER,),
    ("", "WaitingForSync"): (CONTROLLER,),
    ("", "Scheduling"): (CONTROLLER,),
    ("", "Failed"): (CONTROLLER,),
    ("Pending", "WaitingForSync"): (CONTROLLER,),
    ("Pending", "Scheduling"): (CONTROLLER,),
    ("Pending", "Failed"): (CONTROLLER,),
    ("WaitingForSync", "Scheduling"): (CONTROLLER,),
    ("WaitingForSync", "Failed"): (CONTROLLER,),
    ("Scheduling", "Scheduled"): (CONTROLLER,),
    ("Scheduling", "Failed"): (CONTROLLER,),
    ("Scheduled", "Running"): (HANDLER,),
    ("Scheduled", "Succeeded"): (HANDLER,),
    # virt-controller only where the pod is gone, or has long ended and its node says nothing.
    ("Scheduled", "Failed"): (HANDLER, CONTROLLER),
    ("Running", "Succeeded"): (HANDLER,),
    ("Running", "Failed"): (HANDLER, CONTROLLER),
}
"""From one phase to another, and by whom. No way leads out of a final one."""


class Impossible(Exception):
    """A decision wants to move a VMI in a way that is not in `MOVES`: a bug."""


def phase_of(vmi: Mapping[str, Any]) -> str:
    return str((vmi.get("status") or {}).get("phase") or "")


def enter(vmi: Mapping[str, Any], phase: str, by: Owner, now: float) -> Json:
    """The fields below `status` that the move changes. Raises Impossible."""
    before = phase_of(vmi)
    if by not in MOVES.get((before, phase), ()):
        raise Impossible(f"{by} cannot move a VMI from {before or 'nothing'} to {phase}")
    stamps = (vmi.get("status") or {}).get("phaseTransitionTimestamps") or []
    entry = {"phase": phase, "phaseTransitionTimestamp": conditions.stamp(now)}
    return {"phase": phase, "phaseTransitionTimestamps": [*stamps, entry]}


def ran(vmi: Mapping[str, Any]) -> bool:
    """Whether the guest runs or has run."""
    stamps = (vmi.get("status") or {}).get("phaseTransitionTimestamps") or ()
    return phase_of(vmi) == "Running" or any(entry.get("phase") == "Running" for entry in stamps)


def warning(about: Reference, reason: str, what: str, remedy: str) -> Event:
    """A Warning that says what happened, and what to do about it."""
    return Event(about, "Warning", reason, f"{what.rstrip('.')}. {remedy}")


# What a domain's state means for its VMI.


def alive(domain: DomainChanged, *, starts_paused: bool) -> bool:
    """Whether a guest is there. QEMU that is still being set up is not a guest yet."""
    if domain.state == "Paused":
        if domain.reason == "StartingUp":
            return starts_paused
        return domain.reason != "PostcopyFailed"
    return domain.state in ("Running", "Blocked", "PMSuspended", "ShuttingDown")


def over(domain: DomainChanged) -> bool:
    """Whether the guest has been there and is gone for good, not merely elsewhere."""
    if domain.state == "Crashed":
        return True
    if domain.state == "Paused":
        return domain.reason == "PostcopyFailed"
    if domain.state != "Shutoff" or domain.reason == "Migrated":
        return False
    return domain.started or domain.reason not in ("Unknown", "")


def ending(domain: DomainChanged, *, could_be_asked: bool) -> str:
    """The final phase after a domain that is `over`."""
    if domain.state == "Shutoff":
        if domain.reason in ("Shutdown", "Saved", "FromSnapshot"):
            return "Succeeded"
        if domain.reason == "Destroyed":
            # A guest that could have been asked and had to be killed did not end well.
            return "Failed" if could_be_asked else "Succeeded"
    return "Failed"
