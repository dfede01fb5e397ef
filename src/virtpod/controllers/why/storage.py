"""What is wrong with a volume: the claim, its class, its place, its mount."""

from __future__ import annotations

import re

from virtpod.controllers.why import placing
from virtpod.controllers.why.case import Case, Found, Rule, ended, line, listed, rule
from virtpod.kube.resources import Obj

DEFAULT = "storageclass.kubernetes.io/is-default-class"

_NOT_FOUND = re.compile(r'persistentvolumeclaim "([^"]+)" not found', re.IGNORECASE)
_AWAITED = re.compile(r"PVC [^/\s]+/(\S+) does not exist")
_MISSING = re.compile(r'\b(secret|configmap) "([^"]+)" not found', re.IGNORECASE)
_REFERENCES = re.compile(r"references non-existent (secret|config) key: (\S+)", re.IGNORECASE)
_MOUNT = re.compile(r'for volume "([^"]+)"')


def _waits(case: Case) -> bool:
    """A guest is wanted that is not there yet: of others the claims do not matter."""
    return case.starting


@rule(
    "PvcNotFound",
    "broken",
    "Create the claim, or name one that is there: kubectl get pvc.",
)
def pvc_not_found(case: Case) -> Found | None:
    """A PersistentVolumeClaim that a volume names is not there."""
    if not _waits(case):
        return None
    names = [name for name, claim in (case.seen.pvcs or {}).items() if claim is None]
    text = placing.said(case)
    if match := _NOT_FOUND.search(text):
        names.append(match[1])
    told = str(case.not_synchronized.get("message") or "")
    awaited = _AWAITED.search(told)
    # What was looked for by us is the younger news.
    if awaited and (case.seen.pvcs or {}).get(awaited[1]) is None:
        names.append(awaited[1])
    if not names:
        return None
    name = next((each for each in case.claims if each in names), names[0])
    return Found(
        f"The PersistentVolumeClaim {name} is not there.",
        "",
        (f"VMI: {told}" if told else "", f"scheduler: {text}" if text else ""),
        case.claim_reference(name),
    )


def _pending(case: Case) -> list[tuple[str, Obj]]:
    """The claims that are not bound."""
    if not _waits(case):
        return []
    found = ((name, claim) for name, claim in (case.seen.pvcs or {}).items() if claim is not None)
    return [(name, claim) for name, claim in found if _phase(claim) != "Bound"]


def _phase(claim: Obj) -> str:
    return str((claim.get("status") or {}).get("phase") or "Pending")


def _class(claim: Obj) -> str:
    return str(claim["spec"].get("storageClassName") or "")


def _waits_for_pod(case: Case, claim: Obj) -> bool:
    """Its class binds it only once a node is chosen: until then pending is right, and where the
    classes are not known it may be."""
    if case.seen.storage_classes is None:
        return True
    found = next(
        (each for each in case.seen.storage_classes or () if _named(each) == _class(claim)), {}
    )
    placed = bool(((case.pod or {}).get("spec") or {}).get("nodeName"))
    return found.get("volumeBindingMode") == "WaitForFirstConsumer" and not placed


def _named(obj: Obj) -> str:
    return str(obj["metadata"]["name"])


@rule("PvcLost", "broken", "The volume behind the claim is gone: restore it, or make a new claim.")
def pvc_lost(case: Case) -> Found | None:
    """A claim's PersistentVolume has vanished."""
    for name, claim in _pending(case):
        if _phase(claim) == "Lost":
            return Found(
                f"The PersistentVolumeClaim {name} has lost its volume.",
                "",
                (),
                case.claim_reference(name),
            )
    return None


@rule(
    "StorageClassNotFound",
    "broken",
    "Make the claim anew with a class that is there: kubectl get storageclass.",
)
def storage_class_not_found(case: Case) -> Found | None:
    """A claim names a storage class that is not there, or none where there is no default."""
    classes = case.seen.storage_classes
    if classes is None:
        return None
    names = [_named(each) for each in classes]
    there = f"there is: {listed(names)}" if names else "there is none"
    for name, claim in _pending(case):
        wanted = _class(claim)
        if wanted and wanted not in names and not claim["spec"].get("volumeName"):
            sentence = (
                f"The PersistentVolumeClaim {name} wants the storage class {wanted}; {there}."
            )
        elif not wanted and "storageClassName" not in claim["spec"] and not _default(classes):
            sentence = (
                f"The PersistentVolumeClaim {name} names no storage class, and none is default."
            )
        else:
            continue
        return Found(sentence, "", (), case.claim_reference(name))
    return None


def _default(classes: object) -> bool:
    assert isinstance(classes, (list, tuple))
    return any(
        (each["metadata"].get("annotations") or {}).get(DEFAULT) == "true" for each in classes
    )


