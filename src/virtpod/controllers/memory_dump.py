"""A VM whose guest's memory is to be written into a claim: the claim comes, the dump is taken, the
claim goes, and stays associated for the next.

`status.memoryDumpRequest` is begun and dissociated by virt-api, and brought on here; the instance's
`status.volumeStatus` tells how far virt-handler is (`node_hotplug.py`). The template has the claim
for as long as it is associated; instances have it only while it is needed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from virtpod.controllers import conditions, node_hotplug
from virtpod.controllers.lifecycle import phase_of
from virtpod.kube.plan import Patch
from virtpod.kube.plan import tests as tested
from virtpod.kube.resources import VMIS, VMS, Obj, going, key_of

ASSOCIATING, IN_PROGRESS, UNMOUNTING, COMPLETED, DISSOCIATING, FAILED = (
    "Associating",
    "InProgress",
    "Unmounting",
    "Completed",
    "Dissociating",
    "Failed",
)
OVER = (COMPLETED, FAILED)
UTILITY = "UtilityVolumes"
"""With this gate the instance has the claim as what it is; else among its volumes."""


def request(vm: Obj, vmi: Obj | None, now: float) -> Obj | None:
    """What `status.memoryDumpRequest` shall say; None: nothing."""
    have: Obj | None = (vm.get("status") or {}).get("memoryDumpRequest")
    if not have:
        return None
    phase, claim = have.get("phase"), have["claimName"]
    if phase == DISSOCIATING:
        gone = not _has(_template(vm), claim) and (vmi is None or not _there(vmi, claim))
        return None if gone else have
    if phase == UNMOUNTING:
        return {**have, "phase": COMPLETED} if vmi is None or not _there(vmi, claim) else have
    if phase not in (ASSOCIATING, IN_PROGRESS):
        return have
    if vmi is None or phase_of(vmi) != "Running" or going(vmi):
        why = "the guest ended before its memory was dumped"
        return {**have, "phase": FAILED, "message": why, "endTimestamp": conditions.stamp(now)}
    if phase == ASSOCIATING:
        if not _has(vmi["spec"], claim):
            return have
        return {**have, "phase": IN_PROGRESS, "startTimestamp": conditions.stamp(now)}
    return _brought_on(have, _told(vmi, claim), now)


def _brought_on(have: Obj, told: Mapping[str, Any], now: float) -> Obj:
    """After virt-handler's word."""
    dump = told.get("memoryDumpVolume") or {}
    ended = {"endTimestamp": dump.get("endTimestamp") or conditions.stamp(now)}
    if told.get("phase") == node_hotplug.UNDUMPED:
        return {**have, **ended, "phase": FAILED, "message": told.get("message") or "it failed"}
    if told.get("phase") == node_hotplug.DUMPED:
        times = {"startTimestamp": dump.get("startTimestamp") or have.get("startTimestamp")}
        file = {"fileName": dump.get("targetFileName")}
        return {**have, **times, **ended, **file, "phase": UNMOUNTING}
    return have


def actions(vm: Obj, vmi: Obj | None, gates: Collection[str]) -> list[Patch]:
    """The patches that bring the claim into the template and the instance, or take it out."""
    have = (vm.get("status") or {}).get("memoryDumpRequest")
    if not have:
        return []
    claim, phase = have["claimName"], have.get("phase")
    made = []
    if _has(_template(vm), claim) == (phase == DISSOCIATING):
        volumes = list(_template(vm).get("volumes") or ())
        body = {
            "metadata": {"resourceVersion": vm["metadata"]["resourceVersion"]},
            "spec": {"template": {"spec": {"volumes": _changed(volumes, claim)}}},
        }
        made.append(Patch(VMS, key_of(vm), body))
    if vmi is None or phase_of(vmi) != "Running" or going(vmi):
        return made
    wanted = phase in (ASSOCIATING, IN_PROGRESS)
    # Of an earlier dump something may be left, which goes first.
    if _has(vmi["spec"], claim) == wanted or (wanted and _told(vmi, claim)):
        return made
    utility = _utility(vmi["spec"], claim) if not wanted else UTILITY in gates
    path = "utilityVolumes" if utility else "volumes"
    had = list(vmi["spec"].get(path) or ())
    value = _changed_utility(had, claim) if utility else _changed(had, claim)
    body_of_vmi = tested(vmi, "/metadata/uid", f"/spec/{path}")
    body_of_vmi.append({"op": "add", "path": f"/spec/{path}", "value": value})
    return [*made, Patch(VMIS, key_of(vmi), body_of_vmi, "json")]


def without(volumes: list[Obj]) -> list[Obj]:
    """The volumes of an instance that is made: the claim comes when memory is dumped."""
    return [each for each in volumes if not each.get("memoryDump")]


def _changed(volumes: list[Obj], claim: str) -> list[Obj]:
    """With the claim where it was missing, without it where it was there."""
    left = [each for each in volumes if (each.get("memoryDump") or {}).get("claimName") != claim]
    if left != volumes:
        return left
    return [*volumes, {"name": claim, "memoryDump": {"claimName": claim, "hotpluggable": True}}]


def _changed_utility(volumes: list[Obj], claim: str) -> list[Obj]:
    left = [each for each in volumes if each["claimName"] != claim]
    if left != volumes:
        return left
    return [*volumes, {"name": claim, "claimName": claim, "type": "MemoryDump"}]


def _utility(spec: Mapping[str, Any], claim: str) -> bool:
    return any(each["claimName"] == claim for each in spec.get("utilityVolumes") or ())


def _has(spec: Mapping[str, Any], claim: str) -> bool:
    dumps = [each.get("memoryDump") or {} for each in spec.get("volumes") or ()]
    return _utility(spec, claim) or any(each.get("claimName") == claim for each in dumps)


def _there(vmi: Obj, claim: str) -> bool:
    """Whether anything is left of it in the instance."""
    return _has(vmi["spec"], claim) or bool(_told(vmi, claim))


def _told(vmi: Obj, claim: str) -> Mapping[str, Any]:
    """What its status says of the claim."""
    volumes: list[Obj] = (vmi.get("status") or {}).get("volumeStatus") or []
    found = [each for each in volumes if each["name"] == claim]
    return found[0] if found else {}


def _template(vm: Obj) -> Mapping[str, Any]:
    return (vm["spec"].get("template") or {}).get("spec") or {}
