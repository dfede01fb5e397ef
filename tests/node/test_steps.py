"""The privileged steps, for real: in a network namespace that the test makes and leaves behind."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from virtpod.api.vmi import VirtualMachineInstance
from virtpod.domain.facts import Host, PodLink
from virtpod.domain.steps import Bridge, Nft, Sysctl, Tap
from virtpod.node import facts
from virtpod.node.steps import carry_out, netns, nft, sysctl
from virtpod.render import host
from virtpod.wire.messages import Link, Route

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
    pytest.mark.skipif(not shutil.which("nft"), reason="needs nft"),
]

VMI = msgspec.convert(
    {
        "metadata": {"namespace": "default", "name": "demo", "uid": "u-1"},
        "spec": {
            "domain": {"devices": {"interfaces": [{"name": "default", "masquerade": {}}]}},
            "networks": [{"name": "default", "pod": {}}],
        },
    },
    VirtualMachineInstance,
)
STEPS = (
    Bridge("k6t-eth0", "02:00:00:00:00:00", 1400, ("10.0.2.1/24",)),
    Tap("tap0", "k6t-eth0", 1400, 107),
    Sysctl("net.ipv4.ip_forward", "1"),
    Sysctl("net.ipv4.conf.k6t-eth0.route_localnet", "1"),
    Nft(
        "ip",
        "kubevirt",
        "chain pre {\n  type nat hook prerouting priority dstnat; policy accept;\n"
        '  iifname "eth0" dnat to 10.0.2.2\n}\n',
    ),
)


class Pod:
    """A process in a network namespace of its own, with an eth0 as a CNI makes it."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(["unshare", "-n", "sleep", "1000"])
        self.run("true")

    def run(self, *command: str) -> str:
        """Runs it there; `unshare` needs a moment until it has made the namespace."""
        own = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{self.process.pid}/ns/net") == own:
            assert self.process.poll() is None
        enter = ["nsenter", "-t", str(self.process.pid), "-n", *command]
        return subprocess.run(enter, check=True, capture_output=True, text=True).stdout

    def json(self, *command: str) -> Any:
        return json.loads(self.run(*command))

    def inside(self, work: Callable[[], Any]) -> Any:
        async def entered() -> Any:
            handle = netns.of(self.process.pid)
            try:
                return await netns.inside(handle, work)
            finally:
                os.close(handle)

        return asyncio.run(entered())

    def state(self) -> tuple[Any, ...]:
        """All that steps can change."""
        links = self.json("ip", "-d", "-j", "link")
        addresses = self.json("ip", "-j", "addr")
        for link in links:
            for part in ("info_data", "info_slave_data"):
                data = link.get("linkinfo", {}).get(part, {})
                for name in [name for name in data if "timer" in name or name == "state"]:
                    del data[name]  # they run, or settle by themselves
        for link in (*links, *addresses):
            del link["operstate"]
            link["flags"] = sorted({*link["flags"]} - {"LOWER_UP", "NO-CARRIER"})
        for link in addresses:
            # The kernel gives a link its own once it is up.
            link["addr_info"] = [at for at in link["addr_info"] if at["scope"] != "link"]
        return (
            links,
            addresses,
            self.run("nft", "-s", "list", "ruleset"),
            self.run("cat", "/proc/sys/net/ipv4/ip_forward"),
        )


@pytest.fixture
def pod() -> Iterator[Pod]:
    made = Pod()
    made.run("ip", "link", "add", "eth0", "mtu", "1400", "type", "veth", "peer", "name", "host0")
    made.run("ip", "addr", "add", "10.1.0.7/24", "dev", "eth0")
    for name in ("eth0", "host0", "lo"):
        made.run("ip", "link", "set", name, "up")
    yield made
    made.process.kill()
    made.process.wait()


