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

from virtpod.controllers import hotplug
from virtpod.controllers.hotplug import ATTACHED, DETACHING, RELEASED

Json = dict[str, Any]

MOUNTED, READY = "MountedToPod", "Ready"
EVENTS = {
    MOUNTED: "VolumeMountedToPod",
    READY: "VolumeReady",
    RELEASED: "VolumeUnMountedFromPod",
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
    keep = tuple(sorted(name for name in wanted if name in there or name in at_hand))
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
) -> list[Json]:
    """`told` (status.volumeStatus) with the phases that hot-plugged volumes are in. `guest`:
    target names by disk; `failure`: why the last try did not get on."""
    wanted = hotplug.wanted(vmi)
    return [_one(entry, wanted, there, guest, failure) for entry in told]


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
