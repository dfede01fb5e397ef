"""A running guest's network cards alone: what one that comes later is, and needs."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Guest
from virtpod.domain.steps import BootStep
from virtpod.domain.xml import Element
from virtpod.features import CARDS


def alone(vmi: VMI, name: str) -> VMI:
    """The VMI with one interface only."""
    devices = vmi.spec.domain.devices
    only = [nic for nic in devices.interfaces or () if nic.name == name]
    domain = replace(vmi.spec.domain, devices=replace(devices, interfaces=only))
    return replace(vmi, spec=replace(vmi.spec, domain=domain))


def cards(vmi: VMI, facts: Guest) -> Iterator[Element]:
    """As the domain's XML has them."""
    for feature in CARDS:
        if feature.devices and (part := feature.asked(vmi)):
            for element in feature.devices(part, vmi, facts):
                if element.tag == "interface":
                    yield element


def boot(vmi: VMI, facts: Guest) -> list[BootStep]:
    """What goes with them in the launcher."""
    return [
        step
        for feature in CARDS
        if feature.boot and (part := feature.asked(vmi))
        for step in feature.boot(part, vmi, facts)
    ]
