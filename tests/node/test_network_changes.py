"""All that each binding changes in a pod's network namespace: a real one, made and looked at before
and after the real steps. What is different is a golden, `network/<case>.txt`; nothing else is.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.conftest import Golden
from tests.node.test_steps import BLUE, NAD, Pod
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.domain.facts import Host
from virtpod.node import facts
from virtpod.node.steps import carry_out
from virtpod.render import host

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
    pytest.mark.skipif(not shutil.which("nft"), reason="needs nft"),
]

HERE = Path(__file__).with_name("network")
POD: dict[str, Any] = {"name": "default", "pod": {}}
MULTUS: dict[str, Any] = {"name": "blue", "multus": NAD}
MASKED: dict[str, Any] = {"name": "default", "masquerade": {}}
CASES: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {
    "masquerade": [({**MASKED, "ports": [{"port": 80}]}, POD)],
    "bridge": [({"name": "default", "bridge": {}}, POD)],
    "passt": [({"name": "default", "passtBinding": {}}, POD)],
    "secondary-bridge": [({"name": "blue", "bridge": {}}, MULTUS)],
    "sriov": [({"name": "blue", "sriov": {}}, MULTUS)],
    "plugin-managed-tap": [({"name": "blue", "binding": {"name": "managed"}}, MULTUS)],
    "plugin-tap": [({"name": "blue", "binding": {"name": "by-cni"}}, MULTUS)],
    "plugin-side-car": [({"name": "blue", "binding": {"name": "side-car"}}, MULTUS)],
}
KNOWN = Host("node1", bindings={"managed": "managedTap", "by-cni": "tap", "side-car": ""})
MAKE = """
ip link add {name} address {mac} mtu 1400 type veth peer name {far} address {far_mac}
ip addr add {address} dev {name}
ip addr add {address6} dev {name} nodad
ip link set {far} up; ip link set {name} up
"""
REST = """
ip link set lo up
ip route add default via 10.1.0.1
ip route add default via fd00:1::1
ip route add 10.8.0.0/16 via 10.1.0.9
ip rule add fwmark 7 table 77
ip route add 10.9.0.0/16 via 10.1.0.9 table 77
ip neigh add 10.1.0.9 lladdr 02:00:00:00:09:09 dev eth0 nud permanent
nft 'add table ip mesh; add chain ip mesh out {{ type nat hook output priority 0; }}'
"""
LINKS = (
    ("eth0", "far0", "10.1.0.7/24", "fd00:1::7/64"),
    (BLUE, "far1", "10.2.0.7/24", "fd00:2::7/64"),
)


@pytest.fixture
def pod() -> Iterator[Pod]:
    """With two links, as CNI plugins make them, and what others may have put beside them."""
    made = Pod()
    for number, (name, far, address, address6) in enumerate(LINKS):
        macs = {"mac": f"02:00:00:00:0{number}:07", "far_mac": f"02:00:00:00:0{number}:01"}
        made.run(
            *("sh", "-ec"),
            MAKE.format(name=name, far=far, address=address, address6=address6, **macs),
        )
    made.run("sh", "-ec", REST.format())
    yield made
    made.process.kill()
    made.process.wait()


def machine(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> VirtualMachineInstance:
    spec = {
        "domain": {"devices": {"interfaces": [nic for nic, _ in pairs]}},
        "networks": [network for _, network in pairs],
    }
    return msgspec.convert({"metadata": {"uid": "u-1"}, "spec": spec}, VirtualMachineInstance)


def make(pod: Pod, vmi: VirtualMachineInstance) -> None:
    pod.inside(lambda: carry_out(host.host(vmi, facts.probe(KNOWN, vmi))))


def seen(pod: Pod) -> list[str]:
    """A line for each thing: links, addresses, routes, rules, neighbours, nft, settings."""
    return [*_links(pod), *_addresses(pod), *_routes(pod), *_rules(pod), *_settings(pod)]


def _links(pod: Pod) -> Iterator[str]:
    for link in pod.json("ip", "-d", "-j", "link"):
        kind = link.get("linkinfo", {}).get("info_kind", "")
        port = link.get("linkinfo", {}).get("info_slave_data", {})
        # A tap device's is drawn by lot, and a bridge takes its ports', unless it was given one.
        drawn = kind == "tun" or re.match("k6t-(?!kept)", link["ifname"])
        given = not drawn or link["address"] == "02:00:00:00:00:00"
        parts = [
            f"link {link['ifname']}: {kind} mtu {link['mtu']}",
            link["address"] if given else "",
            f"in {link['master']}" if "master" in link else "",
            "not learning" if port.get("learning") is False else "",
            "up" if "UP" in link["flags"] else "down",
            link.get("ifalias", ""),
        ]
        yield " ".join(part for part in parts if part)


def _addresses(pod: Pod) -> Iterator[str]:
    for link in pod.json("ip", "-j", "addr"):
        for each in link["addr_info"]:
            # The kernel makes a link's own by its MAC address, when it is up.
            if (
                each["scope"] != "link"
                or not each["local"].startswith("fe80::")
                or each["local"] == "fe80::1"
            ):
                yield f"address {link['ifname']}: {each['local']}/{each['prefixlen']}"


def _routes(pod: Pod) -> Iterator[str]:
    for family in ("-4", "-6"):
        for line in pod.run("ip", family, "route", "show", "table", "all").splitlines():
            words = re.sub(r"\b(linkdown|dead|pref medium|metric 256)\b", "", line).split()
            if not {"fe80::/64", "ff00::/8", "multicast"} & set(words) and "fe80::" not in line:
                yield "route " + " ".join(words)
        for line in pod.run("ip", family, "rule").splitlines():
            yield f"rule {family} {' '.join(line.split())}"
    for each in pod.json("ip", "-j", "neigh", "show", "nud", "permanent"):
        yield f"neighbour {each['dst']} {each['lladdr']} dev {each['dev']}"


def _rules(pod: Pod) -> Iterator[str]:
    table = chain = ""
    for line in pod.run("nft", "list", "ruleset").splitlines():
        words = line.split()
        if words[:1] == ["table"]:
            table = " ".join(words[1:-1])
            yield f"nft {table}"
        elif words[:1] == ["chain"]:
            chain = words[1]
            yield f"nft {table} {chain}"
        elif words and words != ["}"]:
            yield f"nft {table} {chain}: {' '.join(words)}"


SETTINGS = """
import os
for folder, _, files in sorted(os.walk("/proc/sys/net")):
    if "/neigh" not in folder:
        for file in sorted(files):
            try:
                told = " ".join(open(f"{folder}/{file}").read().split())
            except (OSError, UnicodeDecodeError):
                continue
            print(f"{folder}/{file}".removeprefix("/proc/sys/net/"), told)
