"""IPv6 for a guest that is alone in its network: who its router is, and its one address.

dnsmasq would need a raw socket for it, which nobody in a launcher's pod may open. A tap device of
ours can do: router advertisements go out by it as frames, and solicitations come in. DHCPv6 needs
no more than a port.

Sources: RFC 4861 (router discovery), RFC 8106 (name servers), RFC 8415 (DHCPv6). The guest is not
trusted: what is too short, or not for us, is passed over.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv6Address, IPv6Interface

from virtpod.domain.steps import Announce
from virtpod.launcher.log import log

TUN = "/dev/net/tun"
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
FRAME = 9216
IPV6, ICMPV6, SOLICITATION, ADVERTISEMENT = 0x86DD, 58, 133, 134
ALL_NODES, ALL_NODES_MAC = IPv6Address("ff02::1"), bytes.fromhex("333300000001")
MANAGED_AND_MORE = 0xC0
ROUTER_LIFETIME = 9000
"""Seconds; the most that there is."""
EVERY = 600.0
"""Seconds between advertisements that nobody asked for."""
AT_MOST = 0.1
"""Seconds between those that were asked for."""
FOREVER = 0xFFFFFFFF

PORT, SERVERS = 547, "ff02::1:2"
SOLICIT, ADVERTISE, REQUEST, CONFIRM, RENEW, REBIND, REPLY, RELEASE, DECLINE = range(1, 10)
INFORMATION = 11
CLIENT_ID, SERVER_ID, IA_NA, IA_ADDRESS, STATUS, RAPID = 1, 2, 3, 5, 13, 14
DNS, SEARCHES = 23, 24
NAMED = {REQUEST, RENEW, RELEASE, DECLINE}
"""Messages for one server only."""


class Router:
    """Opens what it needs at once. Raises OSError."""

    def __init__(self, step: Announce) -> None:
        self._advertisement = advertisement(step)
        self._step = step
        self._due = asyncio.Event()
        self._frames = _tap(step.tap)
        try:
            self._socket = _listen(step.bridge)
        except OSError:
            os.close(self._frames)
            raise

    async def serve(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._frames, self._heard)
        loop.add_reader(self._socket, self._asked)
        try:
            while True:
                try:
                    os.write(self._frames, self._advertisement)
                except OSError as error:
                    log("a router advertisement was not sent", error=str(error))
                await asyncio.sleep(AT_MOST)
                with suppress(TimeoutError):
                    async with asyncio.timeout(EVERY):
                        await self._due.wait()
                self._due.clear()
        finally:
            loop.remove_reader(self._frames)
            loop.remove_reader(self._socket)
            os.close(self._frames)
            self._socket.close()

    def _heard(self) -> None:
        with suppress(OSError):
            if solicits(os.read(self._frames, FRAME)):
                self._due.set()

    def _asked(self) -> None:
        with suppress(OSError):
            message, peer = self._socket.recvfrom(FRAME)
            if answered := answer(message, self._step):
                self._socket.sendto(answered, peer)


def _tap(name: str) -> int:
    handle = os.open(TUN, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.ioctl(handle, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    except OSError:
        os.close(handle)
        raise
    return handle


def _listen(device: str) -> socket.socket:
    listening = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(("::", PORT))
        group = IPv6Address(SERVERS).packed + struct.pack("@I", socket.if_nametoindex(device))
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
    except OSError:
        listening.close()
        raise
    return listening


def solicits(frame: bytes) -> bool:
    """Whether it is a router solicitation."""
    if len(frame) < 14 + 40 + 8 or struct.unpack_from("!H", frame, 12)[0] != IPV6:
        return False
    return (frame[14 + 6], frame[14 + 40]) == (ICMPV6, SOLICITATION)


def advertisement(step: Announce) -> bytes:
    """The frame of a router advertisement."""
    address = IPv6Interface(step.address)
    router, router_mac = IPv6Address(step.router), bytes.fromhex(step.router_mac.replace(":", ""))
    servers = b"".join(IPv6Address(each).packed for each in step.nameservers)
    body = struct.pack(
        "!BBHBBHII", ADVERTISEMENT, 0, 0, 64, MANAGED_AND_MORE, ROUTER_LIFETIME, 0, 0
    )
    body += _option(1, router_mac)
    body += _option(5, struct.pack("!HI", 0, step.mtu))
    # On the link, and not for addresses of the guest's own making: its network is one address.
    prefix = struct.pack("!BBIII", address.network.prefixlen, 0x80, FOREVER, FOREVER, 0)
    body += _option(3, prefix + address.network.network_address.packed)
    if servers:
        body += _option(25, struct.pack("!HI", 0, FOREVER) + servers)
    if step.searches:
        body += _option(31, struct.pack("!HI", 0, FOREVER) + _names(step.searches))
    pseudo = router.packed + ALL_NODES.packed + struct.pack("!II", len(body), ICMPV6)
    body = body[:2] + struct.pack("!H", _checksum(pseudo + body)) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), ICMPV6, 255)
    # Not from the bridge's own MAC address: it would be a stranger with its name.
    source = bytes((router_mac[0], *router_mac[1:5], router_mac[5] ^ 1))
    link = ALL_NODES_MAC + source + struct.pack("!H", IPV6)
    return link + header + router.packed + ALL_NODES.packed + body


def _option(kind: int, content: bytes) -> bytes:
    padded = content + bytes(-(2 + len(content)) % 8)
    return struct.pack("!BB", kind, (2 + len(padded)) // 8) + padded


def _names(domains: tuple[str, ...]) -> bytes:
    """As DNS writes them; those that it could not are left out."""
    written = b""
    for domain in domains:
        labels = [label.encode() for label in domain.strip(".").split(".")]
        if all(0 < len(label) < 64 for label in labels):
            written += b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    return written


def _checksum(data: bytes) -> int:
    padded = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def answer(message: bytes, step: Announce) -> bytes:
    """What DHCPv6's server says; nothing to what is none of its business."""
    if len(message) < 4:
        return b""
    kind, transaction = message[0], message[1:4]
    given = dict(_options(message[4:]))
    server = struct.pack("!HH", 3, 1) + bytes.fromhex(step.router_mac.replace(":", ""))
    if kind in NAMED and given.get(SERVER_ID) != server:
        return b""
    if kind not in NAMED | {SOLICIT, CONFIRM, REBIND, INFORMATION}:
        return b""
    if CLIENT_ID not in given and kind != INFORMATION:
        return b""
    told = _said(SERVER_ID, server)
    if CLIENT_ID in given:
        told += _said(CLIENT_ID, given[CLIENT_ID])
    if kind in (CONFIRM, RELEASE, DECLINE):
        told += _said(STATUS, bytes(2))
    elif IA_NA in given and len(given[IA_NA]) >= 12:
        address = IPv6Interface(step.address).ip.packed + struct.pack("!II", FOREVER, FOREVER)
        held = given[IA_NA][:4] + struct.pack("!II", FOREVER, FOREVER) + _said(IA_ADDRESS, address)
        told += _said(IA_NA, held)
    if step.nameservers:
        told += _said(DNS, b"".join(IPv6Address(each).packed for each in step.nameservers))
    if step.searches:
        told += _said(SEARCHES, _names(step.searches))
    at_once = kind == SOLICIT and RAPID in given
    if at_once:
        told += _said(RAPID, b"")
    reply = ADVERTISE if kind == SOLICIT and not at_once else REPLY
    return bytes((reply,)) + transaction + told


def _said(kind: int, content: bytes) -> bytes:
    return struct.pack("!HH", kind, len(content)) + content


def _options(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        kind, length = struct.unpack_from("!HH", data, at)
        if at + 4 + length > len(data):
            return
        yield kind, data[at + 4 : at + 4 + length]
        at += 4 + length
