"""The memory balloon, by which the host learns what the guest uses.

https://libvirt.org/formatdomain.html#memory-balloon-device
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.traits import dedicated, virtio_model
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain import paths
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.xml import E, Element
from virtpod.features.contract import Feature, Json, PodPart, always


def pod(part: VMI, vmi: VMI, cluster: Cluster) -> PodPart:
    """What the cluster says of all balloons, for the launcher."""
    period = cluster.config.mem_balloon_stats_period
    options = cluster.config.virtual_machine_options
    env: list[Json] = []
    if period is not None and period != Guest.balloon_period:
        env.append({"name": paths.BALLOON_ENV, "value": str(period)})
    if options and options.disable_free_page_reporting is not None:
        env.append({"name": paths.KEEPS_PAGES_ENV, "value": "true"})
    return PodPart(env=tuple(env))


def devices(part: VMI, vmi: VMI, facts: Guest) -> Iterable[Element]:
    if vmi.spec.domain.devices.autoattach_mem_balloon is False:
        yield E("memballoon", model="none")
    else:
        yield E(
            "memballoon",
            E("stats", period=facts.balloon_period) if facts.balloon_period else None,
            model=virtio_model(vmi),
            freePageReporting="on" if facts.free_page_reporting and not _fixed(vmi) else "off",
        )


def _fixed(vmi: VMI) -> bool:
    """Memory that the node keeps aside for the guest is not given back."""
    memory = vmi.spec.domain.memory
    return dedicated(vmi) or bool(memory and memory.hugepages)


FEATURE = Feature(
    name="balloon",
    owns=("domain.devices.autoattachMemBalloon",),
    asked=always,
    pod=pod,
    devices=devices,
)
