"""The guest agent's channel, always there: whether somebody answers is the guest's choice.

https://libvirt.org/formatdomain.html#channel
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Guest
from virtpod.domain.xml import E, Element
from virtpod.features.contract import Feature, always


def devices(part: VMI, vmi: VMI, facts: Guest) -> Iterable[Element]:
    target = E("target", type="virtio", name="org.qemu.guest_agent.0")
    yield E("channel", target, type="unix")


FEATURE = Feature(name="agent", owns=(), asked=always, devices=devices)
