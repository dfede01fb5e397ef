"""Links and addresses by rtnetlink: the four requests that we need, in the calling thread's
network namespace.

pyroute2 does this and very much more; importing it costs each node nine megabytes.

Source: https://man7.org/linux/man-pages/man7/rtnetlink.7.html
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_address

NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP, NLM_F_EXCL, NLM_F_CREATE = 0x1, 0x4, 0x300, 0x200, 0x400
RTM_NEWLINK, RTM_GETLINK, RTM_NEWADDR, RTM_GETADDR = 16, 18, 20, 22
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO = 1, 3, 4, 10, 18
IFLA_INFO_KIND = 1
IFA_ADDRESS, IFA_LOCAL = 1, 2
IFF_UP = 0x1
GLOBAL = 0
"""The scope of addresses that others can reach."""

HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
LINK = struct.Struct("=BxHiII")  # family, type, index, flags, mask of the flags to change
ADDRESS = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
ATTRIBUTE = struct.Struct("=HH")  # length, type
WITHIN = 10.0
"""Seconds for the kernel, which answers at once."""
PIECE = 1 << 16
"""Bytes; the kernel makes its answers no longer than this."""

Attributes = dict[int, bytes]


@dataclass(frozen=True)
class Link:
    """A network interface. `master`: index of the bridge that it is in, 0 for none."""

    index: int
    name: str
    mac: str
    mtu: int
    master: int
    up: bool


class Route:
    """`with Route() as route:`; everything it does blocks and raises OSError."""

    def __init__(self) -> None:
        self._sequence = 0

    def __enter__(self) -> Route:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._socket.settimeout(WITHIN)
        self._socket.bind((0, 0))
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def links(self) -> list[Link]:
        found = []
        for body in self._ask(RTM_GETLINK, NLM_F_DUMP, LINK.pack(0, 0, 0, 0, 0)):
            _, _, index, flags, _ = LINK.unpack_from(body)
            known = _parsed(body[LINK.size :])
            found.append(
                Link(
                    index=index,
                    name=known[IFLA_IFNAME].rstrip(b"\0").decode(),
                    mac=known.get(IFLA_ADDRESS, b"").hex(":"),
                    mtu=_number(known.get(IFLA_MTU)),
                    master=_number(known.get(IFLA_MASTER)),
                    up=bool(flags & IFF_UP),
                )
            )
        return found

    def link(self, name: str) -> Link | None:
        return next((link for link in self.links() if link.name == name), None)

    def addresses(self, index: int, scope: int | None = None) -> list[str]:
        """In CIDR notation; those of one scope, or all."""
        found = []
        for body in self._ask(RTM_GETADDR, NLM_F_DUMP, ADDRESS.pack(0, 0, 0, 0, 0)):
            _, prefix, _, its_scope, its_index = ADDRESS.unpack_from(body)
            known = _parsed(body[ADDRESS.size :])
            packed = known.get(IFA_LOCAL) or known.get(IFA_ADDRESS)
            if packed and its_index == index and scope in (None, its_scope):
                found.append(f"{ip_address(packed)}/{prefix}")
        return found

    def add_bridge(self, name: str, mac: str, mtu: int) -> None:
        kind = _attribute(IFLA_LINKINFO, _attribute(IFLA_INFO_KIND, b"bridge"))
        body = LINK.pack(0, 0, 0, IFF_UP, IFF_UP) + _named(name) + _changes(mac, mtu) + kind
        self._ask(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, body)

    def change(
        self, index: int, *, mac: str = "", mtu: int = 0, master: int = 0, up: bool = False
    ) -> None:
        """Sets what is given, and nothing else."""
        flags = IFF_UP if up else 0
        body = LINK.pack(0, 0, index, flags, flags) + _changes(mac, mtu, master)
        self._ask(RTM_NEWLINK, NLM_F_ACK, body)

    def add_address(self, index: int, address: IPv4Interface | IPv6Interface) -> None:
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        body = ADDRESS.pack(family, address.network.prefixlen, 0, GLOBAL, index)
        body += _attribute(IFA_LOCAL, address.ip.packed) + _attribute(
            IFA_ADDRESS, address.ip.packed
        )
        self._ask(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, body)

    def _ask(self, kind: int, flags: int, body: bytes) -> list[bytes]:
        """The bodies of the answers, until the kernel says that it is done."""
        self._sequence += 1
        length = HEADER.size + len(body)
        head = HEADER.pack(length, kind, flags | NLM_F_REQUEST, self._sequence, 0)
        self._socket.send(head + body)
        answers: list[bytes] = []
        while True:
            for its_kind, answer in _messages(self._socket.recv(PIECE), self._sequence):
                if its_kind == NLMSG_DONE:
                    return answers
                if its_kind == NLMSG_ERROR:
                    (code,) = struct.unpack_from("=i", answer)
                    if code:
                        raise OSError(-code, os.strerror(-code))
                    return answers
                answers.append(answer)


def _messages(piece: bytes, sequence: int) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + HEADER.size <= len(piece):
        length, kind, _, its_sequence, _ = HEADER.unpack_from(piece, at)
        if length < HEADER.size:
            return
        if its_sequence == sequence:
            yield kind, piece[at + HEADER.size : at + length]
        at += _aligned(length)


def _parsed(body: bytes) -> Attributes:
    found: Attributes = {}
    at = 0
    while at + ATTRIBUTE.size <= len(body):
        length, kind = ATTRIBUTE.unpack_from(body, at)
        if length < ATTRIBUTE.size:
            break
        found[kind & 0x3FFF] = body[at + ATTRIBUTE.size : at + length]  # without its flags
        at += _aligned(length)
    return found


def _changes(mac: str, mtu: int, master: int = 0) -> bytes:
    body = b""
    if mac:
        body += _attribute(IFLA_ADDRESS, bytes.fromhex(mac.replace(":", "")))
    if mtu:
        body += _attribute(IFLA_MTU, struct.pack("=I", mtu))
    if master:
        body += _attribute(IFLA_MASTER, struct.pack("=I", master))
    return body


def _named(name: str) -> bytes:
    return _attribute(IFLA_IFNAME, name.encode() + b"\0")


def _attribute(kind: int, value: bytes) -> bytes:
    length = ATTRIBUTE.size + len(value)
    return ATTRIBUTE.pack(length, kind) + value + bytes(_aligned(length) - length)


def _number(value: bytes | None) -> int:
    return struct.unpack("=I", value)[0] if value else 0


def _aligned(length: int) -> int:
    return (length + 3) & ~3
