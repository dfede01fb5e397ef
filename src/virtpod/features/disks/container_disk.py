"""Disks that come as container images: never copied, the guest writes to a layer of its own.

Where the cluster can mount images as volumes, the pod does so and needs no container for a disk.
Elsewhere a side-car from the disk's image hands the launcher an open handle of its root folder;
it runs one static program, which an init container puts where both find it.

https://kubernetes.io/docs/concepts/storage/volumes/#image
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.api.volumes import ContainerDiskSource
from virtpod.domain import paths, support
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.steps import BootStep, MakeOverlay
from virtpod.features.contract import REQUIRED, Cause, Feature, Json, PodPart

Part = tuple[tuple[int, str, ContainerDiskSource], ...]
"""Index in spec.volumes, volume name, source."""

BINARY = "virt-bin-share-dir"
BINARY_PATH = "/init"
SHARED = "container-disks"


def asked(vmi: VMI) -> Part:
    return tuple(
        (index, volume.name, volume.container_disk)
        for index, volume in enumerate(vmi.spec.volumes or ())
        if volume.container_disk
    )


def by_image_volume(cluster: Cluster) -> bool:
    """Whether container disks are mounted as image volumes."""
    return cluster.image_volumes and "ImageVolume" in cluster.gates


def defaults(part: Part, vmi: VMI, cluster: Cluster) -> None:
    for _, _, disk in part:
        if not disk.image_pull_policy:
            reference = disk.image.rpartition("/")[2]
            tag = reference.partition(":")[2]
            pinned = "@" in reference or (tag and tag != "latest")
            disk.image_pull_policy = "IfNotPresent" if pinned else "Always"


def validate(part: Part, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    for index, _, disk in part:
        where = f"spec.volumes[{index}].containerDisk"
        if not disk.image:
            yield Cause(f"{where}.image", f"{where}.image is required", REQUIRED)
        if disk.path is not None and not _clean(disk.path):
            yield Cause(
                f"{where}.path",
                f"{where}.path must be an absolute path inside the image, without '..'",
            )


def _clean(path: str) -> bool:
    parts = path.split("/")
    return path.startswith("/") and ".." not in parts and "\0" not in path and len(path) < 4096


def pod(part: Part, vmi: VMI, cluster: Cluster) -> PodPart:
    secrets = sorted({disk.image_pull_secret for _, _, disk in part if disk.image_pull_secret})
    spec = {"imagePullSecrets": [{"name": name} for name in secrets]} if secrets else {}
    if by_image_volume(cluster):
        return PodPart(
            volumes=tuple(_image_volume(name, disk) for _, name, disk in part),
            mounts=tuple(
                {
                    "name": f"volume{name}",
                    "mountPath": paths.image_volume(index),
                    "readOnly": True,
                }
                for index, name, _ in part
            ),
            spec=spec,
        )
    return PodPart(
        volumes=({"name": BINARY, "emptyDir": {}}, {"name": SHARED, "emptyDir": {}}),
        mounts=({"name": SHARED, "mountPath": paths.CONTAINER_DISKS},),
        init_containers=(_copy_binary(cluster),),
        containers=tuple(_side_car(index, name, disk, cluster) for index, name, disk in part),
        spec=spec,
    )


def _image_volume(name: str, disk: ContainerDiskSource) -> Json:
    image = {"reference": disk.image, "pullPolicy": disk.image_pull_policy or "IfNotPresent"}
    return {"name": f"volume{name}", "image": image}


COPIES: Json = {
    "limits": {"cpu": "100m", "memory": "40M"},
    "requests": {"cpu": "10m", "memory": "5M"},
}
SERVES: Json = {
    "limits": {"cpu": "10m", "memory": "40M"},
    "requests": {"cpu": "1m", "memory": "1M"},
}
SECURITY: Json = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": paths.QEMU_UID,
    "runAsGroup": paths.QEMU_UID,
}


def _copy_binary(cluster: Cluster) -> Json:
    return {
        "name": "container-disk-binary",
        "image": cluster.launcher_image,
        "imagePullPolicy": cluster.image_pull_policy,
        "command": ["/usr/bin/container-disk", "--copy-to", BINARY_PATH],
        "resources": support.resources(support.CONTAINER_DISK, COPIES, cluster),
        "securityContext": SECURITY,
        "volumeMounts": [{"name": BINARY, "mountPath": BINARY_PATH}],
    }


def _side_car(index: int, name: str, disk: ContainerDiskSource, cluster: Cluster) -> Json:
    return {
        "name": f"volume{name}",
        "image": disk.image,
        "imagePullPolicy": disk.image_pull_policy or "IfNotPresent",
        "command": [f"{BINARY_PATH}/container-disk"],
        "args": ["--copy-path", f"{paths.CONTAINER_DISKS}/disk_{index}"],
        "resources": support.resources(support.CONTAINER_DISK, SERVES, cluster),
        "securityContext": SECURITY,
        "volumeMounts": [
            {"name": BINARY, "mountPath": BINARY_PATH},
            {"name": SHARED, "mountPath": paths.CONTAINER_DISKS},
        ],
    }


def boot(part: Part, vmi: VMI, facts: Guest) -> Iterable[BootStep]:
    for _, name, _ in part:
        image = facts.images.get(name)
        if image:
            yield MakeOverlay(paths.overlay(name), image.path, image.format)


FEATURE = Feature(
    name="container_disk",
    owns=("volumes.containerDisk",),
    asked=asked,
    defaults=defaults,
    validate=validate,
    pod=pod,
    boot=boot,
)
