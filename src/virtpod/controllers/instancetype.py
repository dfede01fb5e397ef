"""Which instance type and preference a VM takes, and the copies that it keeps of them.

A VM goes on with what it was first given: a ControllerRevision of its own holds that, so that a
change of the instance type reaches it only when its user says so.

https://kubevirt.io/user-guide/user_workloads/instancetypes/#versioning
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from virtpod.api.instancetype import VirtualMachineInstancetypeSpec
from virtpod.api.preference import VirtualMachinePreferenceSpec
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.domain.facts import Cluster
from virtpod.kube.plan import Create
from virtpod.kube.resources import (
    CLUSTER_INSTANCETYPES,
    CLUSTER_PREFERENCES,
    CONTROLLER_REVISIONS,
    INSTANCETYPES,
    PREFERENCES,
    VMS,
    Key,
    Obj,
    Resource,
)
from virtpod.render import expand

KINDS = {
    "instancetype": (CLUSTER_INSTANCETYPES, INSTANCETYPES),
    "preference": (CLUSTER_PREFERENCES, PREFERENCES),
}
"""By the field of a VM's spec; the first is meant where no kind is said."""
LABEL = "instancetype.kubevirt.io/object-"


@dataclass(frozen=True)
class Chosen:
    """What a VM takes; empty where it names nothing."""

    choice: expand.Choice = field(default_factory=expand.Choice)
    refs: Mapping[str, Obj] = field(default_factory=dict)
    """`status.instancetypeRef` and `status.preferenceRef`, as they shall be."""
    copies: tuple[Create, ...] = ()
    """ControllerRevisions that the VM does not have yet."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Of the instance: what it was made from."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """By field of the VM's spec: what was not found, or is not what it should be."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """By field: the copy in today's API of that which the VM's spec names."""


def resource(which: str, kind: str | None) -> Resource | None:
    """`kind` as people write it: a kind or a plural, in any case."""
    if not kind:
        return KINDS[which][0]
    said = kind.lower()
    return next((each for each in KINDS[which] if said in (each.kind.lower(), each.plural)), None)


def wanted(vm: Mapping[str, Any]) -> dict[str, tuple[Resource, Key]]:
    """What to read for a VM, by the field of its spec: the copy that it has, else the object."""
    reads = {}
    namespace = vm["metadata"]["namespace"]
    for which, matcher in _matchers(vm):
        if kept := _kept(vm, which, matcher):
            reads[which] = (CONTROLLER_REVISIONS, Key(namespace, kept))
        elif (found := resource(which, matcher.get("kind"))) and matcher.get("name"):
            reads[which] = (found, Key(namespace if found.namespaced else "", matcher["name"]))
    return reads


def matters(vm: Mapping[str, Any], *, starts: bool) -> bool:
    """Whether to read any of it: for a start, and until the VM has its copies, in today's API."""
    reads = wanted(vm)
    kept = all(
        resource == CONTROLLER_REVISIONS and f"-{KINDS[which][0].version}-" in key.name
        for which, (resource, key) in reads.items()
    )
    return bool(_matchers(vm)) and (starts or not kept or len(reads) < len(_matchers(vm)))


def choose(vm: Mapping[str, Any], found: Mapping[str, Obj | None]) -> Chosen:
    """`found`: what reading `wanted` gave."""
    specs: dict[str, Any] = {}
    refs, missing, annotations, renamed = {}, {}, {}, {}
    copies = []
    reads = wanted(vm)
    for which, matcher in _matchers(vm):
        said = f"{which} {matcher.get('name') or '(no name)'}"
        obj = found.get(which)
        if which not in reads:
            missing[which] = f"{said} of kind {matcher.get('kind')!r} can not be looked for"
            continue
        if obj is None:
            missing[which] = f"{reads[which][0].kind} {reads[which][1]} not found"
            continue
        copy = reads[which][0] == CONTROLLER_REVISIONS
        whole = (obj.get("data") or {}) if copy else obj
        try:
            whole = {**whole, "spec": _plain(whole.get("spec"))}
            specs[which] = msgspec.convert(whole["spec"], SPECS[which])
        except (msgspec.ValidationError, msgspec.DecodeError, ValueError) as error:
            missing[which] = f"{said} cannot be understood: {error}"
            continue
        kind = resource(which, matcher.get("kind")) or KINDS[which][0]
        name = str(matcher.get("name") or (whole.get("metadata") or {}).get("name") or "")
        newer = _upgraded(vm, kind, name, obj, whole) if copy else revision(vm, kind, obj)
        kept = newer or obj
        refs[which] = {
            "name": name,
            "kind": kind.kind,
            "controllerRevisionRef": {"name": kept["metadata"]["name"]},
        }
        scope = "cluster-" if not kind.namespaced else ""
        annotations[f"kubevirt.io/{scope}{which}-name"] = name
        if newer is not None:
            copies.append(Create(CONTROLLER_REVISIONS, newer, unless_there=True))
            if matcher.get("revisionName"):
                renamed[which] = newer["metadata"]["name"]
    choice = expand.Choice(specs.get("instancetype"), specs.get("preference"))
    return Chosen(choice, refs, tuple(copies), annotations, missing, renamed)


