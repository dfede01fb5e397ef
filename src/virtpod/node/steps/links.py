"""Bridges and tap devices, in the calling thread's network namespace.

Sources: https://docs.kernel.org/networking/tuntap.html, pyroute2's IPRoute
"""

from __future__ import annotations

import fcntl
import os
import struct
from ipaddress import ip_interface
from typing import Any

from pyroute2 import IPRoute

from virtpod.domain.facts import PodLink
from virtpod.domain.steps import Bridge, Tap

TUNSETIFF = 0x400454CA
TUNSETPERSIST = 0x400454CB
TUNSETOWNER = 0x400454CC
TUNSETGROUP = 0x400454CE
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
IFF_MULTI_QUEUE = 0x0100
IFF_VNET_HDR = 0x4000
IFF_UP = 0x1
TUN = "/dev/net/tun"


def pod_link(name: str = "eth0") -> PodLink | None:
    """The pod's own interface as the CNI made it, None where there is none."""
    with IPRoute() as route:
        link = _link(route, name)
        if link is None:
            return None
        addresses = sorted(
            (
                f"{address.get_attr('IFA_ADDRESS')}/{address['prefixlen']}"
                for address in route.get_addr(index=link["index"])
                if address["scope"] == 0  # not the link-local ones
            ),
            key=lambda address: ":" in address,
        )
        return PodLink(
            name=name,
            mac=link.get_attr("IFLA_ADDRESS") or "",
            mtu=link.get_attr("IFLA_MTU") or 1500,
            addresses=tuple(addresses),
        )


def bridge(step: Bridge) -> None:
    """Makes the bridge, or makes it as wanted."""
    with IPRoute() as route:
        link = _link(route, step.name)
        if link is None:
            route.link(
                "add", ifname=step.name, kind="bridge", address=step.mac, mtu=step.mtu, state="up"
            )
            link = _link(route, step.name)
            if link is None:
                raise OSError(f"bridge {step.name} went away")
        index = link["index"]
        _set(route, link, mac=step.mac, mtu=step.mtu)
        have = {
            f"{address.get_attr('IFA_ADDRESS')}/{address['prefixlen']}"
            for address in route.get_addr(index=index)
        }
        for wanted in step.addresses:
            address = ip_interface(wanted)
            if str(address) not in have:
                route.addr(
                    "add", index=index, address=str(address.ip), prefixlen=address.network.prefixlen
                )


def tap(step: Tap) -> None:
    """Makes the persistent tap device, or makes it as wanted, and puts it in its bridge."""
    with IPRoute() as route:
        link = _link(route, step.name)
        if link is None:
            _create(step)
            link = _link(route, step.name)
            if link is None:
                raise OSError(f"tap {step.name} went away")
        master = _link(route, step.bridge) if step.bridge else None
        if step.bridge and master is None:
            raise OSError(f"there is no bridge {step.bridge} for tap {step.name}")
        _set(route, link, mtu=step.mtu, master=master["index"] if master else 0)


def _create(step: Tap) -> None:
    flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (IFF_MULTI_QUEUE if step.queues > 1 else 0)
    handle = os.open(TUN, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(handle, TUNSETIFF, struct.pack("16sH22x", step.name.encode(), flags))
        fcntl.ioctl(handle, TUNSETOWNER, step.owner)
        fcntl.ioctl(handle, TUNSETGROUP, step.owner)
        fcntl.ioctl(handle, TUNSETPERSIST, 1)
    finally:
        os.close(handle)


def _link(route: IPRoute, name: str) -> Any:
    found = [link for link in route.get_links() if link.get_attr("IFLA_IFNAME") == name]
    return found[0] if found else None


def _set(route: IPRoute, link: Any, mtu: int, mac: str = "", master: int = 0) -> None:
    """Only what is not so already."""
    change: dict[str, Any] = {}
    if mac and link.get_attr("IFLA_ADDRESS") != mac:
        change["address"] = mac
    if mtu and link.get_attr("IFLA_MTU") != mtu:
        change["mtu"] = mtu
    if master and link.get_attr("IFLA_MASTER") != master:
        change["master"] = master
    if not link["flags"] & IFF_UP:
        change["state"] = "up"
    if change:
        route.link("set", index=link["index"], **change)