def test_the_pod_s_link_is_found(pod: Pod) -> None:
    found = pod.inside(lambda: facts.probe(Host("node1"), VMI))
    link = found.links["default"]
    assert (link.name, link.mtu, link.addresses) == ("eth0", 1400, ("10.1.0.7/24",))
    assert link.mac.count(":") == 5


def test_steps_make_what_they_name(pod: Pod) -> None:
    pod.inside(lambda: carry_out(STEPS))
    links = {link["ifname"]: link for link in pod.json("ip", "-d", "-j", "link")}
    assert links["k6t-eth0"]["address"] == "02:00:00:00:00:00"
    assert links["k6t-eth0"]["mtu"] == 1400
    assert "UP" in links["k6t-eth0"]["flags"]
    assert links["tap0"]["master"] == "k6t-eth0"
    assert links["tap0"]["mtu"] == 1400
    assert links["tap0"]["linkinfo"]["info_data"]["persist"]
    addresses = pod.json("ip", "-j", "addr", "show", "k6t-eth0")[0]["addr_info"]
    assert "10.0.2.1" in [address["local"] for address in addresses]
    assert "dnat to 10.0.2.2" in pod.run("nft", "list", "table", "ip", "kubevirt")
    assert pod.run("cat", "/proc/sys/net/ipv4/ip_forward") == "1\n"


def test_a_second_run_changes_nothing(pod: Pod) -> None:
    pod.inside(lambda: carry_out(STEPS))
    before = pod.state()
    pod.inside(lambda: carry_out(STEPS))
    assert pod.state() == before


def test_a_half_made_state_is_completed(pod: Pod) -> None:
    pod.run("ip", "link", "add", "k6t-eth0", "type", "bridge")
    pod.run("nft", "add table ip kubevirt; add chain ip kubevirt old")
    pod.inside(lambda: carry_out(STEPS))
    assert "old" not in pod.run("nft", "list", "table", "ip", "kubevirt")
    assert pod.json("ip", "-j", "link", "show", "k6t-eth0")[0]["address"] == "02:00:00:00:00:00"


def test_what_a_vmi_asks_for_is_made(pod: Pod) -> None:
    def make() -> list[Any]:
        found = facts.probe(Host("node1"), VMI)
        carry_out(host.host(VMI, found))
        return host.links(VMI, found)

    [link] = pod.inside(make)
    assert (link.name, link.tap, link.mtu) == ("default", "tap0", 1400)
    assert "masquerade" in pod.run("nft", "list", "table", "ip", "kubevirt")
    assert "tap0" in [each["ifname"] for each in pod.json("ip", "-j", "link")]


LISTENS = """
import socket
listening = socket.create_server(("::", 9), family=socket.AF_INET6)
print(flush=True)
spoken, peer = listening.accept()
print(peer[0], spoken.getsockname()[0])
"""
ASKS = "import socket as s; s.create_connection(('%s', 9), 10).recv(1)"


def spoke(asking: Pod, answering: Pod, address: str) -> str:
    """A TCP connection's two addresses, as who answers sees them."""
    enter = ["nsenter", "-t", str(answering.process.pid), "-n", sys.executable, "-c", LISTENS]
    with subprocess.Popen(enter, stdout=subprocess.PIPE, text=True) as listening:
        assert listening.stdout
        listening.stdout.readline()
        try:
            asking.run(sys.executable, "-c", ASKS % address)
            return listening.communicate(timeout=10)[0]
        finally:
            listening.kill()


