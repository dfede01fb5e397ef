"""VirtualMachineSnapshot and VirtualMachineRestore: of what, to where, and one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from virtpod.api.restore import VirtualMachineRestore
from virtpod.api.snapshot import VirtualMachineSnapshot
from virtpod.features.contract import DUPLICATE, REQUIRED, Cause, Json
from virtpod.render.rules import Asked, Look, Rules
from virtpod.render.rules._common import (
    KUBEVIRT,
    gated,
    one_of,
    patches,
    refers,
    stays,
)

GATE = "Snapshot"
MACHINES = {"VirtualMachine": KUBEVIRT}
DELETIONS = ("Delete", "Retain")
READINESS = ("StopTarget", "WaitGracePeriod", "FailImmediate", "WaitEventually")
OWNERSHIPS = ("Vm", "None")
VOLUMES = ("RandomizeNames", "InPlace", "PrefixTargetName")


def _snapshot(asked: Asked[VirtualMachineSnapshot]) -> Iterable[Cause]:
    if asked.old is not None:
        yield from stays(asked)
        return
    spec = asked.new.spec
    yield from gated(GATE, asked.cluster)
    yield from refers("spec.source", spec.source, MACHINES)
    yield from one_of("spec.deletionPolicy", spec.deletion_policy, DELETIONS)


def _restores(obj: Json) -> Mapping[str, Look]:
    return {"restores": Look("VirtualMachineRestore", obj["metadata"]["namespace"])}


def _restore(asked: Asked[VirtualMachineRestore]) -> Iterable[Cause]:
    if asked.old is not None:
        yield from stays(asked)
        return
    spec = asked.new.spec
    yield from gated(GATE, asked.cluster)
    yield from refers("spec.target", spec.target, MACHINES)
    if not spec.virtual_machine_snapshot_name:
        where = "spec.virtualMachineSnapshotName"
        yield Cause(where, f"{where} must be given", REQUIRED)
    yield from one_of("spec.targetReadinessPolicy", spec.target_readiness_policy, READINESS)
    yield from one_of("spec.volumeOwnershipPolicy", spec.volume_ownership_policy, OWNERSHIPS)
    yield from one_of("spec.volumeRestorePolicy", spec.volume_restore_policy, VOLUMES)
    yield from patches("spec.patches", spec.patches)
    yield from _overrides(asked.new)
    yield from _others(asked)


def _overrides(restore: VirtualMachineRestore) -> Iterable[Cause]:
    volumes, names = set(), set()
    for index, override in enumerate(restore.spec.volume_restore_overrides or ()):
        here = f"spec.volumeRestoreOverrides[{index}]"
        if not override.volume_name:
            yield Cause(f"{here}.volumeName", f"{here}.volumeName must be given", REQUIRED)
        elif override.volume_name in volumes:
            message = f"{here}: volume {override.volume_name!r} is overridden twice"
            yield Cause(f"{here}.volumeName", message, DUPLICATE)
        if override.restore_name in names:
            message = f"{here}: two claims cannot both be called {override.restore_name!r}"
            yield Cause(f"{here}.restoreName", message, DUPLICATE)
        volumes.add(override.volume_name)
        names |= {override.restore_name} - {None}


def _others(asked: Asked[VirtualMachineRestore]) -> Iterable[Cause]:
    target = asked.new.spec.target
    for other in asked.seen.get("restores", ()):
        aim = (other.get("spec") or {}).get("target") or {}
        same = (aim.get("kind"), aim.get("name")) == (target.kind, target.name)
        if same and not (other.get("status") or {}).get("complete"):
            name = other["metadata"]["name"]
            yield Cause("spec.target", f"VirtualMachineRestore {name!r} in progress")


SNAPSHOTS = Rules(VirtualMachineSnapshot, _snapshot)
RULES = Rules(VirtualMachineRestore, _restore, _restores)
