"""Masquerade: the guest has an address of its own behind the pod's.

The pod's namespace gets a bridge with the gateway's addresses, a tap device in it for the guest,
and one nftables table for each IP family of the pod, which translates both ways. The guest learns
its addresses by DHCP from the bridge, and of IPv6 its router too. Everything is made anew from the
spec; nothing of it is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network

from virtpod.api.network import Interface, Network
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain import paths
from virtpod.domain.facts import Cluster, Guest, Host, PodLink
from virtpod.domain.steps import BootStep, Bridge, HostStep, Nft, Sysctl, Tap
from virtpod.domain.xml import Element
from virtpod.features.contract import Cause, Feature, Json
from virtpod.features.network import PRIMARY, at, ethernet, joined, queues, seen_as
from virtpod.features.network._dhcp import ROUTER, announce, announcer, serve
from virtpod.wire.messages import DomainChanged

BRIDGE_MAC = "02:00:00:00:00:00"
CIDR = "10.0.2.0/24"
CIDR6 = "fd10:0:2::/120"
ROUTER6 = "fe80::1"
"""The bridge's link-local address, by which the guest knows its router."""
TABLE = "kubevirt"

Part = tuple[int, Interface, Network]


def asked(vmi: VMI) -> Part | None:
    return next(((i, nic, net) for i, nic, net in joined(vmi) if nic.masquerade), None)


def subnet(network: Network) -> IPv4Network:
    """The guest's network; its first address is the gateway, its second the guest. Raises
    ValueError."""
    given = (network.pod and network.pod.vm_network_cidr) or CIDR
    found = _parsed(given)
    if not isinstance(found, IPv4Network) or found.prefixlen > 30:
        raise ValueError(f"{given} is not an IPv4 network with room for a guest, like {CIDR}")
    return found


def subnet6(network: Network) -> IPv6Network:
    """The same of IPv6."""
    given = (network.pod and network.pod.vm_ipv6_network_cidr) or CIDR6
    found = _parsed(given)
    if not isinstance(found, IPv6Network) or found.prefixlen > 126:
        raise ValueError(f"{given} is not an IPv6 network with room for a guest, like {CIDR6}")
    return found


def _parsed(given: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(given, strict=False)
    except ValueError:
        return None


def validate(part: Part, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    index, _, network = part
    if not network.pod:
        where = f"spec.domain.devices.interfaces[{index}].name"
        yield Cause(where, "Masquerade interface only implemented with pod network")
        return
    position = (vmi.spec.networks or []).index(network)
    checks: tuple[tuple[str, Callable[[Network], object]], ...] = (
        ("vmNetworkCIDR", subnet),
        ("vmIPv6NetworkCIDR", subnet6),
    )
    for field, check in checks:
        try:
            check(network)
        except ValueError as error:
            where = f"spec.networks[{position}].pod.{field}"
            yield Cause(where, f"{where}: {error}")


def _families(addresses: Iterable[str]) -> tuple[bool, bool]:
    """Whether the pod has IPv4, and IPv6; one whose addresses are not known has IPv4."""
    six = [":" in each for each in addresses]
    return not all(six) or not six, any(six)


def host(part: Part, vmi: VMI, facts: Host) -> Iterable[HostStep]:
    _, nic, network = part
    link = facts.links.get(nic.name, PodLink())
    four, six = _families(link.addresses)
    net, net6 = subnet(network), subnet6(network)
    own = [f"{net[1]}/{net.prefixlen}"] if four else []
    if six:
        own += [f"{net6[1]}/{net6.prefixlen}", f"{ROUTER6}/64"]
    yield Bridge(PRIMARY.bridge, BRIDGE_MAC, link.mtu, tuple(own))
    yield Tap(PRIMARY.tap, PRIMARY.bridge, link.mtu, paths.QEMU_UID, queues(vmi))
    if four:
        yield Sysctl("net.ipv4.ip_forward", "1")
        yield Sysctl(f"net.ipv4.conf.{PRIMARY.bridge}.route_localnet", "1")
    yield Sysctl("net.ipv4.ip_unprivileged_port_start", "0")  # the launcher's DHCP servers
    if four:
        yield Nft("ip", TABLE, _rules(nic, link.name, "ip", str(net[2]), str(net[1])))
    if six:
        yield Tap(announcer(PRIMARY.bridge), PRIMARY.bridge, link.mtu, paths.QEMU_UID)
        yield Sysctl("net.ipv6.conf.all.forwarding", "1")
        yield Nft("ip6", TABLE, _rules(nic, link.name, "ip6", str(net6[2])))


def _rules(nic: Interface, link: str, family: str, guest: str, gateway: str = "") -> str:
    """The table: all ports to the guest, or the listed ones; the guest's traffic as the pod's.

    From the pod itself the guest answers on 127.0.0.1, as a container in its place would; the
    kernel lets no packet for ::1 leave its interface.
    """
    ports = list(_ports(nic))
    inbound, local, back = ["dnat to " + guest], [], []
    if ports:
        inbound = [f"{match} dnat to {guest}" for match in ports]
    if gateway:
        local = [f"ip daddr 127.0.0.1 {match} dnat to {guest}" for match in ports]
        back = [f"ip saddr 127.0.0.1 {match} snat to {gateway}" for match in ports or [""]]
        back = [" ".join(each.split()) for each in back]
    chains = {
        "prerouting": (
            "type nat hook prerouting priority dstnat; policy accept;",
            f'iifname "{link}" jump inbound',
        ),
        "output": ("type nat hook output priority -100; policy accept;", *local),
        "postrouting": (
            "type nat hook postrouting priority srcnat; policy accept;",
            f'{family} saddr {guest} oifname "{link}" masquerade',
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


def _ports(nic: Interface) -> Iterator[str]:
    """What a packet for one of the listed ports, or ranges of them, is known by."""
    for port in nic.ports or ():
        yield f"{(port.protocol or 'TCP').lower()} dport {port.port}"
    for span in nic.port_ranges or ():
        yield f"{span.protocol.lower()} dport {span.start}-{span.end}"


def boot(part: Part, vmi: VMI, facts: Guest) -> Iterable[BootStep]:
    _, nic, network = part
    link = at(facts, network)
    four, six = _families(link.addresses)
    if four:
        net = subnet(network)
        lease = (str(net[2]), str(net.netmask))
        yield serve(vmi, nic, link, lease, {ROUTER: str(net[1])}, facts)
    if six:
        net6 = subnet6(network)
        yield announce(link, f"{net6[2]}/{net6.prefixlen}", ROUTER6, BRIDGE_MAC, facts)


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
        "domain.devices.interfaces.portRanges",
        "networks.pod.vmNetworkCIDR",
        "networks.pod.vmIPv6NetworkCIDR",
    ),
    asked=asked,
    validate=validate,
    host=host,
    boot=boot,
    devices=devices,
    observe=observe,
)