def test_a_pod_s_ipv6_is_translated_too(pod: Pod) -> None:
    """A guest in a namespace of its own is told of its router, and reaches out as the pod."""
    pod.run("ip", "addr", "add", "fd00:1::7/64", "dev", "eth0", "nodad")
    pod.run("ip", "route", "add", "default", "via", "fd00:1::1")
    pod.run("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6")

    def made() -> Any:
        found = facts.probe(Host("node1"), VMI)
        carry_out(host.host(VMI, found))
        return host.links(VMI, found)

    [link] = pod.inside(made)
    before = arranged(pod)
    assert pod.inside(made) == [link], "a virt-handler that begins anew finds it"
    assert arranged(pod) == before
    assert "fd10:0:2::2" in pod.run("nft", "list", "table", "ip6", "kubevirt")
    pod.run("sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/default/disable_ipv6")
    node, guest = Pod(), Pod()
    try:
        pod.run("ip", "link", "set", "host0", "netns", str(node.process.pid))
        node.run("ip", "addr", "add", "fd00:1::1/64", "dev", "host0", "nodad")
        node.run("ip", "link", "set", "host0", "up")
        pod.run("sh", "-c", "ip link add g0 type veth peer name g1; ip link set g1 up")
        pod.run("ip", "link", "set", "g1", "master", "k6t-eth0")
        pod.run("ip", "link", "set", "g0", "netns", str(guest.process.pid))
        guest.run("ip", "link", "set", "g0", "up")
        guest.run("ip", "addr", "add", "fd10:0:2::2/120", "dev", "g0", "nodad")
        guest.run("ip", "route", "add", "default", "via", "fe80::1", "dev", "g0")
        assert spoke(node, guest, "fd00:1::7").split() == ["fd00:1::1", "fd10:0:2::2"]
        assert spoke(guest, node, "fd00:1::1").split() == ["fd00:1::7", "fd00:1::1"]
    finally:
        for each in (node, guest):
            each.process.kill()
            each.process.wait()


def test_the_node_s_own_namespace_is_refused() -> None:
    with pytest.raises(PermissionError):
        netns.of(os.getpid())


def test_the_node_is_left_alone(pod: Pod) -> None:
    before = subprocess.run(["ip", "-j", "link"], capture_output=True, check=True).stdout
    names = [link["ifname"] for link in json.loads(before)]
    pod.inside(lambda: carry_out(STEPS))
    after = subprocess.run(["ip", "-j", "link"], capture_output=True, check=True).stdout
    assert [link["ifname"] for link in json.loads(after)] == names
    assert "k6t-eth0" not in names


def test_nft_says_what_is_wrong(pod: Pod) -> None:
    with pytest.raises(OSError, match="syntax error"):
        pod.inside(lambda: nft.replace(Nft("ip", "kubevirt", "chain x {\n  nonsense\n}\n")))
    assert "kubevirt" not in pod.run("nft", "list", "ruleset")


@pytest.mark.parametrize("key", ["kernel.core_pattern", "net..x", "net.ipv4.x/../../y"])
def test_only_network_settings_are_written(key: str) -> None:
    with pytest.raises(ValueError, match="not a network setting"):
        sysctl.write(Sysctl(key, "1"))


def test_a_pod_without_a_link(pod: Pod) -> None:
    pod.run("ip", "link", "del", "eth0")
    assert pod.inside(lambda: facts.probe(Host("node1"), VMI)) == Host(node="node1", links={})
    assert PodLink().mtu == 1500


def with_binding(binding: str) -> VirtualMachineInstance:
    spec = {
        "domain": {"devices": {"interfaces": [{"name": "default", binding: {}}]}},
        "networks": [{"name": "default", "pod": {}}],
    }
    metadata = {"namespace": "default", "name": "demo", "uid": "u-1"}
    return msgspec.convert({"metadata": metadata, "spec": spec}, VirtualMachineInstance)


BRIDGED, PASST = with_binding("bridge"), with_binding("passtBinding")


NAD = {"networkName": "blue"}
BLUE = "pod16477688c0e"


def bridged() -> Any:
    """What virt-handler does, and what it tells the launcher."""
    found = facts.probe(Host("node1"), BRIDGED)
    carry_out(host.host(BRIDGED, found))
    [link] = host.links(BRIDGED, found)
    return link


