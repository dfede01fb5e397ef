"""Disks from data volumes: whoever imports one leaves its disk in a claim of the same name.

https://github.com/kubevirt/containerized-data-importer/blob/main/doc/datavolumes.md
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.api.volumes import Volume
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.steps import BootStep
from virtpod.features.contract import REQUIRED, Cause, Feature, PodPart
from virtpod.features.disks import claim, claim_boot, claim_pod

Part = tuple[tuple[int, Volume], ...]


def asked(vmi: VMI) -> Part:
    return tuple(
        (index, volume) for index, volume in enumerate(vmi.spec.volumes or ()) if volume.data_volume
    )


def validate(part: Part, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    for index, volume in part:
        if not claim(volume):
            where = f"spec.volumes[{index}].dataVolume.name"
            yield Cause(where, f"DataVolume 'name' must be set: {where}", REQUIRED)


def pod(part: Part, vmi: VMI, cluster: Cluster) -> PodPart:
    return claim_pod(vmi, (volume for _, volume in part), cluster)


def boot(part: Part, vmi: VMI, facts: Guest) -> Iterable[BootStep]:
    return claim_boot(vmi, (volume for _, volume in part), facts)


FEATURE = Feature(
    name="data_volume",
    owns=("volumes.dataVolume.name",),
    asked=asked,
    validate=validate,
    pod=pod,
    boot=boot,
)