@rule(
    "PvcNotBound",
    "broken",
    "Look at the claim's events (kubectl describe pvc) and at the provisioner of its class.",
)
def pvc_not_bound(case: Case) -> Found | None:
    """A claim has no volume: its provisioner has not made one, or fails."""
    unbound = "unbound" in placing.said(case)
    for name, claim in _pending(case):
        events = [
            event
            for event in case.events("ProvisioningFailed", kind="PersistentVolumeClaim")
            if event["involvedObject"].get("name") == name
        ]
        if not events and not unbound and _waits_for_pod(case, claim):
            continue
        because = f": {events[0].get('message', '')}" if events else ""
        return Found(
            ended(f"The PersistentVolumeClaim {name} has no volume yet{because}"),
            "",
            tuple(line(event) for event in events[:3]),
            case.claim_reference(name),
        )
    if unbound:
        claims = f" {listed(case.claims)}" if case.claims else ""
        text = f"scheduler: {placing.said(case)}"
        return Found(f"Its PersistentVolumeClaim{claims} has no volume yet.", "", (text,))
    return None


@rule(
    "VolumeInUse",
    "broken",
    "Stop what uses it. Where that was on a dead node: make sure that the node is off, then taint "
    "it node.kubernetes.io/out-of-service=nodeshutdown:NoExecute.",
)
def volume_in_use(case: Case) -> Found | None:
    """A volume that one node, or one pod, may use at a time is in use."""
    if not _waits(case):
        return None
    told = case.not_synchronized
    if told.get("reason") in ("VolumeInUse", "FailedAttachVolume"):
        what = str(told.get("message") or "its volume is in use")
        return Found(ended(what), "", (), case.vmi_reference())
    for why in placing.reasons(placing.said(case)):
        if "in use by another pod with ReadWriteOncePod" in why or "volume use conflict" in why:
            return Found(
                f"Another pod uses its volume{_of(case)}.",
                "",
                (f"scheduler: {placing.said(case)}",),
                case.pod_reference(),
            )
    for event in case.holding_up("FailedAttachVolume"):
        message = str(event.get("message") or "")
        if "Multi-Attach" in message or "already exclusively attached" in message:
            return Found(
                f"Its volume{_of(case)} is still attached to another node.",
                "",
                (line(event),),
                case.pod_reference(),
            )
    return None


def _of(case: Case) -> str:
    return f" ({listed(case.claims)})" if case.claims else ""


@rule("ConfigNotFound", "broken", "Create it, or name one that is there.")
def config_not_found(case: Case) -> Found | None:
    """A Secret or ConfigMap (or a key in one) that the VM names is not there."""
    if not case.scheduling:
        return None
    texts = [(str(event.get("message") or ""), event) for event in case.holding_up("FailedMount")]
    for text, event in texts:
        if match := _MISSING.search(text):
            kind = {"secret": "Secret", "configmap": "ConfigMap"}[match[1].lower()]
            sentence = f"The {kind} {match[2]} is not there."
        elif match := _REFERENCES.search(text):
            kind = "ConfigMap" if match[1].lower() == "config" else "Secret"
            sentence = f"The {kind} that it names has no key {match[2]}."
        else:
            continue
        return Found(sentence, "", (line(event),), case.pod_reference())
    return None


@rule(
    "VolumeNotMounted",
    "broken",
    "Mend what it names; the kubelet tries again by itself.",
)
def volume_not_mounted(case: Case) -> Found | None:
    """The node cannot attach or mount a volume."""
    if not case.scheduling:
        return None
    for event in case.holding_up("FailedMount", "FailedAttachVolume", "FailedMapVolume"):
        message = str(event.get("message") or "")
        match = _MOUNT.search(message)
        which = f" {match[1]}" if match else ""
        cause = message.rpartition(" : ")[2] or message
        return Found(
            ended(f"The node {case.node} cannot mount its volume{which}: {cause}"),
            "",
            (line(event),),
            case.pod_reference(),
        )
    return None


@rule(
    "DataVolumeNotReady",
    "waits",
    "Look at the DataVolume's conditions and events: kubectl describe datavolume.",
)
def data_volume_not_ready(case: Case) -> Found | None:
    """What is to fill its disk is not done, or fails."""
    told = case.told("DataVolumesReady")
    if not case.scheduling or case.pod is not None or told.get("status") != "False":
        return None
    text = str(told.get("message") or "a DataVolume is not ready")
    return Found(ended(f"Its disk is not filled yet: {text}"), "", (), case.vmi_reference())


CLAIMS: tuple[Rule, ...] = (
    pvc_not_found,
    pvc_lost,
    storage_class_not_found,
    pvc_not_bound,
    volume_in_use,
    data_volume_not_ready,
)
"""Asked before the scheduler's reasons, which follow from these."""
MOUNTS: tuple[Rule, ...] = (config_not_found, volume_not_mounted)