def test_a_guest_gets_what_the_pod_had(pod: Pod) -> None:
    pod.run("ip", "addr", "add", "fd00:1::7/64", "dev", "eth0", "nodad")
    pod.run("ip", "route", "add", "default", "via", "10.1.0.1")
    pod.run("ip", "route", "add", "169.254.1.1", "dev", "eth0")
    [before] = pod.json("ip", "-j", "link", "show", "eth0")
    link = pod.inside(bridged)
    assert (link.tap, link.mac, link.mtu) == ("tap0", before["address"], 1400)
    assert link.addresses == ("10.1.0.7/24", "fd00:1::7/64")
    assert set(link.routes) == {Route("0.0.0.0/0", "10.1.0.1"), Route("169.254.1.1/32")}
    [now] = pod.json("ip", "-j", "-4", "addr", "show", "eth0") or [{"addr_info": []}]
    assert not now.get("addr_info")
    links = {each["ifname"]: each for each in pod.json("ip", "-j", "link")}
    assert links["eth0"]["address"] != before["address"]
    assert links["eth0"]["master"] == links["tap0"]["master"] == "k6t-eth0"
    assert {"UP"} <= set(links["eth0"]["flags"])

    after = arranged(pod)
    assert pod.inside(bridged) == link, "a virt-handler that begins anew finds it"
    assert arranged(pod) == after


def test_each_network_has_links_of_its_own(pod: Pod) -> None:
    """A secondary network's link has the name that follows from the network's."""
    spec = {
        "domain": {
            "devices": {
                "interfaces": [
                    {"name": "blue", "bridge": {}},
                    {"name": "default", "masquerade": {}},
                ]
            }
        },
        "networks": [{"name": "default", "pod": {}}, {"name": "blue", "multus": NAD}],
    }
    vmi = msgspec.convert({"metadata": {"uid": "u-1"}, "spec": spec}, VirtualMachineInstance)
    pod.run("ip", "link", "add", BLUE, "mtu", "1300", "type", "veth", "peer", "name", "blue0")
    pod.run("sh", "-c", f"ip link set {BLUE} up; ip link set blue0 up")

    def made() -> Any:
        found = facts.probe(Host("node1"), vmi)
        carry_out(host.host(vmi, found))
        return host.links(vmi, found)

    blue, default = pod.inside(made)
    assert (default.tap, default.bridge, default.mtu) == ("tap0", "k6t-eth0", 1400)
    assert (blue.tap, blue.bridge, blue.mtu) == ("tap16477688c0e", "k6t-16477688c0e", 1300)
    links = {each["ifname"]: each for each in pod.json("ip", "-j", "link")}
    assert links[BLUE]["master"] == links[blue.tap]["master"] == blue.bridge
    assert "master" not in links["eth0"]
    assert pod.inside(made) == [blue, default], "a virt-handler that begins anew finds it"


@pytest.mark.parametrize("make", ["masqueraded", "bridged", "by passt"])
def test_the_pod_s_link_may_have_another_name(pod: Pod, make: str) -> None:
    pod.run("ip", "route", "add", "default", "via", "10.1.0.1")
    pod.run("ip", "link", "set", "eth0", "down")
    pod.run("ip", "link", "set", "eth0", "name", "net7", "up")
    pod.run("ip", "route", "add", "default", "via", "10.1.0.1")
    vmi = {"masqueraded": VMI, "bridged": BRIDGED, "by passt": PASST}[make]

    def made() -> Any:
        found = facts.probe(Host("node1"), vmi)
        carry_out(host.host(vmi, found))
        return found.links["default"], host.links(vmi, found)

    first = pod.inside(made)
    assert first[0].name == "net7"
    if vmi is VMI:
        assert 'iifname "net7"' in pod.run("nft", "list", "table", "ip", "kubevirt")
    if vmi is PASST:
        assert first[1] == [Link(name="default", tap="", device="net7")]
    assert pod.inside(made) == first, "a virt-handler that begins anew finds it"


