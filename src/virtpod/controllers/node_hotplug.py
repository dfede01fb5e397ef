"""Volumes that come and go while a guest runs, virt-handler's part: from the attachment pod into
the launcher's container, from there into the guest, and back.

Three things are looked at and nothing is remembered: what the spec wants and its attachment pods
hold, what is in the container, what the guest has. So it makes no difference when virt-handler was
ended, or by whom a step was made.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from virtpod.controllers import conditions, hotplug
from virtpod.controllers.hotplug import ATTACHED, DETACHING, RELEASED

Json = dict[str, Any]

NOTHING: Mapping[str, str] = {}

MOUNTED, READY = "MountedToPod", "Ready"
DUMPING, DUMPED, UNDUMPED = (
    "MemoryDumpInProgress",
    "MemoryDumpCompleted",
    "MemoryDumpFailed",
)
EVENTS = {
    MOUNTED: "VolumeMountedToPod",
    READY: "VolumeReady",
    RELEASED: "VolumeUnMountedFromPod",
    DUMPING: DUMPING,
    DUMPED: DUMPED,
    UNDUMPED: UNDUMPED,
}
"""Phases that virt-handler sets, and the reason that it tells with each."""


@dataclass(frozen=True)
class Replug:
    """Bring volumes into the container (name to the uid of the pod that has them), let the guest
    have those of `keep` and no others, take away what it has let go."""

    pod_uid: str
    bring: tuple[tuple[str, str], ...] = ()
    keep: tuple[str, ...] = ()
    take: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dump:
    """Have the guest's memory written into a file of a volume that is in the container."""

    pod_uid: str
    volume: str
    file: str


def due(vmi: Mapping[str, Any], pod_uid: str, done: Collection[str]) -> Dump | None:
    """The dump that is under way; `done`: files of which it is known how they went."""
    for name, entry in hotplug.statuses(vmi).items():
        file = (entry.get("memoryDumpVolume") or {}).get("targetFileName")
        if entry.get("phase") == DUMPING and file and file not in done:
            return Dump(pod_uid, name, file)
    return None


def holders(vmi: Mapping[str, Any]) -> dict[str, str]:
    """The volumes that are wanted and at hand, each with its attachment pod's uid."""
    told = hotplug.statuses(vmi)
    at_hand = {}
    for name in hotplug.wanted(vmi):
        entry = told.get(name) or {}
        uid = (entry.get("hotplugVolume") or {}).get("attachPodUID")
        if uid and entry.get("phase") in (ATTACHED, MOUNTED, READY):
            at_hand[name] = uid
    return at_hand


def work(
    vmi: Mapping[str, Any], pod_uid: str, there: Collection[str], guest: Collection[str]
) -> Replug | None:
    """What is to be done; None where all is as it should be. `there`: volumes in the container,
    `guest`: disks of the domain."""
    at_hand, told = holders(vmi), hotplug.statuses(vmi)
    wanted = hotplug.wanted(vmi)
    bring = tuple((name, uid) for name, uid in sorted(at_hand.items()) if name not in there)
    disks = wanted.keys() - hotplug.targets(vmi).keys()
    keep = tuple(sorted(name for name in disks if name in there or name in at_hand))
    missing = [name for name in keep if name not in guest]
    surplus = [name for name in told if name not in wanted and name in guest]
    take = tuple(sorted(name for name in there if name not in wanted and name not in guest))
    if not (bring or missing or surplus or take):
        return None
    return Replug(pod_uid, bring, keep, take)


def status(
    vmi: Mapping[str, Any],
    told: list[Json],
    there: Collection[str],
    guest: Mapping[str, str],
    failure: str,
    done: Mapping[str, str] = NOTHING,
    now: float = 0.0,
) -> list[Json]:
    """`told` (status.volumeStatus) with the phases that hot-plugged volumes are in. `guest`:
    target names by disk; `failure`: why the last try did not get on; `done`: what went wrong with
    each memory dump that is over, "" where nothing did."""
    wanted = hotplug.wanted(vmi)
    dumps = {name for name, dump in hotplug.targets(vmi).items() if dump}
    after = [_one(entry, wanted, there, guest, failure) for entry in told]
    return [
        _dumped(vmi, entry, done, now)
        if entry["name"] in dumps and entry["name"] in there
        else entry
        for entry in after
    ]


def _dumped(vmi: Mapping[str, Any], entry: Json, done: Mapping[str, str], now: float) -> Json:
    """How far the dump is whose target is in the container."""
    name, phase = entry["name"], entry.get("phase")
    told = entry.get("memoryDumpVolume") or {}
    file = told.get("targetFileName") or ""
    if phase == MOUNTED:
        claim = hotplug.wanted(vmi)[name]["claimName"]
        moment = conditions.stamp(now).translate({ord(each): None for each in "-:Z"})
        file = f"{vmi['metadata']['name']}-{claim}-{moment.replace('T', '-')}.memory.dump"
        told = {
            "claimName": claim,
            "startTimestamp": conditions.stamp(now),
            "targetFileName": file,
        }
        said = f"The guest's memory is being written to {file} in volume {name}"
        return {**entry, "memoryDumpVolume": told, **_said(DUMPING, said)}
    if phase != DUMPING or file not in done:
        return entry
    told = {**told, "endTimestamp": conditions.stamp(now)}
    if problem := done[file]:
        said = f"The guest's memory could not be written to volume {name}: {problem}"
        return {**entry, "memoryDumpVolume": told, **_said(UNDUMPED, said)}
    said = f"The guest's memory is in {file} in volume {name}"
    return {**entry, "memoryDumpVolume": told, **_said(DUMPED, said)}


def _one(
    entry: Json,
    wanted: Mapping[str, Any],
    there: Collection[str],
    guest: Mapping[str, str],
    failure: str,
) -> Json:
    name, phase = entry["name"], entry.get("phase")
    if entry.get("hotplugVolume") is None or phase not in (ATTACHED, MOUNTED, READY, DETACHING):
        return entry
    if name not in wanted:
        if phase != DETACHING:
            return entry  # virt-controller is to see first that it is to go
        if name in there or name in guest:
            return {**entry, "message": failure} if failure else entry
        said = f"Volume {name} has been unmounted from virt-launcher pod"
        return {**entry, "target": "", **_said(RELEASED, said)}
    if name in guest:
        said = f"Successfully attach hotplugged volume {name} to VM"
        return {**entry, "target": guest[name], **_said(READY, said)}
    entry = {**entry, "target": ""}
    if name in there:
        said = f"Volume {name} has been mounted in virt-launcher pod"
        return {**entry, **_said(MOUNTED, said), **({"message": failure} if failure else {})}
    if phase != ATTACHED:
        return {**entry, **_said(ATTACHED, f"Volume {name} is to be mounted again")}
    return {**entry, "message": failure} if failure else entry


def _said(phase: str, message: str) -> Json:
    return {"phase": phase, "reason": EVENTS.get(phase, phase), "message": message}


def news(before: list[Json], after: list[Json]) -> list[tuple[str, str]]:
    """Reason and message of the phases that are new."""
    known = {entry["name"]: entry.get("phase") for entry in before}
    return [
        (EVENTS[entry["phase"]], entry["message"])
        for entry in after
        if entry.get("hotplugVolume") is not None
        and entry.get("phase") in EVENTS
        and known.get(entry["name"]) != entry["phase"]
    ]
