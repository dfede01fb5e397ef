"""Who has which device of this node: the kubelet says it of pods, the kernel of processes.

The kubelet lists what each container was given by device plugins, whosever they are, and by drivers
of resource claims. Intel's name their devices by PCI addresses, as we do; whatever else names one
is understood as well.

https://kubernetes.io/docs/concepts/extend-kubernetes/compute-storage-net/device-plugins/#monitoring-device-plugin-resources
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from virtpod.node.devices import podresources
from virtpod.node.devices.sysfs import ADDRESS

_HYPHENS = re.compile(r"([0-9a-f]{4})-([0-9a-f]{2})-([0-9a-f]{2})-([0-7])(?![0-9a-f])")
_GROUP = re.compile(r"/dev/vfio/([0-9]+)")
_DEVICE = re.compile(r"/dev/vfio/devices/(vfio[0-9]+)")


@dataclass(frozen=True, order=True)
class Held:
    """One device of a container."""

    namespace: str
    pod: str
    resource: str
    """Of a device plugin, or the driver of a claim."""
    id: str
    claimed: bool = False
    """By a resource claim."""

    @property
    def address(self) -> str:
        """The PCI address that its name tells; empty: none."""
        if ADDRESS.fullmatch(self.id):
            return self.id
        found = _HYPHENS.search(self.id)
        return f"{found[1]}:{found[2]}:{found[3]}.{found[4]}" if found else ""


async def of_pods(folder: Path) -> tuple[Held, ...] | None:
    """`folder` has the kubelet's socket; None: it does not answer."""
    answer = await podresources.pods(folder)
    if answer is None:
        return None
    return tuple(sorted(set(_held(answer))))


def _held(answer: Any) -> Iterator[Held]:
    for pod in answer.pod_resources:
        for container in pod.containers:
            for given in container.devices:
                for each in given.device_ids:
                    yield Held(pod.namespace, pod.name, given.resource_name, each)
            for claim in container.dynamic_resources:
                for part in claim.claim_resources:
                    names = [part.device_name, *(each.name for each in part.cdi_devices)]
                    for each in filter(None, names):
                        yield Held(pod.namespace, pod.name, part.driver_name, each, claimed=True)


def of_processes(proc: Path, sysfs: Path) -> dict[str, str]:
    """The IOMMU groups of which processes have something open (`/dev/vfio/<group>`, or a device in
    `/dev/vfio/devices`), each with the process; a guest's QEMU is one. Needs the node's processes;
    blocks."""
    found = {}
    for process in proc.iterdir():
        if not process.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            for handle in os.scandir(process / "fd"):
                opened = ""
                with contextlib.suppress(OSError):  # it was closed meanwhile
                    opened = os.readlink(handle.path)
                if group := _group(opened, sysfs):
                    name = (process / "comm").read_text(errors="replace").strip()
                    found[group] = f"process {process.name} {name}"
    return found


def _group(opened: str, sysfs: Path) -> str:
    """Of what a process has open; empty: it is nothing of VFIO's."""
    if match := _GROUP.fullmatch(opened):
        return match[1]
    if match := _DEVICE.fullmatch(opened):
        with contextlib.suppress(OSError):
            return (sysfs / f"class/vfio-dev/{match[1]}/device/iommu_group").readlink().name
    return ""
