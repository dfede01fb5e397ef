"""What the guest sees of storage: disks, LUNs, CD-ROMs and shared file systems.

A disk is joined to a volume (`volumes.py`) by name.
"""

from __future__ import annotations

from msgspec import field

from virtpod.api.base import Int32, Wire
from virtpod.api.machine import FeatureState


class CustomBlockSize(Wire):
    discard_granularity: Int32 | None = None
    """Bytes that are discarded together."""
    logical: Int32 | None = None
    """Bytes of a logical block."""
    physical: Int32 | None = None
    """Bytes of a physical block."""


class BlockSize(Wire):
    custom: CustomBlockSize | None = None
    """Sizes given by hand."""
    match_volume: FeatureState | None = None
    """Sizes of the volume below."""


class CDRomTarget(Wire):
    bus: str | None = None
    """sata or scsi."""
    readonly: bool | None = None
    """Whether it cannot be written; true by default."""
    tray: str | None = None
    """open or closed."""


class DiskTarget(Wire):
    bus: str | None = None
    """virtio, sata, scsi or usb."""
    pci_address: str | None = None
    """Address on the guest's PCI bus, such as `0000:81:01.0`."""
    readonly: bool | None = None
    """Whether it cannot be written."""


class LunTarget(Wire):
    bus: str | None = None
    """scsi."""
    readonly: bool | None = None
    """Whether it cannot be written."""
    reservation: bool | None = None
    """Whether the guest may make persistent reservations."""


class Disk(Wire):
    name: str
    """Name of the disk and of its volume."""
    block_size: BlockSize | None = None
    """Sizes of the blocks that the guest sees."""
    boot_order: Int32 | None = None
    """Place in the order of booting, from 1."""
    cache: str | None = None
    """none, writethrough or writeback; by default what the storage can do."""
    cdrom: CDRomTarget | None = None
    """The guest sees a CD-ROM."""
    changed_block_tracking: bool | None = None
    """Whether changes are recorded for incremental backups."""
    dedicated_io_thread: bool | None = field(default=None, name="dedicatedIOThread")
    """Whether a thread of its own serves it."""
    disk: DiskTarget | None = None
    """The guest sees a disk."""
    error_policy: str | None = None
    """stop (default), ignore, report or enospace: what an I/O error does."""
    io: str | None = None
    """native, threads or io_uring."""
    lun: LunTarget | None = None
    """The guest sees a SCSI logical unit."""
    serial: str | None = None
    """The disk's serial number."""
    shareable: bool | None = None
    """Whether several guests may write to it at a time."""
    tag: str | None = None
    """Tag that the guest reads in its metadata."""


class FilesystemVirtiofs(Wire):
    pass


class Filesystem(Wire):
    virtiofs: FilesystemVirtiofs
    """Shared by virtiofs."""
    name: str
    """Name of the volume, and of the mount in the guest."""
