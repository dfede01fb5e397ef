"""The condition Obstructed of a VMI that does not run: the one true reason, and what to do.

It costs no write where all goes well: a start that stands still is looked at after a while, and
what was said goes with the patch that hands the VMI over, or says that it runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from virtpod.controllers import conditions, lifecycle, why
from virtpod.controllers.conditions import Condition
from virtpod.kube.resources import Obj

STANDING = 10.0
"""Seconds in which a pod usually gets through; then events and claims are looked at."""
AGAIN = 30.0
"""Seconds between two such looks: what is read for them is not watched."""
SETTLED = 3.0
"""Seconds after a bad end in which the events that tell it arrive."""


@dataclass(frozen=True)
class Around:
    """What stands around a VMI and is looked at only where it does not get on."""

    nodes: Sequence[why.Node] | None = None
    events: Sequence[Obj] = ()
    pvcs: Mapping[str, Obj | None] | None = None


def told(
    vmi: Mapping[str, Any],
    pods: Sequence[Obj],
    around: Around,
    now: float,
    refusal: str = "",
) -> Condition | None:
    """None where it gets on, or nothing is known to be wrong."""
    found = why.diagnose(
        why.Observed(
            now,
            vmi=dict(vmi),
            pods=pods,
            events=around.events,
            pvcs=around.pvcs,
            nodes=around.nodes,
            refusal=refusal,
        )
    )
    if found.state != "broken":
        return None
    return conditions.new(why.OBSTRUCTED, "True", found.code, found.message)


def needs(
    vmi: Mapping[str, Any], pods: Sequence[Obj], now: float
) -> Literal["nothing", "nodes", "all"]:
    """What of `Around` is worth looking at. Nodes are in the cache; the rest are requests."""
    phase = lifecycle.phase_of(vmi)
    since = _since(vmi, phase, now)
    if phase in ("Pending", "Scheduling"):
        if since >= STANDING:
            return "all"
        return "nodes" if any(_unplaced(pod) for pod in pods) else "nothing"
    if phase == "Scheduled":
        return "nodes" if since >= STANDING else "nothing"
    return "all" if settles_in(vmi, now) == 0 else "nothing"


def settles_in(vmi: Mapping[str, Any], now: float) -> float | None:
    """Seconds until a bad end that nothing was said about can be told; None: no need to."""
    metadata = vmi["metadata"]
    said = conditions.find(conditions.of(vmi), why.OBSTRUCTED)
    if lifecycle.phase_of(vmi) != "Failed" or metadata.get("deletionTimestamp") or said:
        return None
    return min(max(SETTLED - _since(vmi, "Failed", now), 0.0), SETTLED)


def look_in(vmi: Mapping[str, Any], now: float) -> float:
    """Seconds until a start is worth another look, even if nothing changes."""
    left = STANDING - _since(vmi, lifecycle.phase_of(vmi), now)
    return min(left, STANDING) if left > 0 else AGAIN


def _since(vmi: Mapping[str, Any], phase: str, now: float) -> float:
    """Seconds in this phase; STANDING where nobody wrote down when it began."""
    stamps = (vmi.get("status") or {}).get("phaseTransitionTimestamps") or ()
    found = [each for each in stamps if each.get("phase") == phase]
    began = conditions.seconds(found[-1].get("phaseTransitionTimestamp")) if found else None
    return STANDING if began is None else now - began


def _unplaced(pod: Obj) -> bool:
    return conditions.status(conditions.of(pod), "PodScheduled") == "False"
