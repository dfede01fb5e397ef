"""The persistent volume claims behind a VMI's disks: noted, awaited, and had by one guest at once.

QEMU locks the image it writes to, but a lock does not reach a second node on every kind of
storage, so two guests on one claim are kept apart before either has a pod.

https://kubernetes.io/docs/concepts/storage/persistent-volumes/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from virtpod.api.base import decode
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.controllers import conditions
from virtpod.controllers.conditions import Condition
from virtpod.controllers.node import REMEDY
from virtpod.features import disks
from virtpod.kube.resources import Obj

MISSING = "FailedPvcNotFound"
IN_USE = "VolumeInUse"
ATTACHED = "FailedAttachVolume"
PREALLOCATED = "cdi.kubevirt.io/storage.preallocation"
"""Annotation of a claim whose disk's importer has allocated all of its bytes."""
INFO = "persistentVolumeClaimInfo"
WHY = {
    MISSING: "a claim is missing",
    IN_USE: "a claim is in use",
    ATTACHED: "a claim is attached to a lost node",
}


def named(vmi: Mapping[str, Any], *, hotplug: bool = True) -> list[str]:
    """The claims that the volumes of a VMI, as read, stand for; without `hotplug` those that it
    cannot start without."""
    names = []
    for volume in vmi["spec"].get("volumes") or ():
        if not hotplug and _hotplugged(volume):
            continue
        given = volume.get("ephemeral") or volume
        claim = (given.get("persistentVolumeClaim") or {}).get("claimName")
        name = claim or (volume.get("dataVolume") or {}).get("name")
        if name:
            names.append(name)
        elif hotplug and (dump := volume.get("memoryDump")):
            names.append(dump["claimName"])
    if hotplug:
        names += [each["claimName"] for each in vmi["spec"].get("utilityVolumes") or ()]
    return names


def _hotplugged(volume: Mapping[str, Any]) -> bool:
    given = volume.get("persistentVolumeClaim") or volume.get("dataVolume") or {}
    return bool(given.get("hotpluggable"))


def info(claim: Mapping[str, Any]) -> Obj:
    """What a VMI's status says of a claim."""
    spec, status = claim.get("spec") or {}, claim.get("status") or {}
    annotations = claim["metadata"].get("annotations") or {}
    said = {
        "claimName": claim["metadata"]["name"],
        "accessModes": status.get("accessModes") or spec.get("accessModes"),
        "volumeMode": spec.get("volumeMode") or "Filesystem",
        "capacity": status.get("capacity"),
        "requests": (spec.get("resources") or {}).get("requests"),
        "preallocated": annotations.get(PREALLOCATED) == "true",
    }
    return {name: value for name, value in said.items() if value}


def uses(vmi: Mapping[str, Any], *, hotplug: bool = True) -> dict[str, disks.Access]:
    """How its guest uses each of its claims."""
    if not named(vmi):
        return {}
    return disks.claims(decode(vmi, VirtualMachineInstance), hotplug=hotplug)


def noted(vmi: VirtualMachineInstance) -> bool:
    """Whether its status says of each of its claims what it is."""
    volumes = [
        volume
        for volume in vmi.spec.volumes or ()
        if disks.claim(volume) and not disks.hotplugged(volume)
    ]
    return all(disks.claim_info(vmi, volume) for volume in volumes)


def together(one: str, other: str) -> bool:
    """Whether two guests may have a claim at once."""
    return one == other and one != "writes"


def volume_status(vmi: Mapping[str, Any], claims: Mapping[str, Obj]) -> list[Obj]:
    """`status.volumeStatus` before the guest is there: what is known of the claims."""
    said = []
    for volume in vmi["spec"].get("volumes") or ():
        for name in named({"spec": {"volumes": [volume]}}, hotplug=False):
            if name in claims:
                entry = {"name": volume["name"], "target": ""}
                said.append({**entry, "persistentVolumeClaimInfo": claims[name]})
    return sorted(said, key=lambda status: str(status["name"]))


def larger(vmi: Mapping[str, Any], claims: Mapping[str, Obj]) -> list[Obj] | None:
    """`status.volumeStatus` of a guest with what its permanent claims are by now; None where it
    says so already."""
    told = list((vmi.get("status") or {}).get("volumeStatus") or ())
    known = {each["name"]: each for each in volume_status(vmi, claims)}
    news = [
        {**each, INFO: known[each["name"]][INFO]}
        if each["name"] in known and each.get("hotplugVolume") is None and each.get(INFO)
        else each
        for each in told
    ]
    return news if news != told else None


def sizes(vmi: Mapping[str, Any]) -> dict[str, str]:
    """What the status says that each claim of a guest holds, by volume."""
    return {
        each["name"]: size
        for each in (vmi.get("status") or {}).get("volumeStatus") or ()
        if (size := ((each.get(INFO) or {}).get("capacity") or {}).get("storage"))
    }


def data_volumes(vmi: Mapping[str, Any], claims: Mapping[str, Obj]) -> Condition | None:
    """Condition DataVolumesReady, where there are any."""
    volumes = vmi["spec"].get("volumes") or ()
    wanted = [
        volume["dataVolume"]["name"]
        for volume in volumes
        if volume.get("dataVolume") and not _hotplugged(volume)
    ]
    if not wanted:
        return None
    missing = [name for name in wanted if name not in claims]
    if missing:
        text = (
            f"No claim is there for {', '.join(missing)}, and no importer that would make it of "
            "a DataVolume"
        )
        return conditions.new("DataVolumesReady", "False", "NotAllDVsReady", text)
    return conditions.new(
        "DataVolumesReady", "True", "AllDVsReady", "The claim of every data volume is there"
    )


def problem(
    vmi: Mapping[str, Any],
    claims: Mapping[str, Obj],
    holders: Mapping[str, str],
    attached: Mapping[str, str],
) -> tuple[str, str, str] | None:
    """What keeps the pod from being made: reason, message, and what to do."""
    namespace = vmi["metadata"]["namespace"]
    imported = {
        (volume.get("dataVolume") or {}).get("name") for volume in vmi["spec"].get("volumes") or ()
    }
    for name in named(vmi, hotplug=False):
        if name not in claims:
            what = f"PVC {namespace}/{name} does not exist, waiting for it to appear"
            if name in imported:
                remedy = (
                    f"No importer is here that would make it of DataVolume {name}: "
                    "create the claim, with the disk in it."
                )
            else:
                remedy = "Create it, or name one that exists: it is looked for again by itself."
            return MISSING, what, remedy
    for name, holder in sorted(holders.items()):
        what = f"PVC {namespace}/{name} is in use by VirtualMachineInstance {holder}"
        remedy = (
            f"It starts when {holder} is gone; guests that shall have a disk at the same time "
            "must all have it shareable, or all read-only."
        )
        return IN_USE, what, remedy
    for name, node in sorted(attached.items()):
        what = (
            f"The volume of PVC {namespace}/{name} is still attached to node {node}, "
            "which is lost and may write to it"
        )
        return ATTACHED, what, REMEDY
    return None
