"""Queues of disks and interfaces: one for each virtual CPU, so that none waits for another.

https://libvirt.org/formatdomain.html#hard-drives-floppy-disks-cdroms (driver, queues)
"""

from __future__ import annotations

from virtpod.api.traits import vcpus
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Guest
from virtpod.domain.xml import E, Element
from virtpod.features.contract import Feature

MOST = 256
"""Queues of an interface: what a tap device can have."""


def asked(vmi: VMI) -> bool:
    given = vmi.spec.domain.devices
    return bool(given.block_multi_queue or given.network_interface_multiqueue)


def tune(part: bool, vmi: VMI, facts: Guest, domain: Element) -> None:
    given, count = vmi.spec.domain.devices, vcpus(vmi)
    if given.block_multi_queue:
        for disk in domain.iterfind("devices/disk"):
            target, driver = disk.find("target"), disk.find("driver")
            if target is not None and target.get("bus") == "virtio" and driver is not None:
                driver.set("queues", str(count))
    if given.network_interface_multiqueue and count > 1:
        for interface in domain.iterfind("devices/interface"):
            model = interface.find("model")
            if model is not None and model.get("type", "").startswith("virtio"):
                interface.append(E("driver", queues=min(count, MOST)))


FEATURE = Feature(
    name="multi_queue",
    owns=("domain.devices.blockMultiQueue", "domain.devices.networkInterfaceMultiqueue"),
    asked=asked,
    tune=tune,
)
