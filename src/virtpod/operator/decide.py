"""What virt-operator decides about a KubeVirt CR, and what its status says. Pure.

The conditions' meaning is that of the operator world, which installers wait for:
Available, Progressing, Degraded (https://github.com/openshift/enhancements), and Created.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from virtpod.controllers import conditions
from virtpod.controllers.conditions import Condition
from virtpod.kube.plan import Patch, Plan
from virtpod.kube.plan import tests as tested
from virtpod.kube.resources import KUBEVIRTS, Key, Obj, key_of
from virtpod.render.install import Options, chosen, registry_of

FINALIZER = "kubevirt.io/foregroundDeleteKubeVirt"


@dataclass(frozen=True)
class Install:
    """Make the cluster as this CR wants it."""

    cr: Obj


@dataclass(frozen=True)
class Remove:
    """Take away all that was made; raises NotYet as long as something stays."""

    cr: Obj


@dataclass(frozen=True)
class Workload:
    """A Deployment or DaemonSet; `why` says what is missing, "" where nothing is."""

    name: str
    why: str


@dataclass(frozen=True)
class Seen:
    cr: Obj
    elder: str
    """The CR that is in charge, if it is another one."""
    due: bool
    """Something is to be applied."""
    problem: str
    """Why the last attempt to apply failed."""
    workloads: Sequence[Workload]
    answers: str
    """What is wrong with virt-api's answers, "" where they come."""
    guests: int
    """VMs and VMIs, counted where the CR is being deleted."""
    deployment: str
    """A hash of what is applied for this CR."""
    architecture: str
    options: Options
    again_in: float
    now: float


def decide(seen: Seen) -> Plan:
    cr = seen.cr
    finalizers = cr["metadata"].get("finalizers") or []
    if seen.elder:
        return Plan("another CR is in charge", (), _patch(cr, _refused(seen)))
    if cr["metadata"].get("deletionTimestamp"):
        if FINALIZER not in finalizers:
            return Plan("the CR is going, and nothing of it is left")
        return _removal(seen)
    actions: list[Any] = []
    if FINALIZER not in finalizers:
        actions.append(_finalizers(cr, [*finalizers, FINALIZER]))
    status = _patch(cr, _status(seen))
    if not seen.due:
        return Plan(_why(seen), actions, status, again_in=seen.again_in)
    actions += [status] if status else []
    actions.append(Install(cr))
    return Plan("something is to be applied", actions, again_in=0.05)


def _removal(seen: Seen) -> Plan:
    cr = seen.cr
    if (
        seen.guests
        and (cr["spec"] or {}).get("uninstallStrategy") == "BlockUninstallIfWorkloadsExist"
    ):
        message = f"There are {seen.guests} virtual machines and instances: delete them first."
        told = _conditions(seen, False, False, True, "DeletionFailed", message)
        return Plan(
            "virtual machines keep the CR",
            (),
            _patch(cr, {"phase": "Deleting", "conditions": told}),
            again_in=10.0,
        )
    told = _conditions(
        seen, False, False, False, "DeletionInProgress", "Everything is being removed."
    )
    # Each step is a step forward, whoever takes the next: what is said to be deleted stays so.
    done = (cr.get("status") or {}).get("phase") == "Deleted"
    started = None if done else _patch(cr, {"phase": "Deleting", "conditions": told})
    finished = Patch(KUBEVIRTS, key_of(cr), {"status": {"phase": "Deleted"}}, "merge", "status")
    left = [name for name in cr["metadata"]["finalizers"] if name != FINALIZER]
    actions: list[Any] = [started] if started else []
    actions += [Remove(cr), *([] if done else [finished]), _finalizers(cr, left)]
    return Plan("the CR is being deleted", actions)


def _why(seen: Seen) -> str:
    missing = [f"{workload.name}: {workload.why}" for workload in seen.workloads if workload.why]
    if missing:
        return "; ".join(missing)
    return seen.answers or "all is as it should be"


