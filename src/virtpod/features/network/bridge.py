"""Bridge: the guest has the pod's own address.

The pod's interface and a tap device for the guest are joined by a bridge; the guest gets the pod's
MAC address, and its IP address and routes by DHCP. What the CNI had set up on the interface is kept
by a bridge of its own beside it, so that a virt-handler that begins anew finds it.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_interface

from virtpod.api.network import Interface, Network
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain import paths
from virtpod.domain.facts import Cluster, Guest, GuestLink, Host, PodLink
from virtpod.domain.steps import BootStep, Bridge, HostStep, Sysctl, TakeOver, Tap
from virtpod.domain.xml import Element
from virtpod.features.contract import UNSUPPORTED, Cause, Feature, Json
from virtpod.features.network import (
    BRIDGE,
    KEPT,
    POD_LINK,
    TAP,
    ethernet,
    joined,
    mac,
    queues,
    seen_as,
)
from virtpod.features.network._dhcp import ROUTER, ROUTES, serve
from virtpod.wire.messages import DomainChanged, Route

OWN_ADDRESS = "169.254.75.10/32"
"""Of the bridge: whom the guest's DHCP client talks to."""

Part = tuple[int, Interface, Network]


def asked(vmi: VMI) -> Part | None:
    return next(((i, nic, net) for i, nic, net in joined(vmi) if nic.bridge and net.pod), None)


def validate(part: Part, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    index, _, _ = part
    network = cluster.config.network
    if network and network.permit_bridge_interface_on_pod_network is False:
        yield Cause(
            f"spec.domain.devices.interfaces[{index}].name",
            "Bridge on pod network configuration is not enabled under kubevirt-config",
            UNSUPPORTED,
        )


def warn(part: Part, vmi: VMI, cluster: Cluster) -> Iterable[str]:
    index, nic, _ = part
    if nic.ports:
        yield (
            f".domain.devices.interfaces[{index}].ports: all ports of a bridged guest are reached; "
            "masquerade would let these alone through"
        )


def host(part: Part, vmi: VMI, facts: Host) -> Iterable[HostStep]:
    _, nic, _ = part
    link = facts.links.get(nic.name, PodLink())
    # Before the bridge is up: it does not answer for the guest's address, which the keeper has.
    yield Sysctl("net.ipv4.conf.all.arp_ignore", "1")
    yield Bridge(BRIDGE, "", link.mtu, (OWN_ADDRESS,))
    yield TakeOver(link, KEPT, BRIDGE)
    yield Tap(TAP, BRIDGE, link.mtu, paths.QEMU_UID, queues(vmi))
    yield Sysctl("net.ipv4.ip_unprivileged_port_start", "0")  # the launcher's DHCP server


def boot(part: Part, vmi: VMI, facts: Guest) -> Iterable[BootStep]:
    _, nic, _ = part
    link = facts.links.get(nic.name, GuestLink(TAP, BRIDGE))
    address = next((each for each in link.addresses if ":" not in each), None)
    if address is None:
        return  # IPv6 is announced by the network's own router
    lease = ip_interface(address)
    yield serve(
        vmi,
        nic,
        link,
        (str(lease.ip), str(lease.netmask)),
        _routes(address, link.routes),
        facts,
        only=link.mac or mac(vmi, nic),
    )


def _routes(address: str, routes: tuple[Route, ...]) -> dict[str, str]:
    """As a plain router where that says it all, else as classless static routes (RFC 3442)."""
    near = ip_interface(address).network
    routes = tuple(each for each in routes if ":" not in each.to and each.to != str(near))
    usual = [each for each in routes if each.to == "0.0.0.0/0" and each.via]
    if len(routes) == len(usual) == 1 and ip_interface(usual[0].via) in near:
        return {ROUTER: usual[0].via}
    return {ROUTES: ",".join(f"{each.to},{each.via or '0.0.0.0'}" for each in routes)}


def devices(part: Part, vmi: VMI, facts: Guest) -> Iterable[Element]:
    _, nic, _ = part
    yield ethernet(vmi, nic, facts.links.get(nic.name, GuestLink(TAP, BRIDGE)))


def observe(part: Part, vmi: VMI, domain: DomainChanged) -> Json:
    return seen_as(part[1], vmi, domain, POD_LINK)


def blocks_migration(part: Part, vmi: VMI) -> str | None:
    return (
        "InterfaceNotLiveMigratable: it has the pod's address by bridge, and another pod has "
        "another; masquerade would do"
    )


FEATURE = Feature(
    name="bridge",
    owns=("domain.devices.interfaces.bridge",),
    asked=asked,
    validate=validate,
    warn=warn,
    host=host,
    boot=boot,
    devices=devices,
    observe=observe,
    blocks_migration=blocks_migration,
)
