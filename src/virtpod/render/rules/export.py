"""VirtualMachineExport: of something that has disks."""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.export import VirtualMachineExport
from virtpod.features.contract import Cause
from virtpod.render.rules import Asked, Rules
from virtpod.render.rules._common import KUBEVIRT, SNAPSHOT, gated, refers, stays

SOURCES = {
    "PersistentVolumeClaim": "",
    "VirtualMachine": KUBEVIRT,
    "VirtualMachineSnapshot": SNAPSHOT,
    "VirtualMachineBackup": "backup.kubevirt.io",
    "VirtualMachineTemplate": "template.kubevirt.io",
}


def _causes(asked: Asked[VirtualMachineExport]) -> Iterable[Cause]:
    if asked.old is not None:
        yield from stays(asked)
        return
    yield from gated("VMExport", asked.cluster)
    yield from refers("spec.source", asked.new.spec.source, SOURCES)


RULES = Rules(VirtualMachineExport, _causes)
