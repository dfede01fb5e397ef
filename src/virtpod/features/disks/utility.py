"""Claims that are there for work on a guest, and that it does not see: attached while it runs, for
memory dumps and backups."""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.api.volumes import UtilityVolume
from virtpod.domain.facts import Cluster
from virtpod.features.contract import DUPLICATE, REQUIRED, UNSUPPORTED, Cause, Feature

MOST = 256
TYPES = ("MemoryDump", "Backup")


def asked(vmi: VMI) -> list[UtilityVolume]:
    return list(vmi.spec.utility_volumes or ())


def validate(part: list[UtilityVolume], vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    taken = {volume.name for volume in vmi.spec.volumes or ()}
    if len(part) > MOST:
        where = "spec.utilityVolumes"
        yield Cause(where, f"{where} must not have more than {MOST} items")
        return
    for index, volume in enumerate(part):
        where = f"spec.utilityVolumes[{index}]"
        if not volume.name:
            yield Cause(f"{where}.name", f"{where}.name is required", REQUIRED)
        elif volume.name in taken:
            message = f"{where}.name: there is a volume {volume.name!r} already"
            yield Cause(f"{where}.name", message, DUPLICATE)
        taken.add(volume.name)
        if not volume.claim_name:
            yield Cause(f"{where}.claimName", f"{where}.claimName is required", REQUIRED)
        if volume.type and volume.type not in TYPES:
            message = f"{where}.type {volume.type!r} is not one of {', '.join(TYPES)}"
            yield Cause(f"{where}.type", message, UNSUPPORTED)


FEATURE = Feature(
    name="utility",
    owns=("utilityVolumes",),
    asked=asked,
    gate="UtilityVolumes",
    validate=validate,
)