def _status(seen: Seen) -> Obj:
    cr, options = seen.cr, chosen(seen.cr, seen.options)
    have = cr.get("status") or {}
    registry = registry_of(options.image)
    version = options.version
    ready = not seen.due and not any(each.why for each in seen.workloads) and not seen.answers
    target = {
        "targetKubeVirtVersion": version,
        "targetKubeVirtRegistry": registry,
        "targetDeploymentID": seen.deployment,
        "operatorVersion": seen.options.version,
        "defaultArchitecture": seen.architecture,
    }
    if ready:
        return {
            **target,
            "phase": "Deployed",
            "observedKubeVirtVersion": version,
            "observedKubeVirtRegistry": registry,
            "observedDeploymentID": seen.deployment,
            "observedGeneration": cr["metadata"].get("generation"),
            "conditions": _conditions(
                seen, True, False, False, "AllComponentsReady", "All components are ready."
            ),
        }
    updating = conditions.status(conditions.of(cr), "Available") == "True"
    reason = "UpdateInProgress" if updating else "DeploymentInProgress"
    message = f"Deploying version {version} with registry {registry}"
    degraded = False
    if updating and seen.deployment == have.get("observedDeploymentID"):
        # Nothing new is rolled out: something that was ready no longer is.
        degraded, reason, message = not seen.due, "ComponentsNotReady", _why(seen)
        if seen.due:
            return {**target, "phase": have.get("phase") or "Deployed"}
    if seen.problem:
        degraded, reason, message = True, "DeploymentFailed", seen.problem
    return {
        **target,
        "phase": "Deploying" if not have.get("observedDeploymentID") else "Deployed",
        "conditions": _conditions(seen, updating, True, degraded, reason, message),
    }


def _conditions(
    seen: Seen, available: bool, progressing: bool, degraded: bool, reason: str, message: str
) -> list[Condition]:
    told = conditions.of(seen.cr)
    for type, so in (
        ("Available", available),
        ("Progressing", progressing),
        ("Degraded", degraded),
    ):
        told = conditions.put(
            told, conditions.new(type, "True" if so else "False", reason, message), seen.now
        )
    if not seen.due and not seen.problem and reason != "DeletionInProgress":
        created = conditions.new(
            "Created", "True", "AllResourcesCreated", "All resources were created."
        )
        told = conditions.put(told, created, seen.now)
    return told


def _refused(seen: Seen) -> Obj:
    message = f"There is an active KubeVirt deployment: {seen.elder}"
    told = conditions.new("Synchronized", "False", "ExistingDeployment", message)
    return {"conditions": conditions.put(conditions.of(seen.cr), told, seen.now)}


def _patch(cr: Obj, wanted: Mapping[str, Any]) -> Patch | None:
    """Only what differs."""
    have = cr.get("status") or {}
    changed = {name: value for name, value in wanted.items() if have.get(name) != value}
    if not changed:
        return None
    return Patch(KUBEVIRTS, key_of(cr), {"status": changed}, "merge", "status")


def _finalizers(cr: Obj, wanted: list[str]) -> Patch:
    body = [
        *tested(cr, "/metadata/uid", "/metadata/finalizers"),
        {"op": "add", "path": "/metadata/finalizers", "value": wanted},
    ]
    return Patch(KUBEVIRTS, key_of(cr), body, "json")


def in_charge(crs: Sequence[Obj]) -> Obj | None:
    """The one with our finalizer, which was here first; else the oldest."""

    def order(cr: Obj) -> tuple[bool, str, Key]:
        metadata = cr["metadata"]
        ours = FINALIZER in (metadata.get("finalizers") or [])
        return (not ours, metadata.get("creationTimestamp") or "", key_of(cr))

    return min(crs, key=order, default=None)


def deployment_lacks(deployment: Obj) -> str:
    """What a Deployment has not got yet."""
    status = deployment.get("status") or {}
    wanted = deployment["spec"].get("replicas", 1)
    if (status.get("observedGeneration") or 0) < deployment["metadata"]["generation"]:
        return "not looked at yet"
    if (status.get("updatedReplicas") or 0) < wanted:
        return f"{status.get('updatedReplicas') or 0} of {wanted} replicas are up to date"
    if (old := (status.get("replicas") or 0) - (status.get("updatedReplicas") or 0)) > 0:
        # An old one stays until a new one is available: that enough are says nothing of the new.
        return f"{old} replicas of before are still there"
    if (status.get("availableReplicas") or 0) < wanted:
        return f"{status.get('availableReplicas') or 0} of {wanted} replicas are available"
    return ""


def daemon_set_lacks(daemons: Obj) -> str:
    """What a DaemonSet has not got yet."""
    status = daemons.get("status") or {}
    wanted = status.get("desiredNumberScheduled") or 0
    if (status.get("observedGeneration") or 0) < daemons["metadata"]["generation"]:
        return "not looked at yet"
    if not wanted:
        return "no node takes it"
    if (status.get("updatedNumberScheduled") or 0) < wanted:
        return f"{status.get('updatedNumberScheduled') or 0} of {wanted} nodes are up to date"
    if (status.get("numberAvailable") or 0) < wanted:
        return f"{status.get('numberAvailable') or 0} of {wanted} nodes are available"
    return ""
