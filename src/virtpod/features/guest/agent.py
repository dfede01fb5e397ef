"""The guest agent's channel, always there: whether somebody answers is the guest's choice.

https://libvirt.org/formatdomain.html#channel
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Guest
from virtpod.domain.xml import E, Element
from virtpod.features.contract import Feature, Json, always
from virtpod.wire.messages import DomainChanged, GuestOS


def observe(part: VMI, vmi: VMI, domain: DomainChanged) -> Json:
    status: Json = {"fsFreezeStatus": "frozen" if domain.frozen else None}
    if domain.os is not None:
        status["guestOSInfo"] = os_info(domain.os)
    return status


def os_info(told: GuestOS) -> Json:
    """The operating system, in the API's names."""
    named = {
        "id": told.id,
        "kernelRelease": told.kernel_release,
        "kernelVersion": told.kernel_version,
        "machine": told.machine,
        "name": told.name,
        "prettyName": told.pretty_name,
        "version": told.version,
        "versionId": told.version_id,
    }
    return {name: value for name, value in named.items() if value}


def devices(part: VMI, vmi: VMI, facts: Guest) -> Iterable[Element]:
    target = E("target", type="virtio", name="org.qemu.guest_agent.0")
    yield E("channel", target, type="unix")


FEATURE = Feature(name="agent", owns=(), asked=always, devices=devices, observe=observe)
