"""Attributes of devices that Kubernetes allots, as far as they say which device of a node it is.

https://kubernetes.io/docs/reference/node/dra-standard-device-attributes/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

PCI = "resource.kubernetes.io/pciBusID"
MEDIATED = ("mdevuuid", "mdev-uuid")
"""The name that follows an attribute's domain, if it has one: there is no standard for it yet."""
SHAPES = {
    "pci": re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]"),
    "mdev": re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
}


def device(attributes: Mapping[str, Any]) -> tuple[str, str] | None:
    """Kind (pci or mdev) and address; None where they do not say. A mediated device's attributes
    may name its card beside it, so that its uuid goes first."""
    for name, value in attributes.items():
        if name.rpartition("/")[2].lower() in MEDIATED and (uuid := _text(value, "mdev")):
            return "mdev", uuid
    address = _text(attributes.get(PCI), "pci")
    return ("pci", address) if address else None


def _text(value: Any, kind: str) -> str:
    """Its text, if it has the shape of an address; empty: it has not."""
    said = value.get("string") if isinstance(value, Mapping) else None
    text = said.lower() if isinstance(said, str) else ""
    return text if SHAPES[kind].fullmatch(text) else ""
