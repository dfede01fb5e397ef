"""Metrics of the node and of the guest for the guest itself: on a disk, and by a channel.

https://github.com/vhostmd/vhostmd
https://libvirt.org/formatdomain.html#channel
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain import paths, vhostmd
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.steps import Blank, BootStep
from virtpod.domain.xml import E, Element
from virtpod.features.contract import UNSUPPORTED, Cause, Feature, PodPart

GATE = "DownwardMetrics"
CHANNEL = "org.github.vhostmd.1"
OVERHEAD = 2**20
"""Bytes for the disk, as KubeVirt reckons."""


def channel(vmi: VMI) -> bool:
    """Whether the guest asks for them."""
    return vmi.spec.domain.devices.downward_metrics is not None


def volumes(vmi: VMI) -> list[int]:
    """The places in the spec of volumes that are such a disk."""
    given = enumerate(vmi.spec.volumes or ())
    return [index for index, volume in given if volume.downward_metrics is not None]


def asked(vmi: VMI) -> bool:
    return channel(vmi) or bool(volumes(vmi))


def validate(part: bool, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    found = volumes(vmi)
    if GATE not in cluster.gates:
        wanted = ["spec.domain.devices.downwardMetrics"] if channel(vmi) else []
        for where in [*wanted, *(f"spec.volumes[{index}].downwardMetrics" for index in found)]:
            yield Cause(where, f"{GATE} feature gate is not enabled", UNSUPPORTED)
    if len(found) > 1:
        yield Cause("spec.volumes", "spec.volumes must have max one downwardMetrics volume set")


def pod(part: bool, vmi: VMI, cluster: Cluster) -> PodPart:
    node = {"name": paths.NODE_ENV, "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
    return PodPart(env=(node,), overhead=OVERHEAD if volumes(vmi) else 0)


def boot(part: bool, vmi: VMI, facts: Guest) -> Iterable[BootStep]:
    """An empty disk; the launcher keeps it filled while the guest runs."""
    if volumes(vmi):
        yield Blank(paths.METRICS_DISK, vhostmd.DISK_SIZE)


def devices(part: bool, vmi: VMI, facts: Guest) -> Iterable[Element]:
    if channel(vmi):
        socket = paths.metrics_socket(vmi.metadata.uid or "")
        source = E("source", mode="bind", path=socket)
        yield E("channel", source, E("target", type="virtio", name=CHANNEL), type="unix")


FEATURE = Feature(
    name="downward_metrics",
    owns=("domain.devices.downwardMetrics", "volumes.downwardMetrics"),
    asked=asked,
    validate=validate,
    pod=pod,
    boot=boot,
    devices=devices,
)
