"""What the guest sees of storage: disks, LUNs, CD-ROMs and shared file systems.

A disk is joined to a volume (`volumes.py`) by name.
"""

from __future__ import annotations

from msgspec import field

from virtpod.api.base import Int32, Wire
from virtpod.api.machine import FeatureState


class CustomBlockSize(Wire):
    discard_granularity: Int32 | None = None
    logical: Int32 | None = None
    physical: Int32 | None = None


class BlockSize(Wire):
    custom: CustomBlockSize | None = None
    match_volume: FeatureState | None = None


class CDRomTarget(Wire):
    bus: str | None = None
    readonly: bool | None = None
    tray: str | None = None


class DiskTarget(Wire):
    bus: str | None = None
    pci_address: str | None = None
    readonly: bool | None = None


class LunTarget(Wire):
    bus: str | None = None
    readonly: bool | None = None
    reservation: bool | None = None


class Disk(Wire):
    name: str
    block_size: BlockSize | None = None
    boot_order: Int32 | None = None
    cache: str | None = None
    cdrom: CDRomTarget | None = None
    changed_block_tracking: bool | None = None
    dedicated_io_thread: bool | None = field(default=None, name="dedicatedIOThread")
    disk: DiskTarget | None = None
    error_policy: str | None = None
    io: str | None = None
    lun: LunTarget | None = None
    serial: str | None = None
    shareable: bool | None = None
    tag: str | None = None


class FilesystemVirtiofs(Wire):
    pass


class Filesystem(Wire):
    virtiofs: FilesystemVirtiofs
    name: str
