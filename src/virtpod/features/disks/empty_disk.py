"""Scratch disks that live and die with the pod."""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.api.volumes import EmptyDiskSource
from virtpod.domain import paths
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.quantity import bytes_of
from virtpod.domain.steps import BootStep, MakeQcow2
from virtpod.features.contract import Cause, Feature

Part = tuple[tuple[int, str, EmptyDiskSource], ...]


def asked(vmi: VMI) -> Part:
    return tuple(
        (index, volume.name, volume.empty_disk)
        for index, volume in enumerate(vmi.spec.volumes or ())
        if volume.empty_disk
    )


def validate(part: Part, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    for index, _, disk in part:
        where = f"spec.volumes[{index}].emptyDisk.capacity"
        try:
            if bytes_of(disk.capacity) <= 0:
                yield Cause(where, f"{where} must be greater than 0, such as 1Gi")
        except ValueError as error:
            yield Cause(where, f"{where}: {error}")


def boot(part: Part, vmi: VMI, facts: Guest) -> Iterable[BootStep]:
    for _, name, disk in part:
        yield MakeQcow2(f"{paths.EMPTY_DISKS}/{name}.qcow2", bytes_of(disk.capacity))


FEATURE = Feature(
    name="empty_disk",
    owns=("volumes.emptyDisk",),
    asked=asked,
    validate=validate,
    boot=boot,
)
