"""What a VM's instance was started from, kept as a ControllerRevision, and what has changed since.

A running machine is not rebuilt under its guest: a change of the template waits for the next start,
and the condition RestartRequired says so until then.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/controller-revision-v1/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from virtpod.controllers import conditions, vm_devices, vm_interfaces, vm_volumes
from virtpod.controllers.conditions import Condition
from virtpod.kube.resources import CONTROLLER_REVISIONS, VMS, Key, Obj

OF = "kubevirt.io/vm-uid"
GENERATION = "kubevirt.io/vm-generation"
"""Annotation of an instance: the generation of the VM that it was made from."""


@dataclass(frozen=True)
class Revise:
    """Keep this revision of a VM (make it where it is not there), and take away its others."""

    key: Key
    body: Obj
    vm_uid: str


def name(vm_uid: str, generation: object) -> str:
    return f"revision-start-vm-{vm_uid}-{generation}"


def of(vm: Obj) -> Revise:
    """The revision that an instance made now is started from."""
    metadata = vm["metadata"]
    uid, generation = metadata["uid"], metadata.get("generation") or 0
    called = name(uid, generation)
    body = {
        "apiVersion": CONTROLLER_REVISIONS.api_version,
        "kind": CONTROLLER_REVISIONS.kind,
        "metadata": {
            "name": called,
            "namespace": metadata["namespace"],
            "labels": {OF: uid},
            "ownerReferences": [
                {
                    "apiVersion": VMS.api_version,
                    "kind": VMS.kind,
                    "name": metadata["name"],
                    "uid": uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "data": {"spec": vm["spec"]},
        "revision": generation,
    }
    return Revise(Key(metadata["namespace"], called), body, uid)


def started_from(vm: Obj, vmi: Mapping[str, Any] | None) -> Key | None:
    """The revision to compare with: None where nothing can have changed since the start."""
    if vmi is None:
        return None
    made_from = (vmi["metadata"].get("annotations") or {}).get(GENERATION)
    metadata = vm["metadata"]
    if not made_from or made_from == str(metadata.get("generation") or 0):
        return None
    return Key(metadata["namespace"], name(metadata["uid"], made_from))


def restart_required(
    vm: Obj, revision: Mapping[str, Any], strategy: str | None
) -> Condition | None:
    """The condition, where the template's machine is another one than that of the revision.
    `strategy`: the cluster's, of what may change meanwhile."""
    started = (revision.get("data") or {}).get("spec") or {}
    old, new = (
        vm_volumes.permanent((each.get("template") or {}).get("spec") or {})
        for each in (started, vm["spec"])
    )
    if strategy != vm_interfaces.STAGE:
        old, new = (vm_interfaces.permanent(vm_devices.permanent(each, old)) for each in (old, new))
    differences = _differences(old, new, "spec")
    for which in ("instancetype", "preference"):
        differences |= _differences(started.get(which), vm["spec"].get(which), which)
    changed = sorted(differences)
    if not changed:
        return None
    message = (
        "a non-live-updatable field was changed in the template spec: "
        f"{', '.join(changed[:MOST])}{', …' if len(changed) > MOST else ''}; "
        "restart the VM for it to take effect"
    )
    return conditions.new("RestartRequired", "True", "", message)


MOST = 5
"""Changed fields that are named."""


def _differences(before: Any, after: Any, path: str) -> set[str]:
    """The paths at which two values differ; lists are compared as a whole."""
    if isinstance(before, dict) and isinstance(after, dict):
        found: set[str] = set()
        for key in before.keys() | after.keys():
            found |= _differences(before.get(key), after.get(key), f"{path}.{key}")
        return found
    return set() if before == after else {path}