def arranged(pod: Pod) -> list[tuple[Any, ...]]:
    """Each link's name, address, bridge and lasting IP addresses."""
    return [
        (
            link["ifname"],
            link.get("address"),
            link.get("master"),
            [each["local"] for each in link["addr_info"] if each["scope"] == "global"],
        )
        for link in pod.json("ip", "-j", "addr")
    ]


@pytest.mark.parametrize("done", range(4))
def test_a_virt_handler_that_was_interrupted_loses_nothing(pod: Pod, done: int) -> None:
    """After its keeper was begun; has an address; has all, and the interface still its own; and
    bared of it."""
    pod.run("ip", "route", "add", "default", "via", "10.1.0.1")
    [before] = pod.json("ip", "-j", "link", "show", "eth0")
    stages = (
        ("ip", "link", "add", "k6t-kept", "type", "bridge"),
        ("ip", "addr", "add", "10.1.0.7/24", "dev", "k6t-kept"),
    )
    if done < 2:
        for stage in stages[: done + 1]:
            pod.run(*stage)
    else:
        pod.inside(bridged)
        if done == 2:
            pod.run("ip", "addr", "add", "10.1.0.7/24", "dev", "eth0")
            pod.run("ip", "link", "set", "eth0", "nomaster")
    link = pod.inside(bridged)
    assert (link.mac, link.addresses) == (before["address"], ("10.1.0.7/24",))
    assert link.routes == (Route("0.0.0.0/0", "10.1.0.1"),)


@pytest.fixture
def beside(pod: Pod) -> Iterator[tuple[Pod, Pod]]:
    """Two more namespaces: for the node, whose bridge sends frames back where they came from as the
    CNI plugin's does with hairpinMode, and for a guest by bridge."""
    node, guest = Pod(), Pod()
    try:
        node.run("true")
        guest.run("true")
        pod.run("ip", "link", "set", "host0", "netns", str(node.process.pid))
        node.run("ip", "link", "add", "cni0", "type", "bridge")
        node.run("sh", "-c", "ip addr add 10.1.0.1/24 dev cni0; ip link set cni0 up")
        node.run(
            "sh", "-c", "ip link set host0 master cni0 up; bridge link set dev host0 hairpin on"
        )
        link = pod.inside(bridged)
        pod.run("sh", "-c", "ip link add g0 type veth peer name g1; ip link set g1 up")
        pod.run("ip", "link", "set", "g1", "master", "k6t-eth0")
        pod.run("ip", "link", "set", "g0", "netns", str(guest.process.pid))
        address = f"ip addr add {link.addresses[0]} dev g0"
        guest.run("sh", "-c", f"ip link set g0 address {link.mac} up; {address}")
        yield node, guest
    finally:
        for each in (node, guest):
            each.process.kill()
            each.process.wait()


def asked(who: Pod, whom: str) -> str:
    """What a connection to a closed port says."""
    asks = f"import socket as s; c = s.create_connection(('{whom}', 9), 10)"
    with pytest.raises(subprocess.CalledProcessError) as refused:
        who.run(sys.executable, "-c", asks)
    return str(refused.value.stderr)


def test_a_bridged_guest_is_reached_at_the_pod_s_address(pod: Pod, beside: tuple[Pod, Pod]) -> None:
    node, guest = beside
    assert "Connection refused" in asked(node, "10.1.0.7")
    [neighbour] = node.json("ip", "-j", "neigh", "show", "10.1.0.7")
    [own] = guest.json("ip", "-j", "link", "show", "g0")
    assert neighbour["lladdr"] == own["address"], "the guest answered, not the pod"


def test_a_bridged_guest_that_speaks_first_is_answered(pod: Pod, beside: tuple[Pod, Pod]) -> None:
    _, guest = beside
    assert "Connection refused" in asked(guest, "10.1.0.1")
