"""VirtualMachineBackup and its tracker: of one machine, to a claim or to who comes for it."""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.backup import VirtualMachineBackup, VirtualMachineBackupTracker
from virtpod.features.contract import REQUIRED, Cause
from virtpod.render.rules import Asked, Rules
from virtpod.render.rules._common import KUBEVIRT, gated, one_of, refers, stays

GATE = "IncrementalBackup"
SOURCES = {"VirtualMachine": KUBEVIRT, "VirtualMachineBackupTracker": "backup.kubevirt.io"}


def _backup(asked: Asked[VirtualMachineBackup]) -> Iterable[Cause]:
    if asked.old is not None:
        yield from stays(asked)
        return
    spec = asked.new.spec
    yield from gated(GATE, asked.cluster)
    yield from refers("spec.source", spec.source, SOURCES)
    yield from one_of("spec.mode", spec.mode, ("Push", "Pull"))
    if spec.mode in (None, "Push") and not spec.pvc_name:
        yield Cause("spec.pvcName", "spec.pvcName must be given in mode Push", REQUIRED)
    if spec.mode == "Pull" and not spec.token_secret_ref:
        where = "spec.tokenSecretRef"
        yield Cause(where, f"{where} must be given in mode Pull", REQUIRED)


def _tracker(asked: Asked[VirtualMachineBackupTracker]) -> Iterable[Cause]:
    if asked.old is not None:
        yield from stays(asked)
        return
    yield from gated(GATE, asked.cluster)
    yield from refers("spec.source", asked.new.spec.source, {"VirtualMachine": KUBEVIRT})


RULES = Rules(VirtualMachineBackup, _backup)
TRACKERS = Rules(VirtualMachineBackupTracker, _tracker)
