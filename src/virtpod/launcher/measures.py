"""What libvirt has counted of the guest, for virt-handler's metrics.

https://libvirt.org/html/libvirt-libvirt-domain.html#virConnectGetAllDomainStats
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from xml.etree import ElementTree

import libvirt

from virtpod.launcher.shown import alias
from virtpod.wire.messages import Measured

WANTED = (
    libvirt.VIR_DOMAIN_STATS_STATE
    | libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
    | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_VCPU
    | libvirt.VIR_DOMAIN_STATS_INTERFACE
    | libvirt.VIR_DOMAIN_STATS_BLOCK
)


def taken(number: int, connection: Any, domain: Any) -> Measured:
    """The answer to that request. Blocks, but waits for no other job of the domain: what that
    would have told is missing then. Raises libvirtError."""
    nowait = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
    [(_, counted)] = connection.domainListGetStats([domain], WANTED, nowait)
    root = ElementTree.fromstring(domain.XMLDesc())
    return Measured(
        id=number,
        counted=counted,
        interfaces=_names(root, "devices/interface"),
        drives=_names(root, "devices/disk"),
        affinity=_affinity(domain),
    )


def _affinity(domain: Any) -> int:
    """CPUs that virtual CPUs may run on, summed over these; asks libvirt alone, and never QEMU."""
    with suppress(libvirt.libvirtError):
        return sum(sum(allowed) for allowed in domain.vcpuPinInfo(libvirt.VIR_DOMAIN_AFFECT_LIVE))
    return 0


def _names(root: ElementTree.Element, devices: str) -> dict[str, str]:
    """The VMI's name of each, by its target."""
    found = ((each.find("target"), alias(each)) for each in root.iterfind(devices))
    return {target.get("dev", ""): name for target, name in found if target is not None and name}
