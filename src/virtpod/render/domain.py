"""The domain XML of a VMI: every feature's elements, each in its place.

libvirt's schema lets most elements stand in any order; the order here is for readers.
https://libvirt.org/formatdomain.html
"""

from __future__ import annotations

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Guest
from virtpod.domain.xml import E, Element, text
from virtpod.features import ALL
from virtpod.features.network import joined

TOP = (
    "name",
    "uuid",
    "memory",
    "memoryBacking",
    "vcpu",
    "iothreads",
    "cputune",
    "numatune",
    "sysinfo",
    "os",
    "features",
    "cpu",
    "clock",
    "on_poweroff",
    "on_reboot",
    "on_crash",
    "launchSecurity",
)
"""Elements of the domain itself; whatever else a feature returns is a device."""
IN_OS = ("loader", "nvram", "bios", "bootmenu", "kernel", "initrd", "cmdline", "acpi")
"""Elements that belong into <os>, whoever draws them."""


def domain(vmi: VMI, facts: Guest) -> str:
    """The domain XML as text."""
    return text(draw(vmi, facts))


def draw(vmi: VMI, facts: Guest) -> Element:
    """The domain as an element."""
    drawn = [
        element
        for feature in ALL
        if feature.devices and (part := feature.asked(vmi))
        for element in feature.devices(part, vmi, facts)
    ]
    tops = sorted((e for e in drawn if e.tag in TOP), key=lambda e: TOP.index(e.tag))
    system = next(e for e in tops if e.tag == "os")
    system.extend(e for e in drawn if e.tag in IN_OS)
    devices = E("devices", *_cards_in_order(vmi, [e for e in drawn if e.tag not in TOP + IN_OS]))
    whole = E("domain", *tops, devices, type="kvm")
    for feature in ALL:
        if feature.tune and (part := feature.asked(vmi)):
            feature.tune(part, vmi, facts, whole)
    _name_apart(devices)
    return whole


NAMED_FIRST = ("disk", "interface", "hostdev")
"""Devices that are found again by their name; the others go without where it is taken."""


def _name_apart(devices: Element) -> None:
    """libvirt wants each name once; users may call a watchdog as they call a disk."""
    taken: set[str | None] = set()
    for device in sorted(devices, key=lambda each: each.tag not in NAMED_FIRST):
        alias = device.find("alias")
        if alias is None:
            continue
        if alias.get("name") in taken and device.tag not in NAMED_FIRST:
            device.remove(alias)
        taken.add(alias.get("name"))


def _cards_in_order(vmi: VMI, devices: list[Element]) -> list[Element]:
    """Network cards as the spec lists them, whichever binding drew them: guests number them so."""
    places = {f"ua-{nic.name}": place for place, nic, _ in joined(vmi)}
    cards = sorted(
        (each for each in devices if each.tag == "interface"),
        key=lambda card: places.get(_alias(card), len(places)),
    )
    following = iter(cards)
    return [next(following) if each.tag == "interface" else each for each in devices]


def _alias(element: Element) -> str:
    found = element.find("alias")
    return "" if found is None else found.get("name", "")
