"""Bridge: the guest has the pod's own address.

The pod's interface and a tap device for the guest are joined by a bridge; the guest gets the pod's
MAC address, and its IP address and routes by DHCP. What the CNI had set up on the interface is kept
by a bridge of its own beside it, so that a virt-handler that begins anew finds it.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_interface

from virtpod.api.network import Interface, Network
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain import paths
from virtpod.domain.facts import Cluster, Guest, Host, PodLink
from virtpod.domain.steps import BootStep, Bridge, HostStep, Sysctl, TakeOver, Tap
from virtpod.domain.xml import Element
from virtpod.features.contract import UNSUPPORTED, Cause, Feature, Json, PodPart
from virtpod.features.network import (
    PRIMARY,
    absent,
    at,
    ethernet,
    joined,
    mac,
    names,
    queues,
    seen_as,
)
from virtpod.features.network._addresses import of_cnis
from virtpod.features.network._dhcp import ROUTER, ROUTES, serve
from virtpod.wire.messages import DomainChanged, Route

FIRST_ADDRESS = ip_address("169.254.75.10")
"""Of the first interface's bridge: whom the guest's DHCP client talks to."""

Part = list[tuple[int, Interface, Network]]


def asked(vmi: VMI) -> Part:
    return [(index, nic, network) for index, nic, network in joined(vmi) if nic.bridge]


def _there(part: Part) -> Part:
    return [each for each in part if not absent(each[1])]


def validate(part: Part, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    config = cluster.config.network
    if config is None or config.permit_bridge_interface_on_pod_network is not False:
        return
    for index, _, network in part:
        if network.pod:
            yield Cause(
                f"spec.domain.devices.interfaces[{index}].name",
                "Bridge on pod network configuration is not enabled under kubevirt-config",
                UNSUPPORTED,
            )


def warn(part: Part, vmi: VMI, cluster: Cluster) -> Iterable[str]:
    for index, nic, _ in part:
        if nic.ports:
            yield (
                f".domain.devices.interfaces[{index}].ports: all ports of a bridged guest are "
                "reached; masquerade would let these alone through"
            )


def pod(part: Part, vmi: VMI, cluster: Cluster) -> PodPart:
    """The pod's link is asked for with the guest's MAC address, which the guest keeps over restarts
    where the CNI takes it; it has the pod's where not. Multus is asked in `multus.py`."""
    own = vmi.metadata.annotations or {}
    told = [of_cnis(mac(vmi, nic)) for _, nic, network in part if network.pod]
    return PodPart(
        annotations={name: mac for each in told for name, mac in each.items() if name not in own}
    )


def host(part: Part, vmi: VMI, facts: Host) -> Iterable[HostStep]:
    # Before the bridges are up: they do not answer for the guest's addresses, which keepers have.
    yield Sysctl("net.ipv4.conf.all.arp_ignore", "1")
    for index, _, network in _there(part):
        own = names(network)
        link = facts.links.get(network.name, PodLink(own.pod))
        yield Bridge(own.bridge, "", link.mtu, (f"{FIRST_ADDRESS + index}/32",))
        # A guest that renews its lease speaks from the address that the keeper has too.
        yield Sysctl(f"net.ipv4.conf.{own.bridge}.accept_local", "1")
        yield TakeOver(link, own.kept, own.bridge)
        yield Tap(own.tap, own.bridge, link.mtu, paths.QEMU_UID, queues(vmi))
    yield Sysctl("net.ipv4.ip_unprivileged_port_start", "0")  # the launcher's DHCP server


def boot(part: Part, vmi: VMI, facts: Guest) -> Iterable[BootStep]:
    for _, nic, network in _there(part):
        link = at(facts, network)
        address = next((each for each in link.addresses if ":" not in each), None)
        if address is None:
            continue  # IPv6 is announced by the network's own router
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
    for _, nic, network in _there(part):
        yield ethernet(vmi, nic, at(facts, network))


def observe(part: Part, vmi: VMI, domain: DomainChanged) -> Json:
    have = {seen.name for seen in domain.interfaces}
    return {
        "interfaces": [
            seen_as(nic, vmi, domain, names(network).pod)
            for _, nic, network in part
            if nic.name in have or names(network) == PRIMARY
        ]
    }


def blocks_migration(part: Part, vmi: VMI, domain: DomainChanged) -> str | None:
    if not any(network.pod for _, _, network in part):
        return None
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
    pod=pod,
    host=host,
    boot=boot,
    devices=devices,
    observe=observe,
    blocks_migration=blocks_migration,
)
