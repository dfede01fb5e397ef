"""What a kernel need not have: where it has it, it is put to use; where not, docs/gaps.md says that
it was not seen. Either way something is held to be true.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node.test_steps import Pod, bridged
from virtpod.wire.messages import Link

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
    pytest.mark.skipif(not shutil.which("nft"), reason="needs nft"),
]

GAPS = Path(__file__).resolve().parents[2] / "docs" / "gaps.md"
VLAN = "100"
VHOST_SET_OWNER = 0xAF01


@pytest.fixture
def node() -> Iterator[Pod]:
    made = Pod()
    yield made
    made.process.kill()
    made.process.wait()


@pytest.fixture
def pod() -> Iterator[Pod]:
    made = Pod()
    yield made
    made.process.kill()
    made.process.wait()


def made(place: Pod, *command: str) -> bool:
    """Whether the kernel does it; any refusal but the kernel's own ignorance is an error."""
    try:
        place.run(*command)
    except subprocess.CalledProcessError as error:
        if not any(word in error.stderr for word in ("Unknown device type", "not supported")):
            raise
        return False
    return True


def answered(node: Pod, pod: Pod, link: Link) -> str:
    """What a node says of a closed port of a guest that stands in a namespace of its own."""
    guest = Pod()
    try:
        pod.run("sh", "-c", "ip link add g0 type veth peer name g1; ip link set g1 up")
        pod.run("ip", "link", "set", "g1", "master", "k6t-eth0")
        pod.run("ip", "link", "set", "g0", "netns", str(guest.process.pid))
        address = f"ip addr add {link.addresses[0]} dev g0"
        guest.run("sh", "-c", f"ip link set g0 address {link.mac} up; {address}")
        asks = "import socket as s; c = s.create_connection(('10.1.0.7', 9), 10)"
        with pytest.raises(subprocess.CalledProcessError) as refused:
            node.run(sys.executable, "-c", asks)
        return str(refused.value.stderr)
    finally:
        guest.process.kill()
        guest.process.wait()


def test_a_guest_on_a_vlan_of_the_node_s_bridge(node: Pod, pod: Pod) -> None:
    """As CNI's plugin bridge makes it for `"vlan": 100`: the pod's port is of that VLAN alone, and
    the node is in it by a link of its own."""
    pod.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "host0")
    pod.run("sh", "-c", "ip addr add 10.1.0.7/24 dev eth0; ip link set eth0 up")
    pod.run("ip", "link", "set", "host0", "netns", str(node.process.pid))
    node.run("ip", "link", "add", "lan", "type", "bridge")
    filters = made(node, "ip", "link", "set", "lan", "type", "bridge", "vlan_filtering", "1")
    tags = made(
        node, "ip", "link", "add", "link", "lan", "name", "tagged", "type", "vlan", "id", VLAN
    )
    if not (filters and tags):
        assert "neither 802.1Q links nor bridges that filter VLANs" in GAPS.read_text()
        return
    node.run("sh", "-c", "ip link set host0 master lan up; ip link set lan up")
    node.run("bridge", "vlan", "del", "dev", "host0", "vid", "1")
    node.run("bridge", "vlan", "add", "dev", "host0", "vid", VLAN, "pvid", "untagged")
    node.run("bridge", "vlan", "add", "dev", "lan", "vid", VLAN, "self")
    node.run("sh", "-c", "ip addr add 10.1.0.1/24 dev tagged; ip link set tagged up")
    link = pod.inside(bridged)
    assert "Connection refused" in answered(node, pod, link)
    node.run("bridge", "vlan", "del", "dev", "host0", "vid", VLAN)
    assert "Connection refused" not in answered(node, pod, link), "it is not of the VLAN any more"


def test_no_binding_wants_a_link_of_kind_dummy(pod: Pod) -> None:
    """KubeVirt keeps a pod's addresses on one; a kernel without it makes no difference here."""
    has = made(pod, "ip", "link", "add", "dummy7", "type", "dummy")
    pod.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "host0")
    pod.run(
        "sh", "-c", "ip addr add 10.1.0.7/24 dev eth0; ip link set host0 up; ip link set eth0 up"
    )
    pod.inside(bridged)
    kinds = {
        link["ifname"]: link.get("linkinfo", {}).get("info_kind")
        for link in pod.json("ip", "-d", "-j", "link")
    }
    assert kinds["k6t-kept"] == "bridge"
    assert [name for name, kind in kinds.items() if kind == "dummy"] == ["dummy7"] * has


def test_vhost_net_works_or_is_said_not_to_have_been_seen() -> None:
    """libvirt gives it to a guest's card by itself, where the node offers it."""
    try:
        handle = os.open("/dev/vhost-net", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        assert "no guest was seen with vhost-net" in GAPS.read_text()
        return
    try:
        fcntl.ioctl(handle, VHOST_SET_OWNER)
    finally:
        os.close(handle)
