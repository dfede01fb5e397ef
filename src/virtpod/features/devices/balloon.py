"""The memory balloon, by which the host learns what the guest uses.

https://libvirt.org/formatdomain.html#memory-balloon-device
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.traits import dedicated, virtio_model
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Guest
from virtpod.domain.xml import E, Element
from virtpod.features.contract import Feature, always

STATS_PERIOD = 10
"""Seconds between the guest's reports."""


def devices(part: VMI, vmi: VMI, facts: Guest) -> Iterable[Element]:
    if vmi.spec.domain.devices.autoattach_mem_balloon is False:
        yield E("memballoon", model="none")
    else:
        yield E(
            "memballoon",
            E("stats", period=STATS_PERIOD),
            model=virtio_model(vmi),
            freePageReporting="off" if _fixed(vmi) else "on",
        )


def _fixed(vmi: VMI) -> bool:
    """Memory that the node keeps aside for the guest is not given back."""
    memory = vmi.spec.domain.memory
    return dedicated(vmi) or bool(memory and memory.hugepages)


FEATURE = Feature(
    name="balloon",
    owns=("domain.devices.autoattachMemBalloon",),
    asked=always,
    devices=devices,
)