def inlined(vm: Mapping[str, Any], chosen: Chosen, cluster: Cluster) -> bool:
    """Whether the VM's template is to hold all of it from now on, as the KubeVirt object says."""
    config = cluster.config.instancetype
    policy = (config and config.reference_policy) or "reference"
    pinned = any(_kept(vm, which, matcher) for which, matcher in _matchers(vm))
    if not chosen.choice or chosen.missing or (policy == "expand" and pinned):
        return False
    return policy in ("expand", "expandAll")


SPECS = {
    "instancetype": VirtualMachineInstancetypeSpec,
    "preference": VirtualMachinePreferenceSpec,
}


def expanded(chosen: Chosen, instance: Obj, cluster: Cluster) -> Obj:
    """The instance (a VMI as JSON) with what its VM takes. Raises ValueError: `expand.expand`."""
    if not chosen.choice:
        return instance
    typed = msgspec.convert(
        {"metadata": instance["metadata"], "spec": instance["spec"]}, VirtualMachineInstance
    )
    expand.expand(chosen.choice, typed, cluster)
    whole = msgspec.to_builtins(typed)
    annotations = {**(whole["metadata"].get("annotations") or {}), **chosen.annotations}
    metadata = {**instance["metadata"], "annotations": annotations}
    return {**instance, "metadata": metadata, "spec": whole["spec"]}


def owned(vm: Mapping[str, Any], chosen: Chosen, cluster: Cluster) -> Obj:
    """The fields of the VM's spec that make what it takes its own; None: gone. Raises ValueError:
    `expand.expand`."""
    template = vm["spec"]["template"]
    given = {"metadata": template.get("metadata") or {}, "spec": template.get("spec") or {}}
    made = expanded(replace(chosen, annotations={}), given, cluster)
    return {"template": made, **dict.fromkeys(KINDS)}


def revision(vm: Mapping[str, Any], kind: Resource, obj: Mapping[str, Any]) -> Obj:
    """The copy that a VM keeps."""
    given, owner = obj["metadata"], vm["metadata"]
    uid, generation = given.get("uid") or "", given.get("generation") or 0
    labels = {
        "generation": str(generation),
        "kind": kind.kind,
        "name": given["name"],
        "uid": uid,
        "version": kind.version,
    }
    return {
        "apiVersion": CONTROLLER_REVISIONS.api_version,
        "kind": CONTROLLER_REVISIONS.kind,
        "metadata": {
            "name": f"{owner['name']}-{given['name']}-{kind.version}-{uid}-{generation}",
            "namespace": owner["namespace"],
            "labels": {f"{LABEL}{name}": value for name, value in labels.items()},
            "ownerReferences": [
                {
                    "apiVersion": VMS.api_version,
                    "kind": VMS.kind,
                    "name": owner["name"],
                    "uid": owner.get("uid") or "",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "data": {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": {"name": given["name"], "uid": uid, "generation": generation},
            "spec": obj.get("spec"),
        },
        "revision": 0,
    }


def _plain(spec: Any) -> Any:
    """A spec as it is: the oldest copies, of v1alpha1, have it as JSON within base64.

    Raises ValueError, DecodeError.
    """
    return msgspec.json.decode(base64.b64decode(spec)) if isinstance(spec, str) else spec


def _upgraded(
    vm: Mapping[str, Any], kind: Resource, name: str, copy: Obj, whole: Mapping[str, Any]
) -> Obj | None:
    """A copy that an older version of the API is kept in, in today's; None where it is.

    The versions differ in what they let one say, not in how: v1beta1 understands all of the older
    words.
    """
    labels, given = copy["metadata"].get("labels") or {}, whole.get("metadata") or {}
    version = labels.get(f"{LABEL}version") or str(whole.get("apiVersion") or "").rpartition("/")[2]
    if version == kind.version:
        return None
    generation = labels.get(f"{LABEL}generation") or given.get("generation") or 0
    metadata = {
        "name": name,
        "uid": labels.get(f"{LABEL}uid") or given.get("uid") or copy["metadata"].get("uid") or "",
        "generation": int(generation) if str(generation).isdecimal() else 0,
    }
    return revision(vm, kind, {"metadata": metadata, "spec": whole["spec"]})


def _matchers(vm: Mapping[str, Any]) -> list[tuple[str, Obj]]:
    spec = vm.get("spec") or {}
    return [(which, spec[which]) for which in KINDS if spec.get(which)]


def _kept(vm: Mapping[str, Any], which: str, matcher: Mapping[str, Any]) -> str:
    """The name of the copy that the VM has of what its matcher says now; "" if it has none."""
    if matcher.get("revisionName"):
        return str(matcher["revisionName"])
    ref = (vm.get("status") or {}).get(f"{which}Ref") or {}
    same = resource(which, ref.get("kind")) == resource(which, matcher.get("kind"))
    if not same or ref.get("name") != matcher.get("name"):
        return ""
    return str((ref.get("controllerRevisionRef") or {}).get("name") or "")
