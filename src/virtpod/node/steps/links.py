"""Bridges and tap devices.

Taps are made by ioctl rather than netlink: that is how a persistent one gets its owner, who may
then open it without being root.

https://docs.kernel.org/networking/tuntap.html
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from typing import Any

from pyroute2 import IPRoute

from virtpod.domain.steps import Bridge, Tap

TUN = "/dev/net/tun"
TUNSETIFF = 0x400454CA
TUNSETPERSIST = 0x400454CB
TUNSETOWNER = 0x400454CC
TUNSETGROUP = 0x400454CE
IFF_TAP = 0x0002
IFF_MULTI_QUEUE = 0x0100
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000


def bridge(step: Bridge) -> None:
    """The bridge with its addresses, up."""
    with IPRoute() as netlink:
        index = _index(netlink, step.name)
        if index is None:
            netlink.link("add", ifname=step.name, kind="bridge", address=step.mac)
            index = _found(netlink, step.name)
        netlink.link("set", index=index, address=step.mac, mtu=step.mtu)
        have = {
            f"{dict(each['attrs'])['IFA_ADDRESS']}/{each['prefixlen']}"
            for each in netlink.get_addr(index=index)
        }
        for given in step.addresses:
            if given not in have:
                address, _, length = given.partition("/")
                netlink.addr("add", index=index, address=address, prefixlen=int(length))
        netlink.link("set", index=index, state="up")


def tap(step: Tap) -> None:
    """The persistent tap device in its bridge, up, that its owner may open."""
    flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
    if step.queues > 1:
        flags |= IFF_MULTI_QUEUE
    with IPRoute() as netlink:
        if _index(netlink, step.name) is None:
            opened = os.open(TUN, os.O_RDWR | os.O_CLOEXEC)
            try:
                request = struct.pack("16sH22x", step.name.encode(), flags)
                fcntl.ioctl(opened, TUNSETIFF, request)
                fcntl.ioctl(opened, TUNSETOWNER, step.owner)
                fcntl.ioctl(opened, TUNSETGROUP, step.owner)
                fcntl.ioctl(opened, TUNSETPERSIST, 1)
            finally:
                os.close(opened)
        index = _found(netlink, step.name)
        wanted: dict[str, Any] = {"mtu": step.mtu}
        if step.bridge:
            wanted["master"] = _found(netlink, step.bridge)
        netlink.link("set", index=index, **wanted)
        netlink.link("set", index=index, state="up")


def _index(netlink: Any, name: str) -> int | None:
    found = netlink.link_lookup(ifname=name)
    return int(found[0]) if found else None


def _found(netlink: Any, name: str) -> int:
    index = _index(netlink, name)
    if index is None:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), name)
    return index
