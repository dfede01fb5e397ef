"""Interfaces and networks: what every binding needs to know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from virtpod.api.network import Interface, Network
from virtpod.api.traits import vcpus, virtio_model
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Guest, GuestLink
from virtpod.domain.xml import E, Element, pci_address
from virtpod.wire.messages import DomainChanged

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
WORKING = ("bridge", "masquerade", "passt_binding", "sriov", "binding")
SOURCES = ("pod", "multus", "resource_claim")
"""The kinds of networks."""
MOST_QUEUES = 256
MANAGED_TAP, PLUGIN_TAP = "managedTap", "tap"
"""How a binding plugin has the guest joined: by us, or at a tap device that it has made."""


@dataclass(frozen=True)
class Names:
    """What one guest interface has in the pod's network namespace: the link that the CNI made, what
    it and the guest's tap device are joined by, and a bridge without ports that has the pod's
    addresses and routes, where the guest has them."""

    pod: str = "eth0"
    bridge: str = "k6t-eth0"
    tap: str = "tap0"
    kept: str = "k6t-kept"


PRIMARY = Names()


def names(network: Network) -> Names:
    """A secondary network's follow from its name, as the reference's do."""
    if network.pod or (network.multus and network.multus.default):
        return PRIMARY
    digest = sha256(network.name.encode()).hexdigest()[:11]
    return Names(f"pod{digest}", f"k6t-{digest}", f"tap{digest}", f"kpt-{digest}")


def joined(vmi: VMI) -> Iterator[tuple[int, Interface, Network]]:
    """Index in spec.domain.devices.interfaces, interface and its network."""
    networks = {network.name: network for network in vmi.spec.networks or ()}
    for index, interface in enumerate(vmi.spec.domain.devices.interfaces or ()):
        if interface.name in networks:
            yield index, interface, networks[interface.name]


def absent(interface: Interface) -> bool:
    """It is to be taken away, or never to come."""
    return interface.state == "absent"


def bindings(interface: Interface) -> list[str]:
    """The attribute names of the bindings that are set; a valid interface has one."""
    return [name for name in BINDINGS if getattr(interface, name) is not None]


def at(facts: Guest, network: Network) -> GuestLink:
    """The host side of the network's guest interface."""
    usual = names(network)
    return facts.links.get(network.name, GuestLink(usual.tap, usual.bridge))


def queues(vmi: VMI) -> int:
    """Queues of each interface's tap device."""
    many = vmi.spec.domain.devices.network_interface_multiqueue
    return min(vcpus(vmi), MOST_QUEUES) if many else 1


def ethernet(vmi: VMI, nic: Interface, link: GuestLink) -> Element:
    """The guest's network card at a tap device."""
    return E("interface", *card(vmi, nic, link), type="ethernet")


def card(vmi: VMI, nic: Interface, link: GuestLink | None = None) -> Iterator[Element | None]:
    """A network card; `link`: the tap device that it is joined to, if it is to one."""
    model = virtio_model(vmi) if nic.model in (None, "", "virtio") else nic.model
    yield E("mac", address=(link and link.mac) or mac(vmi, nic))
    yield E("target", dev=link.tap, managed=False) if link else None
    yield E("link", state="down") if nic.state == "down" else None
    yield E("model", type=model)
    yield E("mtu", size=link.mtu) if link else None
    yield E("boot", order=nic.boot_order) if nic.boot_order else E("rom", enabled=False)
    yield E("alias", name=f"ua-{nic.name}")
    yield E("acpi", index=nic.acpi_index) if nic.acpi_index else None
    yield pci_address(nic.pci_address) if nic.pci_address else None


def seen_as(nic: Interface, vmi: VMI, domain: DomainChanged, pod_link: str) -> dict[str, Any]:
    """What the VMI's status says of the interface."""
    seen = next((i for i in domain.interfaces if i.name == nic.name), None)
    said = {
        "name": nic.name,
        "mac": (seen and seen.mac) or mac(vmi, nic),
        "infoSource": (seen and seen.source) or "domain",
        "podInterfaceName": pod_link,
        "queueCount": queues(vmi),
        "linkState": "down" if seen and seen.down else "up",
    }
    if seen and seen.interface_name:
        said["interfaceName"] = seen.interface_name
    if seen and seen.addresses:
        said |= {"ipAddress": seen.addresses[0], "ipAddresses": list(seen.addresses)}
    return said


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
