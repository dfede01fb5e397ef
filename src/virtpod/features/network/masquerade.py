"""Masquerade: the guest has an address of its own behind the pod's.

The pod's namespace gets a bridge with the gateway's address, a tap device in it for the guest,
and one nftables table that translates both ways. The guest learns its address by DHCP from the
bridge. Everything is made anew from the spec; nothing of it is stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, ip_network

from virtpod.api.network import Interface, Network
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain import paths
from virtpod.domain.facts import Cluster, Guest, Host
from virtpod.domain.steps import BootStep, Bridge, HostStep, Nft, Sysctl, Tap
from virtpod.domain.xml import Element
from virtpod.features.contract import Cause, Feature, Json
from virtpod.features.network import PRIMARY, at, ethernet, joined, queues, seen_as
from virtpod.features.network._dhcp import ROUTER, serve
from virtpod.wire.messages import DomainChanged

BRIDGE_MAC = "02:00:00:00:00:00"
CIDR = "10.0.2.0/24"
TABLE = "kubevirt"

Part = tuple[int, Interface, Network]


def asked(vmi: VMI) -> Part | None:
    return next(((i, nic, net) for i, nic, net in joined(vmi) if nic.masquerade), None)


def subnet(network: Network) -> IPv4Network:
    """The guest's network; its first address is the gateway, its second the guest."""
    given = (network.pod and network.pod.vm_network_cidr) or CIDR
    found = ip_network(given, strict=False)
    if not isinstance(found, IPv4Network) or found.prefixlen > 30:
        raise ValueError(f"{given} is not an IPv4 network with room for a guest")
    return found


def validate(part: Part, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    index, _, network = part
    if not network.pod:
        where = f"spec.domain.devices.interfaces[{index}].name"
        yield Cause(where, "Masquerade interface only implemented with pod network")
        return
    try:
        subnet(network)
    except ValueError as error:
        position = (vmi.spec.networks or []).index(network)
        yield Cause(
            f"spec.networks[{position}].pod.vmNetworkCIDR",
            f"spec.networks[{position}].pod.vmNetworkCIDR: {error}",
        )


def host(part: Part, vmi: VMI, facts: Host) -> Iterable[HostStep]:
    _, nic, network = part
    net = subnet(network)
    gateway, guest = net[1], net[2]
    link = facts.links.get(nic.name)
    mtu = link.mtu if link else 1500
    pod_link = link.name if link else PRIMARY.pod
    yield Bridge(PRIMARY.bridge, BRIDGE_MAC, mtu, (f"{gateway}/{net.prefixlen}",))
    yield Tap(PRIMARY.tap, PRIMARY.bridge, mtu, paths.QEMU_UID, queues(vmi))
    yield Sysctl("net.ipv4.ip_forward", "1")
    yield Sysctl(f"net.ipv4.conf.{PRIMARY.bridge}.route_localnet", "1")
    yield Sysctl("net.ipv4.ip_unprivileged_port_start", "0")  # the launcher's DHCP server
    yield Nft("ip", TABLE, _rules(nic, pod_link, str(gateway), str(guest)))


def _rules(nic: Interface, link: str, gateway: str, guest: str) -> str:
    """The table: all ports to the guest, or the listed ones; the guest's traffic as the pod's.

    From the pod itself the guest answers on 127.0.0.1, as a container in its place would.
    """
    ports = [((port.protocol or "TCP").lower(), port.port) for port in nic.ports or ()]
    if ports:
        inbound = [f"{protocol} dport {port} dnat to {guest}" for protocol, port in ports]
        local = [
            f"ip daddr 127.0.0.1 {protocol} dport {port} dnat to {guest}"
            for protocol, port in ports
        ]
        back = [
            f"ip saddr 127.0.0.1 {protocol} dport {port} snat to {gateway}"
            for protocol, port in ports
        ]
    else:
        inbound = [f"dnat to {guest}"]
        local = []
        back = [f"ip saddr 127.0.0.1 snat to {gateway}"]
    chains = {
        "prerouting": (
            "type nat hook prerouting priority dstnat; policy accept;",
            f'iifname "{link}" jump inbound',
        ),
        "output": ("type nat hook output priority -100; policy accept;", *local),
        "postrouting": (
            "type nat hook postrouting priority srcnat; policy accept;",
            f'ip saddr {guest} oifname "{link}" masquerade',
            f'oifname "{PRIMARY.bridge}" jump outbound',
        ),
        "inbound": tuple(inbound),
        "outbound": tuple(back),
    }
    lines = []
    for name, rules in chains.items():
        lines.append(f"chain {name} {{")
        lines += [f"  {rule}" for rule in rules]
        lines.append("}")
    return "\n".join(lines) + "\n"


def boot(part: Part, vmi: VMI, facts: Guest) -> Iterable[BootStep]:
    _, nic, network = part
    net = subnet(network)
    gateway, guest = net[1], net[2]
    link = at(facts, network)
    lease = (str(guest), str(net.netmask))
    yield serve(vmi, nic, link, lease, {ROUTER: str(gateway)}, facts)


def devices(part: Part, vmi: VMI, facts: Guest) -> Iterable[Element]:
    _, nic, network = part
    yield ethernet(vmi, nic, at(facts, network))


def observe(part: Part, vmi: VMI, domain: DomainChanged) -> Json:
    return {"interfaces": [seen_as(part[1], vmi, domain, PRIMARY.pod)]}


FEATURE = Feature(
    name="masquerade",
    owns=(
        "domain.devices.interfaces.masquerade",
        "domain.devices.interfaces.ports",
        "networks.pod.vmNetworkCIDR",
    ),
    asked=asked,
    validate=validate,
    host=host,
    boot=boot,
    devices=devices,
    observe=observe,
)
