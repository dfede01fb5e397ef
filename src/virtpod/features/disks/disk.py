"""Every disk of the spec, whatever its volume: bus, target, cache, boot order.

https://libvirt.org/formatdomain.html#hard-drives-floppy-disks-cdroms
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

from virtpod.api.disks import CDRomTarget, CustomBlockSize, Disk, DiskTarget
from virtpod.api.traits import virtio_model
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.api.volumes import Volume
from virtpod.domain import paths
from virtpod.domain.facts import Cluster, DiskImage, Guest
from virtpod.domain.xml import PCI_ADDRESS, E, Element, pci_address
from virtpod.features.contract import (
    DUPLICATE,
    NOT_FOUND,
    REQUIRED,
    UNSUPPORTED,
    Cause,
    Feature,
    Json,
    always,
)
from virtpod.features.disks import (
    WORKING,
    Access,
    access,
    backing,
    claim,
    claim_info,
    hotplugged,
    matches_volume,
    read_only,
    source,
    sources,
)
from virtpod.wire.messages import DomainChanged

CHANGES = "DeclarativeHotplugVolumes"
"""The feature gate under which a drive's medium comes and goes."""
SMALLEST_BLOCK, LARGEST_BLOCK = 512, 2 * 1024 * 1024
"""Bytes of a block, as QEMU takes them."""
NAME = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_.]{0,62}")
"""Of a volume that is none of the pod's; those are stricter."""
SERIAL = re.compile(r"[A-Za-z0-9_.+-]*")
BUSES = ("virtio", "sata", "scsi", "usb")
PREFIX = {"virtio": "vd", "sata": "sd", "scsi": "sd", "usb": "sd"}
CACHES = ("none", "writethrough", "writeback")
IO = ("native", "threads")
POLICIES = ("stop", "ignore", "report", "enospace")
DISKLESS = ("downwardMetrics", "memoryDump", "containerPath", "sysprep", "serviceAccount")
"""Volumes that nobody expects a disk of their own for."""


def joined(vmi: VMI) -> Iterator[tuple[Disk, Volume]]:
    """The disks that have a volume, in the order of the disks."""
    volumes = {volume.name: volume for volume in vmi.spec.volumes or ()}
    for disk in vmi.spec.domain.devices.disks or ():
        if disk.name in volumes:
            yield disk, volumes[disk.name]


def bus(disk: Disk) -> str:
    """The bus the disk sits on."""
    target = disk.disk or disk.cdrom or disk.lun
    return (target and target.bus) or "sata"


def targets(vmi: VMI) -> dict[str, str]:
    """Each disk's name to its device name in the guest's order: vda, vdb, sda."""
    taken: dict[str, int] = {}
    names = {}
    for disk in vmi.spec.domain.devices.disks or ():
        prefix = PREFIX.get(bus(disk), "sd")
        names[disk.name] = prefix + _letters(taken.get(prefix, 0))
        taken[prefix] = taken.get(prefix, 0) + 1
    return names


def _letters(index: int) -> str:
    """a, b ... z, aa, ab: as Linux names its disks."""
    name = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        name = chr(ord("a") + rest) + name
    return name


def attach(vmi: VMI) -> None:
    """A disk for each volume that should have one and has none; its bus is left open."""
    devices = vmi.spec.domain.devices
    for _, name in list(_unused(vmi)):
        devices.disks = [*(devices.disks or ()), Disk(name=name, disk=DiskTarget())]


def defaults(part: VMI, vmi: VMI, cluster: Cluster) -> None:
    attach(vmi)
    devices = vmi.spec.domain.devices
    usual = "sata" if vmi.spec.architecture in (None, "amd64") else "virtio"
    for disk in devices.disks or ():
        if not (disk.disk or disk.cdrom or disk.lun):
            disk.disk = DiskTarget()
        target = disk.disk or disk.cdrom or disk.lun
        if target is not None and not target.bus:
            target.bus = "scsi" if usual == "virtio" and disk.cdrom else usual
        if disk.cdrom is not None:
            _fill_cdrom(disk.cdrom)


def _unused(vmi: VMI) -> Iterator[tuple[int, str]]:
    """Index and name of each volume that should have a disk and has none."""
    devices = vmi.spec.domain.devices
    used = {disk.name for disk in devices.disks or ()}
    used |= {filesystem.name for filesystem in devices.filesystems or ()}
    for index, volume in enumerate(vmi.spec.volumes or ()):
        if volume.name not in used and source(volume) not in DISKLESS:
            yield index, volume.name


def _fill_cdrom(cdrom: CDRomTarget) -> None:
    if cdrom.readonly is None:
        cdrom.readonly = True
    cdrom.tray = cdrom.tray or "closed"


