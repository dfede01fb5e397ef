"""Bridges and tap devices, in the calling thread's network namespace.

Sources: https://docs.kernel.org/networking/tuntap.html, pyroute2's IPRoute
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from hashlib import sha256
from ipaddress import ip_interface
from typing import Any

from pyroute2 import IPRoute

from virtpod.domain.facts import PodLink
from virtpod.domain.steps import Bridge, Discard, Sysctl, TakeOver, Tap
from virtpod.node.steps.sysctl import write
from virtpod.wire.messages import Route

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
MAIN_TABLE, OF_KERNEL, ONLINK, SCOPE_LINK, IFA_F_NODAD = 254, 2, 4, 253, 2
REMEMBERED = 4096
"""Priority of a route that is there to be read."""
COMPLETE = "complete"
"""Alias of a keeper that has everything."""


def pod_link(name: str, keeper: str, *, primary: bool = False) -> PodLink | None:
    """The pod's own interface as the CNI made it, None where there is none. What was taken over
    from it is found with the `keeper`. `primary`: where none has that name, it is the one by which
    the pod reaches the world."""
    with IPRoute() as route:
        link = _link(route, keeper)
        if _complete(link):
            name = link.get_attr("IFLA_IFALIAS").partition(" ")[2] or name
        else:
            link = _link(route, name)
            if link is None and primary:
                link = _towards_the_world(route)
                name = link.get_attr("IFLA_IFNAME") if link is not None else name
        if link is None:
            return None
        addresses = sorted(
            (
                f"{address.get_attr('IFA_ADDRESS')}/{address['prefixlen']}"
                for address in _lasting(route, link["index"])
            ),
            key=lambda address: ":" in address,
        )
        return PodLink(
            name=name,
            mac=link.get_attr("IFLA_ADDRESS") or "",
            mtu=link.get_attr("IFLA_MTU") or 1500,
            addresses=tuple(addresses),
            routes=tuple(_routes(route, link["index"])),
        )


def _complete(keeper: Any) -> bool:
    """Its alias goes on with the name of the interface that it keeps everything of."""
    alias = (keeper.get_attr("IFLA_IFALIAS") if keeper is not None else None) or ""
    return str(alias).partition(" ")[0] == COMPLETE


def _towards_the_world(route: IPRoute) -> Any:
    for family in (socket.AF_INET, socket.AF_INET6):
        for found in route.get_routes(family=family, table=MAIN_TABLE):
            if found["dst_len"] == 0 and (index := found.get_attr("RTA_OIF")):
                return next(iter(route.get_links(index)), None)
    return None


def _lasting(route: IPRoute, index: int) -> list[Any]:
    """Its addresses but those of the link, which the kernel makes itself."""
    return [address for address in route.get_addr(index=index) if address["scope"] == 0]


def _routes(route: IPRoute, index: int) -> Iterator[Route]:
    for family, everything in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        for found in route.get_routes(family=family, table=MAIN_TABLE, oif=index):
            if found["proto"] == OF_KERNEL:
                continue  # these follow from the addresses
            target = found.get_attr("RTA_DST") or everything
            yield Route(f"{target}/{found['dst_len']}", found.get_attr("RTA_GATEWAY") or "")


def take_over(step: TakeOver) -> None:
    """Can be repeated, also after having been interrupted: the pod's interface is bared only once
    the keeper has everything."""
    with IPRoute() as route:
        master = _link(route, step.bridge)
        link = _link(route, step.link.name)
        if master is None or link is None:
            raise OSError(f"there is no bridge {step.bridge} or no interface {step.link.name}")
        keeper = _link(route, step.keeper)
        if not _complete(keeper):
            _keep(route, step)
        for address in _lasting(route, link["index"]):
            local, length = address.get_attr("IFA_ADDRESS"), address["prefixlen"]
            route.addr("del", index=link["index"], address=local, prefixlen=length)
        own = _another(step.link.mac)
        if link.get_attr("IFLA_ADDRESS") != own:
            route.link("set", index=link["index"], state="down")
            route.link("set", index=link["index"], address=own)
        _set(route, _link(route, step.link.name), mtu=step.link.mtu, master=master["index"])
        # A CNI's bridge that sends frames back where they came from (hairpin) returns the guest's
        # own broadcasts: the guest's address would be learned to be on the node's side.
        route.brport("set", index=link["index"], learning=0)


def _keep(route: IPRoute, step: TakeOver) -> None:
    link = step.link
    if _link(route, step.keeper) is None:
        route.link("add", ifname=step.keeper, kind="bridge", address=link.mac, mtu=link.mtu)
    index = _link(route, step.keeper)["index"]
    route.link("set", index=index, state="up")
    for each in link.addresses:
        address = ip_interface(each)
        # IPv6: it is no second one in the same network, whatever answers.
        extra = {"IFA_FLAGS": IFA_F_NODAD} if address.version == 6 else {}
        route.addr(
            "replace",
            index=index,
            address=str(address.ip),
            prefixlen=address.network.prefixlen,
            **extra,
        )
    for way in link.routes:
        gateway = {"gateway": way.via, "flags": ONLINK} if way.via else {"scope": SCOPE_LINK}
        # Behind the interface's own of the same target, which are there until it is bared.
        route.route("replace", dst=way.to, oif=index, priority=REMEMBERED, **gateway)
    route.link("set", index=index, ifalias=f"{COMPLETE} {link.name}")


def _another(mac: str) -> str:
    """A MAC address for who has given his away."""
    return ":".join(f"{byte:02x}" for byte in (0x02, *sha256(mac.encode()).digest()[:5]))


def bridge(step: Bridge) -> None:
    """Makes the bridge, or makes it as wanted."""
    with IPRoute() as route:
        link = _link(route, step.name)
        if link is None:
            mac = {"address": step.mac} if step.mac else {}
            route.link("add", ifname=step.name, kind="bridge", mtu=step.mtu, state="up", **mac)
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
            if str(address) in have:
                continue
            extra = {}
            if address.version == 6:
                # There at once: nobody else can have it. A pod's default may be to have no IPv6.
                extra = {"IFA_FLAGS": IFA_F_NODAD}
                write(Sysctl(f"net.ipv6.conf.{step.name}.disable_ipv6", "0"))
            route.addr(
                "add",
                index=index,
                address=str(address.ip),
                prefixlen=address.network.prefixlen,
                **extra,
            )


def discard(step: Discard) -> None:
    with IPRoute() as route:
        link = _link(route, step.name)
        if link is not None:
            route.link("del", index=link["index"])


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
