"""Disks that outlive the pod: a claim's `disk.img`, or the claim as a block device.

https://kubernetes.io/docs/concepts/storage/persistent-volumes/
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.api.volumes import Volume
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.steps import BootStep
from virtpod.features.contract import REQUIRED, Cause, Feature, PodPart
from virtpod.features.disks import claim, claim_boot, claim_pod, read_only

Part = tuple[tuple[int, Volume], ...]


def asked(vmi: VMI) -> Part:
    return tuple(
        (index, volume)
        for index, volume in enumerate(vmi.spec.volumes or ())
        if volume.persistent_volume_claim
    )


def validate(part: Part, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    disks = {disk.name: disk for disk in vmi.spec.domain.devices.disks or ()}
    for index, volume in part:
        where = f"spec.volumes[{index}].persistentVolumeClaim"
        if not claim(volume):
            yield Cause(f"{where}.claimName", f"{where}.claimName is required", REQUIRED)
        disk = disks.get(volume.name)
        if read_only(volume) and disk and disk.disk and disk.disk.bus == "sata":
            yield Cause(
                f"{where}.readOnly",
                f"{where}: sata hard-disks do not support read-only; "
                f"give disk {disk.name!r} the bus virtio or scsi",
            )


def pod(part: Part, vmi: VMI, cluster: Cluster) -> PodPart:
    return claim_pod(vmi, (volume for _, volume in part), cluster)


def boot(part: Part, vmi: VMI, facts: Guest) -> Iterable[BootStep]:
    return claim_boot(vmi, (volume for _, volume in part), facts)


FEATURE = Feature(
    name="persistent_volume_claim",
    owns=(
        "volumes.persistentVolumeClaim.claimName",
        "volumes.persistentVolumeClaim.readOnly",
    ),
    asked=asked,
    validate=validate,
    pod=pod,
    boot=boot,
)
