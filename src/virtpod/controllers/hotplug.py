"""Volumes that come and go while a guest runs, virt-controller's part: the pods that bring their
claims to the guest's node, and how far each volume is.

One pod holds all claims that are bound, for a pod cannot be given another volume: when they
change, a pod for the new set takes the place of the old one, which goes once that runs. A claim
that is not bound yet has a pod of its own, which has it bound where the first pod decides where,
and holds nobody else up. One that only a single pod may have stays in a pod of its own.

virt-handler goes on from phase AttachedToNode, and says UnMountedFromPod when it has let a volume
go; until then its pod stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from virtpod.controllers import claims as permanent
from virtpod.controllers import lifecycle
from virtpod.domain.facts import Cluster
from virtpod.kube.plan import Create, Delete, Event, Reference
from virtpod.kube.resources import PODS, VMIS, Obj, going, key_of
from virtpod.render import attachment

PENDING, ATTACHED, DETACHING, RELEASED = (
    "Pending",
    "AttachedToNode",
    "Detaching",
    "UnMountedFromPod",
)
WAITING = ("", PENDING, "Bound", RELEASED, DETACHING)
"""Phases from which a volume that is wanted goes on to AttachedToNode."""
NOT_READY = "PVCNotReady"
EXCLUSIVE = "ReadWriteOncePod"
"""Access mode of a claim that no second pod can have, not even to take the first one's place."""


@dataclass(frozen=True)
class Attachments:
    """What there is to do. `status`: the whole of `status.volumeStatus`, None where it stays."""

    actions: tuple[Any, ...] = ()
    status: list[Obj] | None = None


@dataclass(frozen=True)
class _Volumes:
    """The hot-plugged volumes of the spec, name to claim source."""

    wanted: dict[str, Obj]
    bound: dict[str, Obj] = field(default_factory=dict)
    unbound: dict[str, Obj] = field(default_factory=dict)
    problems: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    """Reason, message, remedy."""


def wanted(vmi: Mapping[str, Any]) -> dict[str, Obj]:
    """The volumes of the spec that come and go, each with the source that a pod has for it."""
    found: dict[str, Obj] = {}
    for volume in vmi["spec"].get("volumes") or ():
        claim, imported = volume.get("persistentVolumeClaim"), volume.get("dataVolume")
        if claim and claim.get("hotpluggable"):
            read_only = {"readOnly": True} if claim.get("readOnly") else {}
            found[volume["name"]] = {"claimName": claim["claimName"], **read_only}
        elif imported and imported.get("hotpluggable"):
            found[volume["name"]] = {"claimName": imported["name"]}
        elif dump := volume.get("memoryDump"):
            found[volume["name"]] = {"claimName": dump["claimName"]}
    for volume in vmi["spec"].get("utilityVolumes") or ():
        found[volume["name"]] = {"claimName": volume["claimName"]}
    return found


def targets(vmi: Mapping[str, Any]) -> dict[str, bool]:
    """Those of them that are no disks, and whether a memory dump is to be written there."""
    volumes = vmi["spec"].get("volumes") or ()
    found = {each["name"]: True for each in volumes if each.get("memoryDump")}
    for each in vmi["spec"].get("utilityVolumes") or ():
        found[each["name"]] = each.get("type") == "MemoryDump"
    return found


def statuses(vmi: Mapping[str, Any]) -> dict[str, Obj]:
    """What the status says of hot-plugged volumes, by their names."""
    told = (vmi.get("status") or {}).get("volumeStatus") or ()
    return {each["name"]: each for each in told if each.get("hotplugVolume") is not None}


def concerned(vmi: Mapping[str, Any], attachments: Sequence[Obj]) -> bool:
    """Whether there is anything to look after."""
    return bool(attachments or wanted(vmi) or statuses(vmi))


