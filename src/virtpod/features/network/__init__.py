"""Interfaces and networks: what every binding needs to know."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

from virtpod.api.network import Interface, Network
from virtpod.api.traits import vcpus
from virtpod.api.vmi import VirtualMachineInstance as VMI

BINDINGS = (
    "bridge",
    "masquerade",
    "sriov",
    "passt_binding",
    "binding",
    "slirp",
    "macvtap",
    "passt",
)
WORKING = ("masquerade",)
MOST_QUEUES = 256


def joined(vmi: VMI) -> Iterator[tuple[int, Interface, Network]]:
    """Index in spec.domain.devices.interfaces, interface and its network."""
    networks = {network.name: network for network in vmi.spec.networks or ()}
    for index, interface in enumerate(vmi.spec.domain.devices.interfaces or ()):
        if interface.name in networks:
            yield index, interface, networks[interface.name]


def bindings(interface: Interface) -> list[str]:
    """The attribute names of the bindings that are set; a valid interface has one."""
    return [name for name in BINDINGS if getattr(interface, name) is not None]


def queues(vmi: VMI) -> int:
    """Queues of each interface's tap device."""
    many = vmi.spec.domain.devices.network_interface_multiqueue
    return min(vcpus(vmi), MOST_QUEUES) if many else 1


def mac(vmi: VMI, interface: Interface) -> str:
    """The guest's MAC address: as asked, else one that follows from the machine's uuid.

    It stays the same over restarts of a VM, whose template keeps the uuid.
    """
    if interface.mac_address:
        return interface.mac_address.lower().replace("-", ":")
    firmware = vmi.spec.domain.firmware
    seed = f"{(firmware and firmware.uuid) or vmi.metadata.uid}/{interface.name}"
    digest = sha256(seed.encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))
