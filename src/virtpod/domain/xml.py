"""Writing libvirt's XML: elements as values, text at the end.

Format: https://libvirt.org/formatdomain.html
"""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, indent, tostring

__all__ = ["PCI_ADDRESS", "E", "Element", "alias", "pci_address", "text"]

PCI_ADDRESS = re.compile(r"[0-9a-fA-F]{4}:[0-9a-fA-F]{2}:[01][0-9a-fA-F]\.[0-7]")
"""domain:bus:slot.function"""
ALIAS = re.compile(r"[A-Za-z0-9_-]+")


def E(tag: str, *content: Element | str | None, **attributes: object) -> Element:
    """An element. Children that are None and attributes that are None are left out.

    Booleans become yes/no; a trailing underscore of an attribute's name is dropped (`type_`),
    inner ones become hyphens nowhere: libvirt's attribute names have underscores of their own.
    """
    element = Element(tag)
    for name, value in attributes.items():
        if value is not None:
            element.set(name.rstrip("_"), _attribute(value))
    for part in content:
        if part is None:
            continue
        if isinstance(part, str):
            element.text = part
        else:
            element.append(part)
    return element


def _attribute(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def alias(name: str | None) -> Element | None:
    """The user's name of a device, by which it is known again; None where libvirt cannot have it
    so."""
    return E("alias", name=f"ua-{name}") if name and ALIAS.fullmatch(name) else None


def pci_address(given: str) -> Element:
    """domain:bus:slot.function on the guest's bus."""
    domain, bus, rest = given.split(":")
    slot, function = rest.split(".")
    parts = {"domain": domain, "bus": bus, "slot": slot, "function": function}
    return E("address", type="pci", **{name: f"0x{value}" for name, value in parts.items()})


def text(element: Element) -> str:
    """The element as indented XML, ending in a newline."""
    indent(element)
    return tostring(element, encoding="unicode") + "\n"