"""
RESTLESS = ("stable_secret", "nf_conntrack_count", "tcp_fastopen_key")


def _settings(pod: Pod) -> Iterator[str]:
    """Of links, those that are not what a new link has."""
    lines = pod.run(sys.executable, "-I", "-S", "-c", SETTINGS).splitlines()
    values = dict(line.partition(" ")[::2] for line in lines)
    for key, value in values.items():
        found = re.fullmatch(r"(ipv[46]/conf)/(?!all/|default/)[^/]+/(.*)", key)
        usual = found and (
            found[2] == "mtu" or value == values.get(f"{found[1]}/default/{found[2]}")
        )
        if not usual and not any(word in key for word in RESTLESS):
            yield f"setting {key} = {value}"


def changes(before: list[str], after: list[str]) -> str:
    """Each line that went or came, in the order of things."""
    compared = difflib.ndiff(before, after)
    return "".join(f"{line}\n" for line in compared if line[:1] in "+-")


@pytest.mark.parametrize("case", CASES)
def test_what_a_binding_changes_is_all_in_its_golden(pod: Pod, case: str, golden: Golden) -> None:
    vmi = machine(CASES[case])
    before = seen(pod)
    make(pod, vmi)
    after = seen(pod)
    golden.check(HERE / f"{case}.txt", changes(before, after))
    make(pod, vmi)
    assert changes(after, seen(pod)) == "", "a second time changes nothing"


def test_nothing_is_left_of_a_card_that_is_taken_away(pod: Pod, golden: Golden) -> None:
    """But the link itself, bare, which is the CNI's to take away, and two settings."""
    before = seen(pod)
    make(pod, machine(CASES["secondary-bridge"]))
    nic, network = CASES["secondary-bridge"][0]
    gone = machine([({**nic, "state": "absent"}, network)])
    pod.inside(lambda: carry_out(host.leftovers(gone)))
    golden.check(HERE / "taken-away.txt", changes(before, seen(pod)))
    pod.run("ip", "link", "del", BLUE)
    assert "blue" not in (left := " ".join(changes(before, seen(pod)))), left
