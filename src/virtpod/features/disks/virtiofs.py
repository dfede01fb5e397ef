"""Folders that a guest mounts: claims, and what Kubernetes keeps as files, by virtiofs.

Each has a daemon of its own in the launcher's container, without privilege, that sees what the
launcher sees and shows the guest one folder (docs/adrs/0008-virtiofsd-beside-qemu.md). It shares
the guest's memory, so that must be of a kind that can be shared.

https://libvirt.org/kbase/virtiofs.html
https://gitlab.com/virtio-fs/virtiofsd
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.api.volumes import Volume
from virtpod.domain import paths
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.sharing import share_memory
from virtpod.domain.steps import BootStep, Run
from virtpod.domain.xml import E, Element
from virtpod.features.contract import (
    DUPLICATE,
    NOT_FOUND,
    UNSUPPORTED,
    Cause,
    Feature,
    PodPart,
)
from virtpod.features.disks import claim, claim_info, configured, hotplugged, read_only, source
from virtpod.wire.messages import DomainChanged

Part = tuple[tuple[int, str, Volume | None], ...]
"""Index in devices.filesystems, name, volume."""

STORAGE_GATE = "EnableVirtioFsStorageVolumes"
STORAGE = ("persistentVolumeClaim", "dataVolume")
FILES = ("configMap", "secret", "serviceAccount", "downwardAPI", "containerPath")
LONGEST = 36
"""Bytes of the name by which a guest mounts a folder: virtio knows no more."""
QUEUE = 1024
OVERHEAD = 16 * 2**20
"""Bytes for a daemon: 3 MiB were seen, and it keeps a record of each file that the guest knows."""
EVERYBODY_ELSE = 2**32 - 2
FRESH = ("--cache=never",)
"""For files that the kubelet exchanges as a whole: a guest that remembers the folder of before
finds nothing in it."""


def asked(vmi: VMI) -> Part:
    volumes = {volume.name: volume for volume in vmi.spec.volumes or ()}
    return tuple(
        (index, each.name, volumes.get(each.name))
        for index, each in enumerate(vmi.spec.domain.devices.filesystems or ())
    )


def validate(part: Part, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    disks = {disk.name for disk in vmi.spec.domain.devices.disks or ()}
    seen: dict[str, int] = {}
    for index, name, volume in part:
        where = f"spec.domain.devices.filesystems[{index}]"
        if name in seen:
            first = f"spec.domain.devices.filesystems[{seen[name]}]"
            message = f"{first} and {where} must not have the same Name."
            yield Cause(where, message, DUPLICATE)
        seen.setdefault(name, index)
        if volume is None:
            yield Cause(f"{where}.name", f"{where}.Name '{name}' not found.", NOT_FOUND)
            continue
        if name in disks:
            message = f"{where}: volume {name!r} is a disk already; it can be one of the two"
            yield Cause(f"{where}.name", message)
        if len(name.encode()) > LONGEST:
            message = f"{where}.name must not be longer than {LONGEST} bytes: the guest mounts it"
            yield Cause(f"{where}.name", f"{message} by this name")
        yield from _validate_source(where, volume, cluster)


def _validate_source(where: str, volume: Volume, cluster: Cluster) -> Iterable[Cause]:
    kind = source(volume)
    if kind not in STORAGE + FILES:
        yield Cause(
            f"{where}.virtiofs",
            f"{where}: a volume of type {kind} is no folder; one of "
            f"{', '.join(STORAGE + FILES)} is",
            UNSUPPORTED,
        )
    elif kind in STORAGE and STORAGE_GATE not in cluster.gates:
        message = f"{where}: {STORAGE_GATE} feature gate is not enabled"
        yield Cause(f"{where}.virtiofs", message, UNSUPPORTED)
    elif hotplugged(volume):
        message = f"{where}: a hotpluggable volume can be a disk only"
        yield Cause(f"{where}.virtiofs", message, UNSUPPORTED)


def pod(part: Part, vmi: VMI, cluster: Cluster) -> PodPart:
    return PodPart(overhead=OVERHEAD * len(part))


def folder(volume: Volume) -> str:
    """In the launcher's container."""
    if volume.container_path:
        return volume.container_path.path
    return (paths.claim_folder if claim(volume) else paths.config_folder)(volume.name)


def boot(part: Part, vmi: VMI, facts: Guest) -> Iterable[BootStep]:
    """Raises OSError for a claim that is no folder."""
    for _, name, volume in part:
        if volume is None:
            continue
        info = claim_info(vmi, volume)
        if info and info.volume_mode == "Block":
            raise OSError(
                f"filesystem {name} must be a folder: PVC {claim(volume)} has volumeMode Block; "
                "use one with volumeMode Filesystem, or make it a disk"
            )
        fixed = configured(volume) or volume.container_path or read_only(volume)
        yield Run(
            f"virtiofsd-{name}",
            (
                paths.VIRTIOFSD,
                f"--socket-path={paths.virtiofs_socket(name)}",
                f"--shared-dir={folder(volume)}",
                "--sandbox=none",  # the container is its sandbox
                "--log-level=error",
                *(("--readonly",) if fixed else _owners()),
                *(() if claim(volume) else FRESH),
            ),
            ready=paths.virtiofs_socket(name),
        )


def _owners() -> tuple[str, ...]:
    """One user owns all on the node: the guest's root is he, and so is whom else it has."""
    me = paths.QEMU_UID
    return tuple(
        f"--translate-{kind}={how}"
        for kind in ("uid", "gid")
        for how in (f"map:0:{me}:1", f"squash-guest:1:{me}:{EVERYBODY_ELSE}")
    )


def devices(part: Part, vmi: VMI, facts: Guest) -> Iterable[Element]:
    for _, name, _ in part:
        yield E(
            "filesystem",
            E("driver", type="virtiofs", queue=QUEUE),
            E("source", socket=paths.virtiofs_socket(name)),
            E("target", dir=name),
            type="mount",
            accessmode="passthrough",
        )


def tune(part: Part, vmi: VMI, facts: Guest, domain: Element) -> None:
    share_memory(domain)


def blocks_migration(part: Part, vmi: VMI, domain: DomainChanged) -> str | None:
    names = ", ".join(name for _, name, _ in part)
    return f"virtiofs has no live migration: {names}"


FEATURE = Feature(
    name="virtiofs",
    owns=("domain.devices.filesystems",),
    asked=asked,
    validate=validate,
    pod=pod,
    boot=boot,
    devices=devices,
    tune=tune,
    blocks_migration=blocks_migration,
)
