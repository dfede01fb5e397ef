"""Claims that take what is in the guest's memory: attached while it runs, a target and no disk.

virt-controller brings them as it brings disks that come and go, and takes them away when the dump
is complete (`controllers/memory_dump.py`).
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.api.volumes import MemoryDumpVolumeSource
from virtpod.domain.facts import Cluster
from virtpod.features.contract import REQUIRED, Cause, Feature

Part = tuple[tuple[int, MemoryDumpVolumeSource], ...]


def asked(vmi: VMI) -> Part:
    return tuple(
        (index, volume.memory_dump)
        for index, volume in enumerate(vmi.spec.volumes or ())
        if volume.memory_dump
    )


def validate(part: Part, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    used = {each.name for each in vmi.spec.domain.devices.disks or ()}
    used |= {each.name for each in vmi.spec.domain.devices.filesystems or ()}
    for index, dump in part:
        where = f"spec.volumes[{index}].memoryDump"
        if not dump.claim_name:
            yield Cause(f"{where}.claimName", f"{where}.claimName is required", REQUIRED)
        if (vmi.spec.volumes or [])[index].name in used:
            yield Cause(where, f"{where}: what takes a memory dump can be no disk of the guest's")
    if len(part) > 1:
        yield Cause("spec.volumes", "spec.volumes must have max one memory dump volume set")


FEATURE = Feature(
    name="memory_dump",
    owns=("volumes.memoryDump",),
    asked=asked,
    validate=validate,
)
