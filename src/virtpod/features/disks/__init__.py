"""Disks and the volumes behind them: what every file of this family needs to know."""

from __future__ import annotations

from collections.abc import Iterator

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.api.volumes import Volume
from virtpod.domain import paths
from virtpod.domain.facts import DiskImage, Guest


def source(volume: Volume) -> str:
    """The JSON name of the volume's source, "" where it has none."""
    return next(iter(sources(volume)), "")


def sources(volume: Volume) -> Iterator[str]:
    """The JSON names of all sources that are set; a valid volume has one."""
    for attribute, name in zip(
        volume.__struct_fields__, volume.__struct_encode_fields__, strict=True
    ):
        if attribute != "name" and getattr(volume, attribute) is not None:
            yield name


def backing(vmi: VMI, volume: Volume, facts: Guest) -> DiskImage | None:
    """The file that QEMU opens for the volume; None where the volume is no disk (yet)."""
    meta = vmi.metadata
    namespace, name = meta.namespace or "", meta.name or ""
    if volume.container_disk:
        given = facts.images.get(volume.name)
        return given and DiskImage(paths.overlay(volume.name), "qcow2", given.size)
    if volume.cloud_init_no_cloud:
        return DiskImage(paths.cloud_init_iso(namespace, name, "noCloud"))
    if volume.cloud_init_config_drive:
        return DiskImage(paths.cloud_init_iso(namespace, name, "configdrive"))
    if volume.empty_disk:
        return DiskImage(f"{paths.EMPTY_DISKS}/{volume.name}.qcow2", "qcow2")
    return None


WORKING = ("containerDisk", "cloudInitNoCloud", "cloudInitConfigDrive", "emptyDisk")
"""The sources that `backing` knows."""
