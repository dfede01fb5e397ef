"""A number of equal VirtualMachineInstances.

Names follow from the set's uid and a slot's number, so that two looks at an old cache make the same
instance and not two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from virtpod.controllers import conditions, lifecycle
from virtpod.controllers.conditions import Condition
from virtpod.controllers.lifecycle import FINAL
from virtpod.controllers.lifecycle import phase_of as _phase
from virtpod.kube.plan import Create, Delete, Event, Patch, Plan, Reference
from virtpod.kube.resources import VMIRS, VMIS, Obj, going, key_of

BURST = 20
"""Instances made or deleted in one turn."""


@dataclass(frozen=True)
class Seen:
    set: Obj
    vmis: Sequence[Obj]
    """Those that the set's uid controls."""
    now: float
    refusal: str = ""


def decide(seen: Seen) -> Plan:
    """Finished ones go, missing ones are made, those too many go."""
    owner = seen.set
    if going(owner):
        return Plan("the set is going; its instances go with it")
    wanted = owner["spec"].get("replicas")
    wanted = 1 if wanted is None else int(wanted)
    paused = bool(owner["spec"].get("paused"))
    standing = [vmi for vmi in seen.vmis if not going(vmi)]
    finished = [vmi for vmi in standing if _phase(vmi) in FINAL]
    live = [vmi for vmi in standing if _phase(vmi) not in FINAL]
    was_paused = conditions.status(conditions.of(owner), "ReplicaPaused") == "True"
    if paused:
        news = () if was_paused else (_event(owner, "SuccessfulPaused", "Paused"),)
        return Plan("the set is paused", news, _status(seen, live, paused=True))
    actions: list[Any] = []
    if was_paused:
        actions.append(_event(owner, "SuccessfulResumed", "Resumed"))
    for vmi in finished[:BURST]:
        name = vmi["metadata"]["name"]
        actions.append(Delete(VMIS, key_of(vmi), uid=vmi["metadata"]["uid"]))
        actions.append(
            _event(owner, "SuccessfulDelete", f"Deleted finished virtual machine: {name}")
        )
    missing = wanted - len(live)
    if missing > 0 and not seen.refusal:
        actions += _made(seen, min(missing, BURST))
    if missing < 0:
        actions += _removed(owner, live, min(-missing, BURST))
    why = "as many as wanted" if not missing else f"{wanted} wanted, {len(live)} there"
    status = _status(seen, live, paused=False)
    told = status is not None and seen.refusal
    if told:
        remedy = "Mend what it names: it is tried again each half minute."
        about = Reference.to(owner, VMIRS)
        actions.append(lifecycle.warning(about, "FailedCreate", seen.refusal, remedy))
    return Plan(why, actions, status, again_in=30.0 if seen.refusal else None)


def _made(seen: Seen, count: int) -> list[Any]:
    owner = seen.set
    taken = {vmi["metadata"]["name"] for vmi in seen.vmis}
    actions: list[Any] = []
    slot = 0
    while count:
        name = _name(owner, slot)
        slot += 1
        if name in taken:
            continue
        count -= 1
        actions.append(Create(VMIS, _instance(owner, name)))
        actions.append(
            _event(
                owner,
                "SuccessfulCreate",
                "Started the virtual machine by creating the new virtual machine instance " + name,
            )
        )
    return actions


def _removed(owner: Obj, live: Sequence[Obj], count: int) -> list[Any]:
    """The least useful first: those that do not run yet, then the youngest."""
    ordered = sorted(live, key=lambda vmi: vmi["metadata"].get("creationTimestamp") or "")
    ordered.reverse()
    ordered.sort(key=_ready)
    actions: list[Any] = []
    for vmi in ordered[:count]:
        name = vmi["metadata"]["name"]
        actions.append(Delete(VMIS, key_of(vmi), uid=vmi["metadata"]["uid"]))
        message = f"Stopped the virtual machine by deleting the virtual machine instance {name}"
        actions.append(_event(owner, "SuccessfulDelete", message))
    return actions


def _name(owner: Obj, slot: int) -> str:
    metadata = owner["metadata"]
    digest = sha256(f"{metadata['uid']}/{slot}".encode()).hexdigest()[:5]
    return f"{metadata['name'][:50]}-{digest}"


def _instance(owner: Obj, name: str) -> Obj:
    metadata = owner["metadata"]
    template = owner["spec"]["template"]
    given = template.get("metadata") or {}
    return {
        "apiVersion": VMIS.api_version,
        "kind": VMIS.kind,
        "metadata": {
            "name": name,
            "namespace": metadata["namespace"],
            "labels": dict(given.get("labels") or {}),
            "annotations": dict(given.get("annotations") or {}),
            "ownerReferences": [
                {
                    "apiVersion": VMIRS.api_version,
                    "kind": VMIRS.kind,
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": template.get("spec") or {},
    }


def _status(seen: Seen, live: Sequence[Obj], *, paused: bool) -> Patch | None:
    owner = seen.set
    have = owner.get("status") or {}
    told = conditions.of(owner)
    for condition, so in (
        (conditions.new("ReplicaPaused", "True", "Paused", "The set is paused."), paused),
        (
            conditions.new("ReplicaFailure", "True", "FailedCreate", seen.refusal),
            bool(seen.refusal),
        ),
    ):
        told = _with(told, condition, so, seen.now)
    wanted: Obj = {
        "replicas": len(live),
        "readyReplicas": sum(_ready(vmi) for vmi in live),
        "labelSelector": _selector(owner["spec"].get("selector") or {}),
        "conditions": told,
    }
    changed = {
        name: value for name, value in wanted.items() if (have.get(name) or None) != (value or None)
    }
    return Patch(VMIRS, key_of(owner), {"status": changed}, "merge", "status") if changed else None


def _selector(selector: Obj) -> str:
    """A label selector as text, for the scale subresource: an autoscaler finds the pods by it."""
    parts = [f"{name}={value}" for name, value in (selector.get("matchLabels") or {}).items()]
    for each in selector.get("matchExpressions") or ():
        name, values = each["key"], ",".join(sorted(each.get("values") or ()))
        parts.append(
            {
                "In": f"{name} in ({values})",
                "NotIn": f"{name} notin ({values})",
                "Exists": name,
                "DoesNotExist": f"!{name}",
            }[each["operator"]]
        )
    return ",".join(sorted(parts))


def _with(told: list[Condition], condition: Condition, so: bool, now: float) -> list[Condition]:
    if so:
        return conditions.put(told, condition, now)
    return conditions.without(told, condition["type"])


def _ready(vmi: Obj) -> bool:
    return conditions.status(conditions.of(vmi), "Ready") == "True"


def _event(owner: Obj, reason: str, message: str) -> Event:
    return Event(Reference.to(owner, VMIRS), "Normal", reason, message)