def decide(
    vmi: Obj,
    launcher: Obj,
    attachments: Sequence[Obj],
    claims: Mapping[str, Obj],
    holders: Mapping[str, str],
    cluster: Cluster,
) -> Attachments:
    """`launcher`: the VMI's pod, on its node. `claims`: what is known of each, as a status says
    it; `holders`: those that another VMI has."""
    volumes = _sorted_out(vmi, claims, holders)
    pods = _pods(launcher, volumes, claims, cluster)
    have = {pod["metadata"]["name"]: pod for pod in attachments}
    status = _status(vmi, volumes, claims, pods, have)
    after = {each["name"]: each for each in status}
    actions: list[Any] = []
    for name, pod in pods.items():
        if name not in have:
            actions.append(Create(PODS, pod))
            actions.append(_event(vmi, "SuccessfulCreate", f"Created attachment pod {name}"))
    for name, pod in have.items():
        if _done_with(pod, name, pods, have, after):
            actions.append(Delete(PODS, key_of(pod), uid=pod["metadata"]["uid"]))
            actions.append(_event(vmi, "SuccessfulDelete", f"Deleted attachment pod {name}"))
    actions += _warnings(vmi, volumes)
    before = (vmi.get("status") or {}).get("volumeStatus") or []
    return Attachments(tuple(actions), status if status != before else None)


def _sorted_out(vmi: Obj, claims: Mapping[str, Obj], holders: Mapping[str, str]) -> _Volumes:
    volumes = _Volumes(wanted(vmi))
    namespace = vmi["metadata"]["namespace"]
    for name, source in volumes.wanted.items():
        claim = source["claimName"]
        if claim not in claims:
            volumes.problems[name] = (
                NOT_READY,
                f"PVC {namespace}/{claim} of volume {name} does not exist",
                "Create it, or take the volume away: it is looked for again by itself.",
            )
        elif claim in holders:
            volumes.problems[name] = (
                NOT_READY,
                f"PVC {namespace}/{claim} of volume {name} is in use by "
                f"VirtualMachineInstance {holders[claim]}",
                "It is attached when that one is gone; guests that shall have a disk at the same "
                "time must all have it shareable, or all read-only.",
            )
        elif claims[claim].get("capacity"):
            volumes.bound[name] = source
        else:
            volumes.unbound[name] = source
    return volumes


def _pods(
    launcher: Obj, volumes: _Volumes, claims: Mapping[str, Obj], cluster: Cluster
) -> dict[str, Obj]:
    """The pods that there shall be, by name."""
    alone = {
        name: source
        for name, source in volumes.bound.items()
        if EXCLUSIVE in (claims[source["claimName"]].get("accessModes") or ())
    }
    together = {name: source for name, source in volumes.bound.items() if name not in alone}
    sets = [together, *({name: each} for name, each in {**alone, **volumes.unbound}.items())]
    made = {}
    for each in filter(None, sets):
        blocks = [
            name
            for name, source in each.items()
            if claims[source["claimName"]].get("volumeMode") == "Block"
        ]
        pod = attachment.pod(launcher, each, blocks, cluster)
        made[pod["metadata"]["name"]] = pod
    return made


def _status(
    vmi: Obj,
    volumes: _Volumes,
    claims: Mapping[str, Obj],
    pods: Mapping[str, Obj],
    have: Mapping[str, Obj],
) -> list[Obj]:
    known = statuses(vmi)
    noted = permanent.larger(vmi, claims) or (vmi.get("status") or {}).get("volumeStatus") or ()
    told = [each for each in noted if each["name"] not in known]
    told = [each for each in told if each["name"] not in volumes.wanted]
    holding = {
        volume: pod
        for name, pod in have.items()
        if name in pods and not going(pod)
        for volume in _held(pod)
    }
    for name, source in volumes.wanted.items():
        entry = {"target": "", **known.get(name, {}), "name": name}
        info = claims.get(source["claimName"])
        if info:
            entry["persistentVolumeClaimInfo"] = info
        told.append(_one(entry, name, holding.get(name), volumes.problems.get(name)))
    for name, entry in known.items():
        if name in volumes.wanted:
            continue
        if not entry["hotplugVolume"].get("attachPodUID") or entry.get("phase") == RELEASED:
            continue  # nothing is left of it
        if entry.get("phase") != DETACHING:
            entry = _phase(entry, DETACHING, DETACHING, f"Volume {name} is being detached")
        told.append(entry)
    return sorted(told, key=lambda each: str(each["name"]))


