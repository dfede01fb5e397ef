"""A claim's disk as the beginning of one that lives and dies with the pod.

The claim is only read, so any number of guests may begin with it; what each writes goes to a layer
of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.api.volumes import Volume
from virtpod.domain import paths
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.steps import BootStep, MakeOverlay
from virtpod.features.contract import REQUIRED, Cause, Feature, PodPart
from virtpod.features.disks import claim, claim_pod

Part = tuple[tuple[int, Volume], ...]


def asked(vmi: VMI) -> Part:
    return tuple(
        (index, volume) for index, volume in enumerate(vmi.spec.volumes or ()) if volume.ephemeral
    )


def validate(part: Part, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    for index, volume in part:
        if not claim(volume):
            where = f"spec.volumes[{index}].ephemeral.persistentVolumeClaim.claimName"
            yield Cause(where, f"{where} is required", REQUIRED)


def pod(part: Part, vmi: VMI, cluster: Cluster) -> PodPart:
    return claim_pod(vmi, (volume for _, volume in part), cluster)


def boot(part: Part, vmi: VMI, facts: Guest) -> Iterable[BootStep]:
    for _, volume in part:
        if image := facts.images.get(volume.name):
            yield MakeOverlay(paths.overlay(volume.name), image.path, image.format)


FEATURE = Feature(
    name="ephemeral",
    owns=("volumes.ephemeral",),
    asked=asked,
    validate=validate,
    pod=pod,
    boot=boot,
)
