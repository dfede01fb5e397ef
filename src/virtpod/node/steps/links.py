"""Bridges and tap devices, in the calling thread's network namespace.

Source: https://docs.kernel.org/networking/tuntap.html
"""

from __future__ import annotations

import fcntl
import os
import struct
from ipaddress import ip_interface

from virtpod.domain.facts import PodLink
from virtpod.domain.steps import Bridge, Tap
from virtpod.node.steps.netlink import GLOBAL, Link, Route

TUNSETIFF = 0x400454CA
TUNSETPERSIST = 0x400454CB
TUNSETOWNER = 0x400454CC
TUNSETGROUP = 0x400454CE
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
IFF_MULTI_QUEUE = 0x0100
IFF_VNET_HDR = 0x4000
TUN = "/dev/net/tun"


def pod_link(name: str = "eth0") -> PodLink | None:
    """The pod's own interface as the CNI made it, None where there is none."""
    with Route() as route:
        link = route.link(name)
        if link is None:
            return None
        addresses = sorted(route.addresses(link.index, GLOBAL), key=lambda each: ":" in each)
        return PodLink(name=name, mac=link.mac, mtu=link.mtu, addresses=tuple(addresses))


def bridge(step: Bridge) -> None:
    """Makes the bridge, or makes it as wanted."""
    with Route() as route:
        if route.link(step.name) is None:
            route.add_bridge(step.name, step.mac, step.mtu)
        link = _there(route, step.name)
        _set(route, link, mtu=step.mtu, mac=step.mac)
        have = route.addresses(link.index)
        for wanted in step.addresses:
            if wanted not in have:
                route.add_address(link.index, ip_interface(wanted))


def tap(step: Tap) -> None:
    """Makes the persistent tap device, or makes it as wanted, and puts it in its bridge."""
    with Route() as route:
        if route.link(step.name) is None:
            _create(step)
        master = _there(route, step.bridge).index if step.bridge else 0
        _set(route, _there(route, step.name), mtu=step.mtu, master=master)


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


def _there(route: Route, name: str) -> Link:
    link = route.link(name)
    if link is None:
        raise OSError(f"there is no link {name}")
    return link


def _set(route: Route, link: Link, mtu: int, mac: str = "", master: int = 0) -> None:
    """Only what is not so already."""
    mac = "" if mac == link.mac else mac
    mtu = 0 if mtu == link.mtu else mtu
    master = 0 if master == link.master else master
    if mac or mtu or master or not link.up:
        route.change(link.index, mac=mac, mtu=mtu, master=master, up=True)
