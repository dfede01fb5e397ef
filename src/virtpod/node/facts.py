"""What virt-handler finds out in a pod's network namespace before it decides anything there."""

from __future__ import annotations

from typing import Any

from pyroute2 import IPRoute

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Host, PodLink

POD_LINK = "eth0"
AF_INET = 2
UNIVERSE = 0


def pod_link(name: str = POD_LINK) -> PodLink:
    """The pod's link, in the calling thread's network namespace. Raises OSError without one."""
    with IPRoute() as netlink:
        found = netlink.link_lookup(ifname=name)
        if not found:
            raise OSError(19, "the pod has no network interface", name)
        link: dict[str, Any] = dict(netlink.get_links(found[0])[0]["attrs"])
        addresses = [
            (each["family"] != AF_INET, f"{dict(each['attrs'])['IFA_ADDRESS']}/{each['prefixlen']}")
            for each in netlink.get_addr(index=found[0])
            if each["scope"] == UNIVERSE
        ]
    return PodLink(
        name=name,
        mac=str(link.get("IFLA_ADDRESS", "")),
        mtu=int(link.get("IFLA_MTU", 1500)),
        addresses=tuple(address for _, address in sorted(addresses)),
    )


def host(node: str, vmi: VMI) -> Host:
    """For the pod network's interfaces; in the calling thread's network namespace."""
    names = [network.name for network in vmi.spec.networks or () if network.pod]
    link = pod_link() if names else None
    return Host(node=node, links=dict.fromkeys(names, link) if link else {})
