"""Folders that somebody else has mounted into the launcher's container, such as the token that a
webhook injects: shown to the guest by virtiofs, to be read.

Of the container's own folders none can be had: they hold the sockets that rule the guest.
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.api.volumes import ContainerPathVolumeSource
from virtpod.domain import paths
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.steps import BootStep
from virtpod.features.contract import REQUIRED, UNSUPPORTED, Cause, Feature

Part = tuple[tuple[int, str, ContainerPathVolumeSource], ...]

OWN = (
    "/proc",
    "/sys",
    "/dev",
    paths.SHARE,
    paths.PRIVATE,
    paths.EPHEMERAL,
    paths.IMAGE_VOLUMES,
    paths.KERNEL_BOOT,
    paths.LIBVIRT_RUNTIME,
)


def asked(vmi: VMI) -> Part:
    return tuple(
        (index, volume.name, volume.container_path)
        for index, volume in enumerate(vmi.spec.volumes or ())
        if volume.container_path
    )


def validate(part: Part, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    for index, _, given in part:
        where = f"spec.volumes[{index}].containerPath"
        if not given.path:
            yield Cause(f"{where}.path", f"{where}.path is required", REQUIRED)
            continue
        parts = given.path.rstrip("/").split("/")
        if parts[0] or {"", ".", ".."} & set(parts[1:]) or "\0" in given.path or len(parts) < 2:
            message = f"{where}.path must be an absolute path of a folder, without '.' and '..'"
            yield Cause(f"{where}.path", message)
        elif _own(given.path):
            message = f"{where}.path: {given.path} is a folder of the launcher's own"
            yield Cause(f"{where}.path", message)
        if given.read_only is False:
            message = f"{where}.readOnly must be true: a guest cannot write there"
            yield Cause(f"{where}.readOnly", message, UNSUPPORTED)


def _own(path: str) -> bool:
    return any(_beneath(path, place) for place in OWN)


def _beneath(path: str, place: str) -> bool:
    """Whether the path is the place or in it; /var/run is a link to /run."""
    here, there = (each.replace("/var/run/", "/run/", 1).rstrip("/") for each in (path, place))
    return here == there or here.startswith(f"{there}/")


def boot(part: Part, vmi: VMI, facts: Guest) -> Iterable[BootStep]:
    """Nothing is made. Raises OSError where nobody has mounted anything."""
    foreign = [each for each in facts.mounts if each != "/" and not _own(each)]
    for _, name, given in part:
        if not any(_beneath(given.path, place) for place in foreign):
            raise OSError(
                f"containerPath of volume {name}: nothing is mounted at {given.path} in the "
                f"launcher's container; there is {', '.join(sorted(foreign)) or 'nothing else'}"
            )
    return ()


FEATURE = Feature(
    name="container_path",
    owns=("volumes.containerPath",),
    asked=asked,
    gate="ContainerPathVolumes",
    validate=validate,
    boot=boot,
)
