"""A kernel, and an initrd, that come as a container image and are booted without a boot loader.

https://libvirt.org/formatdomain.html#direct-kernel-boot
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.machine import KernelBoot
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain import paths
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.xml import E, Element
from virtpod.features.contract import REQUIRED, UNSUPPORTED, Cause, Feature, PodPart

VOLUME = "kernel-boot-volume"
WHERE = "spec.domain.firmware.kernelBoot"


def asked(vmi: VMI) -> KernelBoot | None:
    firmware = vmi.spec.domain.firmware
    return firmware.kernel_boot if firmware else None


def defaults(boot: KernelBoot, vmi: VMI, cluster: Cluster) -> None:
    if boot.container and not boot.container.image_pull_policy:
        name = boot.container.image.rpartition("/")[2]
        tag = name.partition(":")[2]
        pinned = "@" in name or (tag and tag != "latest")
        boot.container.image_pull_policy = "IfNotPresent" if pinned else "Always"


def validate(boot: KernelBoot, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    container = boot.container
    if container is None:
        if boot.kernel_args:
            yield Cause(
                f"{WHERE}.kernelArgs",
                "kernelArgs cannot be given without a kernel: name its image in container",
            )
        return
    if not container.image:
        yield Cause(f"{WHERE}.container.image", f"{WHERE}.container.image is required", REQUIRED)
    if not (container.kernel_path or container.initrd_path):
        yield Cause(
            f"{WHERE}.container",
            f"{WHERE}.container must name kernelPath, initrdPath or both",
            REQUIRED,
        )
    if boot.kernel_args and not container.kernel_path:
        yield Cause(
            f"{WHERE}.kernelArgs", "kernelArgs cannot be given without container.kernelPath"
        )
    for name, path in (
        ("kernelPath", container.kernel_path),
        ("initrdPath", container.initrd_path),
    ):
        if path and (not path.startswith("/") or ".." in path.split("/") or "\0" in path):
            yield Cause(
                f"{WHERE}.container.{name}",
                f"{WHERE}.container.{name} must be an absolute path inside the image, without '..'",
            )
    if not (cluster.image_volumes and "ImageVolume" in cluster.gates):
        yield Cause(
            WHERE,
            f"{WHERE} needs a cluster whose pods can mount images as volumes (Kubernetes 1.33)",
            UNSUPPORTED,
        )


def pod(boot: KernelBoot, vmi: VMI, cluster: Cluster) -> PodPart:
    container = boot.container
    if container is None:
        return PodPart()
    image = {"reference": container.image, "pullPolicy": container.image_pull_policy}
    secret = container.image_pull_secret
    return PodPart(
        volumes=({"name": VOLUME, "image": image},),
        mounts=({"name": VOLUME, "mountPath": paths.KERNEL_BOOT, "readOnly": True},),
        spec={"imagePullSecrets": [{"name": secret}]} if secret else {},
    )


def devices(boot: KernelBoot, vmi: VMI, facts: Guest) -> Iterable[Element]:
    for tag in ("kernel", "initrd"):
        if found := facts.resolved.get(tag):
            yield E(tag, found)
    if boot.kernel_args:
        yield E("cmdline", boot.kernel_args)


FEATURE = Feature(
    name="kernel_boot",
    owns=("domain.firmware.kernelBoot",),
    asked=asked,
    defaults=defaults,
    validate=validate,
    pod=pod,
    devices=devices,
)