def _one(entry: Obj, name: str, pod: Obj | None, problem: tuple[str, str, str] | None) -> Obj:
    """How far a volume of the spec is."""
    phase = entry.get("phase") or ""
    attached: Obj = entry.get("hotplugVolume") or {}
    if pod is not None and _runs(pod):
        metadata = pod["metadata"]
        attached = {"attachPodName": metadata["name"], "attachPodUID": metadata["uid"]}
    entry["hotplugVolume"] = attached
    if phase not in WAITING:
        return entry
    if problem:
        return _phase(entry, PENDING, problem[0], problem[1])
    if pod is None:
        return _phase(entry, PENDING, PENDING, "The attachment pod is being made")
    if not _runs(pod):
        entry["hotplugVolume"] = {"attachPodName": pod["metadata"]["name"]}
        said = f"Attachment pod {pod['metadata']['name']} has not started"
        return _phase(entry, PENDING, PENDING, _why(pod) or said)
    said = f"Created hotplug attachment pod {pod['metadata']['name']}, for volume {name}"
    return _phase(entry, ATTACHED, "SuccessfulCreate", said)


def _phase(entry: Obj, phase: str, reason: str, message: str) -> Obj:
    return {**entry, "phase": phase, "reason": reason, "message": message}


def _done_with(
    pod: Obj,
    name: str,
    pods: Mapping[str, Obj],
    have: Mapping[str, Obj],
    after: Mapping[str, Obj],
) -> bool:
    """Whether an attachment pod may go: it has ended, or others have what it holds, and the guest
    has let go of the rest."""
    if going(pod):
        return False
    if (pod.get("status") or {}).get("phase") in lifecycle.FINAL:
        return True
    if name in pods:
        return False
    for volume in _held(pod):
        heirs = [other for other, body in pods.items() if volume in _held(body)]
        if heirs and not all(other in have and _runs(have[other]) for other in heirs):
            return False
        if not heirs and (after.get(volume) or {}).get("phase") == DETACHING:
            return False
    return True


def _held(pod: Obj) -> list[str]:
    return [each["name"] for each in pod["spec"]["volumes"] if each.get("persistentVolumeClaim")]


def _runs(pod: Obj) -> bool:
    told = (pod.get("status") or {}).get("containerStatuses") or ()
    return not going(pod) and any("running" in (each.get("state") or {}) for each in told)


def _why(pod: Obj) -> str:
    """What keeps the pod from starting, as far as its status tells."""
    for each in (pod.get("status") or {}).get("conditions") or ():
        if each.get("type") == "PodScheduled" and each.get("status") == "False":
            return f"Attachment pod {pod['metadata']['name']}: {each.get('message') or ''}"
    for each in (pod.get("status") or {}).get("containerStatuses") or ():
        waiting = (each.get("state") or {}).get("waiting") or {}
        if waiting.get("message"):
            return f"Attachment pod {pod['metadata']['name']}: {waiting['message']}"
    return ""


def _warnings(vmi: Obj, volumes: _Volumes) -> list[Event]:
    """Of what the status does not say yet."""
    known = statuses(vmi)
    about = Reference.to(vmi, VMIS)
    return [
        lifecycle.warning(about, reason, what, remedy)
        for name, (reason, what, remedy) in volumes.problems.items()
        if (known.get(name) or {}).get("message") != what
        and (known.get(name) or {}).get("phase", "") in WAITING
    ]


def _event(vmi: Obj, reason: str, message: str) -> Event:
    return Event(Reference.to(vmi, VMIS), "Normal", reason, message)
