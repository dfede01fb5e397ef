"""What Multus noted of a pod's networks, in the pod's annotation.

https://github.com/k8snetworkplumbingwg/multi-net-spec (network status annotation)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import msgspec

ANNOTATION = "k8s.v1.cni.cncf.io/network-status"
LIMIT = 256 * 1024
_PCI = re.compile(r"[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]")


@dataclass(frozen=True)
class Attached:
    """One network of a pod."""

    network: str
    """namespace/name of its NetworkAttachmentDefinition."""
    interface: str
    """In the pod."""
    mac: str = ""
    default: bool = False
    pci: str = ""
    """Address of the function behind it, where it is one."""
    ips: tuple[str, ...] = ()
    """What its IPAM gave."""


def read(annotation: str) -> tuple[Attached, ...]:
    """Nothing where it cannot be read: whoever may change the pod may have written it."""
    return tuple(_attached(each) for each in _told(annotation))


def devices(annotation: str) -> dict[str, Any]:
    """What is told of the device behind each interface of the pod, where there is one."""
    return {
        str(each.get("interface")): each["device-info"]
        for each in _told(annotation)
        if isinstance(each.get("device-info"), dict)
    }


def _told(annotation: str) -> list[dict[str, Any]]:
    if not annotation or len(annotation) > LIMIT:
        return []
    try:
        return msgspec.json.decode(annotation, type=list[dict[str, Any]])
    except msgspec.DecodeError:
        return []


def _attached(each: dict[str, Any]) -> Attached:
    device = each.get("device-info")
    pci = (device.get("pci") or {}) if isinstance(device, dict) else {}
    address = pci.get("pci-address") if isinstance(pci, dict) else None
    return Attached(
        network=str(each.get("name") or ""),
        interface=str(each.get("interface") or ""),
        mac=str(each.get("mac") or ""),
        default=each.get("default") is True,
        pci=address if isinstance(address, str) and _PCI.fullmatch(address) else "",
        ips=tuple(ip for ip in _list(each.get("ips")) if _is_address(ip)),
    )


def _list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []


def _is_address(found: Any) -> bool:
    try:
        return isinstance(found, str) and bool(ip_address(found))
    except ValueError:
        return False
