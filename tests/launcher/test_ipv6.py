"""What a guest is told of its IPv6 router and address, and what it may send without harm."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtpod.domain.steps import Announce
from virtpod.launcher.steps import ipv6

STEP = Announce(
    "k6t-eth0",
    "ra-eth0",
    "fe80::1",
    "02:00:00:00:00:00",
    "fd10:0:2::2/120",
    1400,
    ("fd00:10:96::a",),
    ("default.svc.cluster.local", "with..nothing"),
)
CLIENT = bytes.fromhex("00030001020000000007")
SERVER = bytes.fromhex("00030001020000000000")


def message(kind: int, **options: bytes) -> bytes:
    given = {getattr(ipv6, name): content for name, content in options.items()}
    body = b"".join(struct.pack("!HH", k, len(v)) + v for k, v in given.items())
    return bytes((kind, 1, 2, 3)) + body


def told(answer: bytes) -> tuple[int, dict[int, bytes]]:
    assert answer[1:4] == b"\1\2\3", "the guest's own transaction"
    return answer[0], dict(ipv6._options(answer[4:]))


def test_a_router_advertisement_is_one() -> None:
    frame = ipv6.advertisement(STEP)
    ethernet, header, body = frame[:14], frame[14:54], frame[54:]
    assert ethernet[:6].hex() == "333300000001"
    assert ethernet[6:12].hex() != "020000000000", "not with the bridge's own name"
    assert header[7] == 255
    assert IPv6Address(header[8:24]) == IPv6Address("fe80::1")
    assert struct.unpack_from("!H", header, 4)[0] == len(body)
    pseudo = header[8:40] + struct.pack("!II", len(body), 58)
    assert ipv6._checksum(pseudo + body) == 0
    assert body[0] == 134
    assert body[5] == 0xC0, "addresses and more by DHCPv6"
    assert struct.unpack_from("!H", body, 6)[0] == 9000
    options, at = {}, 16
    while at < len(body):
        options[body[at]] = body[at : at + 8 * body[at + 1]]
        at += 8 * body[at + 1]
    assert options[1][2:8].hex() == "020000000000"
    assert options[5][-4:] == struct.pack("!I", 1400)
    assert (options[3][2], options[3][3]) == (120, 0x80), "on the link; none of its own making"
    assert IPv6Address(options[25][8:24]) == IPv6Address("fd00:10:96::a")
    assert options[31][8:].rstrip(b"\0") == b"\7default\3svc\7cluster\5local"


def test_an_address_is_leased_for_ever() -> None:
    ia = b"\0\0\0\7" + bytes(8)
    kind, offered = told(ipv6.answer(message(ipv6.SOLICIT, CLIENT_ID=CLIENT, IA_NA=ia), STEP))
    assert kind == ipv6.ADVERTISE
    assert (offered[ipv6.CLIENT_ID], offered[ipv6.SERVER_ID]) == (CLIENT, SERVER)
    for asks in (ipv6.REQUEST, ipv6.RENEW, ipv6.REBIND):
        asked = message(asks, CLIENT_ID=CLIENT, SERVER_ID=SERVER, IA_NA=ia)
        kind, given = told(ipv6.answer(asked, STEP))
        assert kind == ipv6.REPLY
        assert given[ipv6.IA_NA][:4] == b"\0\0\0\7"
        held = dict(ipv6._options(given[ipv6.IA_NA][12:]))[ipv6.IA_ADDRESS]
        assert IPv6Address(held[:16]) == IPv6Address("fd10:0:2::2")
        assert held[16:] == b"\xff" * 8
        assert given[ipv6.DNS] == IPv6Address("fd00:10:96::a").packed
    at_once = message(ipv6.SOLICIT, CLIENT_ID=CLIENT, IA_NA=ia, RAPID=b"")
    assert told(ipv6.answer(at_once, STEP))[0] == ipv6.REPLY


@pytest.mark.parametrize(
    "asked",
    [
        b"",
        b"\1\2",
        message(ipv6.REQUEST, CLIENT_ID=CLIENT, SERVER_ID=b"another"),
        message(ipv6.REQUEST, CLIENT_ID=CLIENT),
        message(ipv6.SOLICIT),
        message(ipv6.ADVERTISE, CLIENT_ID=CLIENT),
        message(99, CLIENT_ID=CLIENT),
    ],
)
def test_what_is_not_for_us_is_passed_over(asked: bytes) -> None:
    assert ipv6.answer(asked, STEP) == b""


@given(st.binary(max_size=300))
def test_nothing_that_a_guest_sends_does_harm(sent: bytes) -> None:
    ipv6.solicits(sent)
    for kind in range(13):
        ipv6.answer(bytes((kind,)) + sent, STEP)
