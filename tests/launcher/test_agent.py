"""What a guest's agent says, whatever it is: cut to size, or refused in words."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from virtpod.launcher.agent import (
    ADDRESSES,
    INTERFACES,
    LOAD,
    Agent,
    FileSystem,
    Interface,
    Load,
    System,
    User,
    merged,
    text,
    understood,
)
from virtpod.launcher.hypervisor import Refused
from virtpod.wire.messages import AgentTold, AskAgent, DomainChanged, InterfaceSeen

KINDS = [list[Interface], list[User], list[FileSystem], System, Load, int, str]
NIC = InterfaceSeen(name="default", mac="02:00:00:00:00:0A")
json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=9,
)


def interfaces(said: object) -> list[Interface]:
    raw = msgspec.json.encode({"return": said}).decode()
    return [each.cut() for each in understood("x", raw, list[Interface])]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@settings(deadline=None)
@given(said=st.text(max_size=50) | json.map(lambda value: msgspec.json.encode(value).decode()))
def test_nonsense_is_refused_and_nothing_else_happens(kind: type, said: str) -> None:
    for each in (said, f'{{"return": {said}}}'):
        with contextlib.suppress(Refused):  # anything else is a bug
            understood("guest-ping", each, kind)
    for each in ("[" * 100_000, f'{{"x": {"[" * 100_000}', '{"return": {"x": "\ud800"}}'):
        with pytest.raises(Refused, match="guest-ping"):
            understood("guest-ping", each, kind)


def test_an_interface_that_both_know_is_one() -> None:
    said = [
        {"name": "lo", "hardware-address": "00:00:00:00:00:00"},
        {
            "name": "eth0",
            "hardware-address": "02:00:00:00:00:0a",
            "ip-addresses": [{"ip-address": "10.0.2.2", "prefix": 24, "ip-address-type": "ipv4"}],
            "statistics": {"rx-bytes": 1},
        },
        {"name": "br0", "hardware-address": "02:00:00:00:00:0a"},
        {"name": "tun0"},
    ]
    assert merged([NIC], interfaces(said)) == [
        InterfaceSeen(
            name="default",
            mac=NIC.mac,
            interface_name="eth0",
            addresses=["10.0.2.2"],
            source="domain, guest-agent",
        ),
        InterfaceSeen(name="", mac="02:00:00:00:00:0a", interface_name="br0", source="guest-agent"),
    ]


def test_much_is_cut() -> None:
    said = [
        {
            "name": "x" * 1000,
            "hardware-address": f"02:00:00:00:00:{index:02x}",
            "ip-addresses": [{"ip-address": "no address"}, *[{"ip-address": "::1"}] * 1000],
        }
        for index in range(200)
    ]
    whole = merged([NIC], interfaces(said))
    assert len(whole) == INTERFACES
    assert whole[0].name == "default"
    assert whole[0].source == "domain, guest-agent"  # found behind many others
    assert all(len(each.addresses) <= ADDRESSES for each in whole)
    assert len(msgspec.json.encode(whole)) < 32 * 1024


@given(st.text())
def test_a_text_is_short_and_moves_no_cursor(said: str) -> None:
    shown = text(said)
    assert len(shown) <= 255
    assert shown.isprintable()


async def test_a_card_that_has_gone_is_not_shown_as_the_guest_s_own() -> None:
    told = {
        "guest-get-osinfo": {"id": "debian"},
        "guest-network-get-interfaces": [
            {"name": "eth0", "hardware-address": NIC.mac.lower()},
            {"name": "eth1", "hardware-address": "02:00:00:00:00:0b"},
            {"name": "docker0", "hardware-address": "02:42:00:00:00:01"},
        ],
    }

    async def ask(command: str, _within: int) -> str:
        name = msgspec.json.decode(command)["execute"]
        if name not in told:
            raise Refused(name)
        return msgspec.json.encode({"return": told[name]}).decode()

    looked = asyncio.Event()
    agent = Agent(ask, looked.set, lambda: True)
    more = InterfaceSeen(name="more", mac="02:00:00:00:00:0B")
    domain = DomainChanged(seq=1, state="Running", interfaces=[NIC, more])

    def seen(domain: DomainChanged) -> list[tuple[str, str]]:
        return [(each.name, each.interface_name) for each in agent.onto(domain).interfaces]

    assert seen(domain) == [("default", ""), ("more", "")]
    agent.connected(True)
    await asyncio.wait_for(looked.wait(), 5)
    assert seen(domain) == [("default", "eth0"), ("more", "eth1"), ("", "docker0")]
    left = structs.replace(domain, interfaces=[NIC])
    assert seen(left) == [("default", "eth0"), ("", "docker0")]
    assert seen(left) == [("default", "eth0"), ("", "docker0")]
    # What the guest itself says then is believed again, a card of that address included.
    looked.clear()
    agent.connected(False)
    agent.connected(True)
    await asyncio.wait_for(looked.wait(), 10)
    assert seen(left) == [("default", "eth0"), ("", "eth1"), ("", "docker0")]
    agent.end()


@pytest.mark.parametrize("knows", [False, True])
async def test_load_is_asked_of_an_agent_that_knows_it(knows: bool) -> None:
    told = {
        "guest-info": {"supported_commands": [{"name": LOAD, "enabled": knows}]},
        "guest-get-osinfo": {"id": "debian"},
        "guest-network-get-interfaces": [],
        "guest-get-fsinfo": [],
        LOAD: {"load1m": 0.5, "load5m": 1, "load15m": 2.0},
    }
    asked: list[str] = []

    async def ask(command: str, _within: int) -> str:
        name = msgspec.json.decode(command)["execute"]
        asked.append(name)
        if name not in told:
            raise Refused(name)
        return msgspec.json.encode({"return": told[name]}).decode()

    seen = asyncio.Event()
    agent = Agent(ask, seen.set, lambda: True)
    agent.connected(True)
    await asyncio.wait_for(seen.wait(), 5)
    plain = await agent.answer(AskAgent(id=1, what="filesystems"))
    assert isinstance(plain, AgentTold)
    assert plain.load is None
    assert LOAD not in asked
    answer = await agent.answer(AskAgent(id=2, what="filesystems", load=True))
    assert isinstance(answer, AgentTold)
    assert answer.load == ((0.5, 1, 2) if knows else None)
    assert (LOAD in asked) == knows
    agent.end()