def validate(part: VMI, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    yield from _validate_volumes(vmi)
    yield from _validate_claims(vmi)
    volumes = {volume.name for volume in vmi.spec.volumes or ()}
    seen: dict[str, int] = {}
    interfaces = vmi.spec.domain.devices.interfaces or ()
    orders = {each.boot_order for each in interfaces if each.boot_order}
    for index, disk in enumerate(vmi.spec.domain.devices.disks or ()):
        where = f"spec.domain.devices.disks[{index}]"
        if disk.name in seen:
            yield Cause(
                where,
                f"spec.domain.devices.disks[{seen[disk.name]}] and {where} "
                "must not have the same Name.",
                DUPLICATE,
            )
        seen.setdefault(disk.name, index)
        if disk.name not in volumes and disk.cdrom is None:
            yield Cause(f"{where}.name", f"{where}.Name '{disk.name}' not found.", NOT_FOUND)
        elif disk.name not in volumes and CHANGES not in cluster.gates:
            yield Cause(
                f"{where}.name",
                f"{where}.Name '{disk.name}' not found: a CD-ROM drive without a volume needs "
                f"feature gate {CHANGES}",
                NOT_FOUND,
            )
        yield from _validate_disk(where, disk)
        if disk.boot_order is not None:
            if disk.boot_order < 1:
                yield Cause(
                    f"{where}.bootOrder", f"{where} must have a boot order > 0, if supplied"
                )
            if disk.boot_order in orders:
                yield Cause(
                    f"{where}.bootOrder",
                    f"Boot order for {where}.bootOrder already set for a different device.",
                    DUPLICATE,
                )
            orders.add(disk.boot_order)


def _validate_volumes(vmi: VMI) -> Iterable[Cause]:
    devices = vmi.spec.domain.devices
    used = {disk.name for disk in devices.disks or ()}
    used |= {filesystem.name for filesystem in devices.filesystems or ()}
    seen: dict[str, int] = {}
    volumes = vmi.spec.volumes or []
    if len(volumes) > 256:
        yield Cause("spec.volumes", "spec.volumes must not have more than 256 items")
        return
    for index, volume in enumerate(volumes):
        where = f"spec.volumes[{index}]"
        if volume.name in seen:
            yield Cause(
                f"{where}.name",
                f"spec.volumes[{seen[volume.name]}] and {where} must not have the same Name.",
                DUPLICATE,
            )
        seen.setdefault(volume.name, index)
        if not NAME.fullmatch(volume.name):
            yield Cause(
                f"{where}.name",
                f"{where}.name {volume.name!r} must have 1 to 63 letters, digits and - _ . and "
                "begin with a letter or a digit: files are called by it",
            )
        kinds = list(sources(volume))
        if len(kinds) != 1:
            yield Cause(where, f"{where} must have exactly one source type set")
        elif kinds[0] not in WORKING:
            yield Cause(
                f"{where}.{kinds[0]}",
                f"{where}: a volume of type {kinds[0]} cannot be attached by this version; "
                f"one of {', '.join(WORKING)} works",
                UNSUPPORTED,
            )
        if volume.name not in used and not volume.memory_dump:
            yield Cause(
                f"{where}.name", f"spec.domain.volumes[{index}].name '{volume.name}' not found."
            )


def _validate_claims(vmi: VMI) -> Iterable[Cause]:
    """QEMU opens a disk once, unless nobody writes to it or everybody knows of the others."""
    had: dict[str, tuple[int, Access]] = {}
    for index, volume in enumerate(vmi.spec.volumes or ()):
        name = claim(volume)
        if not name:
            continue
        use = access(vmi, volume)
        first, other = had.setdefault(name, (index, use))
        if first != index and (use != other or use == "writes"):
            yield Cause(
                f"spec.volumes[{index}]",
                f"spec.volumes[{index}]: claim {name!r} is that of spec.volumes[{first}] already; "
                "a guest can have it twice only where both are read-only, or both shareable",
                DUPLICATE,
            )


def _validate_disk(where: str, disk: Disk) -> Iterable[Cause]:
    kinds = [kind for kind in ("disk", "lun", "cdrom") if getattr(disk, kind) is not None]
    if len(kinds) > 1:
        yield Cause(where, f"{where} can only have a single target type defined")
        return
    used = bus(disk)
    if used == "ide":
        yield Cause(f"{where}.{kinds[0]}.bus", "IDE bus is not supported", UNSUPPORTED)
    elif used not in BUSES:
        yield Cause(
            f"{where}.{kinds[0]}.bus",
            f"{where} is set with an unrecognized bus {used}, must be one of: {list(BUSES)}",
            UNSUPPORTED,
        )
    if disk.cdrom and used == "virtio":
        yield Cause(f"{where}.cdrom.bus", "Bus type virtio is invalid for CD-ROM device")
    if disk.disk and disk.disk.readonly and used == "sata":
        yield Cause(f"{where}.disk.readonly", f"{where} sata hard-disks do not support read-only.")
    yield from _validate_place(where, disk, used)
    yield from _validate_blocks(f"{where}.blockSize", disk, used)
    if disk.cache and disk.cache not in CACHES:
        yield Cause(
            f"{where}.cache",
            f"{where} has invalid value {disk.cache}. Supported values are: {', '.join(CACHES)}",
            UNSUPPORTED,
        )
    if disk.io and disk.io not in IO:
        yield Cause(
            f"{where}.io",
            f"Disk IO mode for {where} is not supported. Supported modes are: {', '.join(IO)}.",
            UNSUPPORTED,
        )
    if disk.error_policy and disk.error_policy not in POLICIES:
        yield Cause(
            f"{where}.errorPolicy",
            f"{where} has invalid value {disk.error_policy}; one of {', '.join(POLICIES)}",
            UNSUPPORTED,
        )
    if not disk.name:
        yield Cause(f"{where}.name", f"{where}.name is required", REQUIRED)
    if disk.serial and not SERIAL.fullmatch(disk.serial):
        yield Cause(
            f"{where}.serial",
            f"{where}.serial may have letters, digits and _ . + - alone, with no blank",
        )
    if len(disk.serial or "") > 256:
        yield Cause(f"{where}.serial", f"{where} serial must be no longer than 256 characters")


def _validate_place(where: str, disk: Disk, used: str) -> Iterable[Cause]:
    address = disk.disk and disk.disk.pci_address
    if not address:
        return
    if used != "virtio":
        yield Cause(
            f"{where}.disk.pciAddress",
            f"disk {where} - setting a PCI address is only possible with bus type virtio.",
        )
    if not PCI_ADDRESS.fullmatch(address):
        yield Cause(
            f"{where}.disk.pciAddress",
            f"disk {where} has malformed PCI address ({address}); it is like 0000:81:01.0",
        )


def _validate_blocks(where: str, disk: Disk, used: str) -> Iterable[Cause]:
    given = disk.block_size
    custom = given.custom if given else None
    if given is None or custom is None:
        return
    logical, physical = _blocks(custom)
    match = given.match_volume
    if match is not None and match.enabled is not False:
        yield Cause(where, f"{where} can have custom or matchVolume, not both")
    for name, size in (("logical", logical), ("physical", physical)):
        if not SMALLEST_BLOCK <= size <= LARGEST_BLOCK or size & (size - 1):
            yield Cause(
                f"{where}.custom.{name}",
                f"{where}.custom.{name} of {size} must be a power of two from {SMALLEST_BLOCK} to "
                f"{LARGEST_BLOCK}",
            )
    if logical > physical:
        yield Cause(
            f"{where}.custom.logical",
            f"{where}.custom.logical must not be greater than {where}.custom.physical",
        )
    if used == "sata" and logical != SMALLEST_BLOCK:
        yield Cause(
            f"{where}.custom.logical",
            f"{where}.custom.logical must be {SMALLEST_BLOCK} on a sata bus",
        )


def warn(part: VMI, vmi: VMI, cluster: Cluster) -> Iterable[str]:
    for index, name in _unused(vmi):
        yield (
            f".volumes[{index}]: no disk uses {name!r}; it is attached as a disk of its own. "
            "List it in domain.devices.disks to choose how, or remove it"
        )


def devices(part: VMI, vmi: VMI, facts: Guest) -> Iterable[Element]:
    names = targets(vmi)
    volumes = {disk.name: volume for disk, volume in joined(vmi)}
    for disk in vmi.spec.domain.devices.disks or ():
        volume = volumes.get(disk.name)
        image = backing(vmi, volume, facts) if volume else None
        if image is None and disk.cdrom is not None:
            yield _empty_drive(disk, names[disk.name])
        if image is None or volume is None:
            continue
        used = bus(disk)
        kind = "cdrom" if disk.cdrom else "lun" if disk.lun else "disk"
        target = disk.disk or disk.lun or disk.cdrom
        cache = "none" if disk.shareable else disk.cache or _cache(image, facts)
        tray = disk.cdrom.tray if disk.cdrom and disk.cdrom.tray == "open" else None
        info = claim_info(vmi, volume)
        # Native I/O waits where blocks are still to be allocated.
        allocated = image.block or bool(info and info.preallocated and not volume.ephemeral)
        yield E(
            "disk",
            E(
                "driver",
                name="qemu",
                type=image.format,
                cache=cache,
                io=disk.io or ("native" if cache == "none" and allocated else None),
                error_policy=disk.error_policy or "stop",
                discard="unmap",
            ),
            E("source", _reservations(disk), **{"dev" if image.block else "file": image.path}),
            E("target", dev=names[disk.name], bus=used, tray=tray),
            E("readonly")
            if kind == "cdrom"
            or (target and target.readonly)
            or (read_only(volume) and not volume.ephemeral)
            else None,
            E("shareable") if disk.shareable else None,
            E("serial", disk.serial) if disk.serial else None,
            E("boot", order=disk.boot_order) if disk.boot_order else None,
            E("alias", name=f"ua-{disk.name}"),
            _block_sizes(disk, facts),
            pci_address(disk.disk.pci_address) if disk.disk and disk.disk.pci_address else None,
            type="block" if image.block else "file",
            device=kind,
            model=virtio_model(vmi) if used == "virtio" else None,
        )


def _reservations(disk: Disk) -> Element | None:
    """Whom QEMU asks to make a LUN's persistent reservations."""
    if not (disk.lun and disk.lun.reservation):
        return None
    helper = E("source", type="unix", path=paths.PR_HELPER_SOCKET, mode="client")
    return E("reservations", helper, managed="no")


def _empty_drive(disk: Disk, target: str) -> Element:
    """A CD-ROM drive whose medium comes later, or never."""
    tray = disk.cdrom.tray if disk.cdrom and disk.cdrom.tray == "open" else None
    return E(
        "disk",
        E("driver", name="qemu", type="raw", error_policy=disk.error_policy or "stop"),
        E("target", dev=target, bus=bus(disk), tray=tray),
        E("readonly"),
        E("serial", disk.serial) if disk.serial else None,
        E("boot", order=disk.boot_order) if disk.boot_order else None,
        E("alias", name=f"ua-{disk.name}"),
        type="file",
        device="cdrom",
    )


def _block_sizes(disk: Disk, facts: Guest) -> Element | None:
    if matches_volume(disk) and (found := facts.blocks.get(disk.name)):
        # A SATA disk's sectors have one size only; what is below it may have larger ones.
        logical = SMALLEST_BLOCK if bus(disk) == "sata" else found.logical
        return E(
            "blockio",
            logical_block_size=logical,
            physical_block_size=found.physical,
            discard_granularity=found.discard or None,
        )
    custom = disk.block_size.custom if disk.block_size else None
    if custom is None:
        return None
    logical, physical = _blocks(custom)
    return E(
        "blockio",
        logical_block_size=logical,
        physical_block_size=physical,
        discard_granularity=custom.discard_granularity,
    )


def _blocks(custom: CustomBlockSize) -> tuple[int, int]:
    """Bytes of a logical and of a physical block."""
    logical = SMALLEST_BLOCK if custom.logical is None else custom.logical
    return logical, logical if custom.physical is None else custom.physical


def _cache(image: DiskImage, facts: Guest) -> str:
    direct = facts.direct_io if image.direct is None else image.direct
    return "none" if direct else "writethrough"


def observe(part: VMI, vmi: VMI, domain: DomainChanged) -> Json:
    devices = domain.target_devices
    known = {status.name: status for status in vmi.status.volume_status or ()}
    volumes: list[Json] = []
    for disk, volume in joined(vmi):
        if hotplugged(volume) and volume.name not in known:
            continue  # virt-controller begins its entry
        # What virt-controller noted of a claim stays.
        noted = msgspec.to_builtins(known[volume.name]) if volume.name in known else {}
        volumes.append(noted | {"name": volume.name, "target": devices.get(disk.name, "")})
    return {"volumeStatus": sorted(volumes, key=lambda v: v["name"])} if volumes else {}


FEATURE = Feature(
    name="disk",
    owns=(
        "domain.devices.disks.name",
        "domain.devices.disks.blockSize",
        "domain.devices.disks.disk.bus",
        "domain.devices.disks.disk.pciAddress",
        "domain.devices.disks.disk.readonly",
        "domain.devices.disks.cdrom",
        "domain.devices.disks.bootOrder",
        "domain.devices.disks.cache",
        "domain.devices.disks.io",
        "domain.devices.disks.errorPolicy",
        "domain.devices.disks.serial",
        "domain.devices.disks.shareable",
        "volumes.name",
    ),
    asked=always,
    defaults=defaults,
    validate=validate,
    warn=warn,
    devices=devices,
    observe=observe,
)
