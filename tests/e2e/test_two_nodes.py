"""Guests on different nodes reach each other, each by the other's pod address: one behind its pod,
by masquerade, one in its pod's place, by bridge."""

from __future__ import annotations

import pytest

from tests.e2e.support import Console, Namespace, Object, kubectl, vm

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NODES = ("node1", "node2")
BINDINGS = {"node1": {"masquerade": {}}, "node2": {"bridge": {}}}
OPTIONS = {"ntpServers": ["192.0.2.42"], "privateOptions": [{"option": 240, "value": "from us"}]}


def machine(node: str) -> Object:
    made = vm(f"on-{node}", nodeSelector={"kubernetes.io/hostname": node})
    devices = made["spec"]["template"]["spec"]["domain"]["devices"]
    devices["interfaces"] = [{"name": "default", **BINDINGS[node], "dhcpOptions": OPTIONS}]
    return made


@pytest.fixture(scope="module")
def guests(namespace: Namespace) -> dict[str, Object]:
    """A VMI on each node, by the node's name."""
    namespace.apply(*(machine(node) for node in NODES))
    return {node: namespace.running(f"on-{node}") for node in NODES}


@pytest.mark.shows("nodeSelector")
def test_each_is_where_it_is_wanted(guests: dict[str, Object]) -> None:
    assert {node: vmi["status"]["nodeName"] for node, vmi in guests.items()} == {
        node: node for node in NODES
    }


@pytest.mark.parametrize(("here", "there"), [NODES, NODES[::-1]])
def test_guests_reach_each_other(
    namespace: Namespace, guests: dict[str, Object], here: str, there: str
) -> None:
    address = guests[there]["status"]["interfaces"][0]["ipAddress"]
    with Console(namespace.name, f"on-{there}") as other:
        other.login()
    with Console(namespace.name, f"on-{here}") as console:
        said = console.login().run(f"wget -q -T 20 -O - http://{address}/")
    assert said == f"hello from on-{there}"


@pytest.mark.shows("domain.devices.interfaces.bridge")
def test_a_bridged_guest_is_in_its_pod_s_place(
    namespace: Namespace, guests: dict[str, Object]
) -> None:
    vmi = guests["node2"]
    pod = namespace.launcher(vmi)
    address = pod["status"]["podIP"]
    [interface] = namespace.running("on-node2")["status"]["interfaces"]
    assert interface["ipAddress"] == address
    with Console(namespace.name, "on-node2") as console:
        console.login()
        seen = console.run("ip -4 addr show dev eth0; ip link show dev eth0")
        assert f"inet {address}/24" in seen
        assert interface["mac"] in seen
        assert "nameserver 10.96.0.10" in console.run("cat /etc/resolv.conf")
        assert "10.96.0.1" in console.run("nslookup kubernetes.default.svc.cluster.local")


@pytest.mark.shows(
    "domain.devices.interfaces.dhcpOptions.ntpServers",
    "domain.devices.interfaces.dhcpOptions.privateOptions.*",
)
@pytest.mark.parametrize("node", NODES)
def test_dhcp_tells_what_the_user_wants_told(
    namespace: Namespace, guests: dict[str, Object], node: str
) -> None:
    """Asked for once more, by a client that shows what it was told."""
    show = "/tmp/show"
    script = f"printf '#!/bin/sh\nenv\n' >{show}; chmod +x {show}"
    ask = f"udhcpc -i eth0 -n -q -f -s {show} -O ntpsrv -O 0xf0 2>&1"
    with Console(namespace.name, f"on-{node}") as console:
        console.login().run(script)
        told = console.run(ask)
    assert "ntpsrv=192.0.2.42" in told
    assert f"opt240={b'from us'.hex()}" in told


def test_the_nodes_say_what_they_can(guests: dict[str, Object]) -> None:
    for node in NODES:
        said = kubectl("get", "node", node, "--output", "jsonpath={.metadata.labels}")
        assert '"kubevirt.io/schedulable":"true"' in said
        assert '"machine-type.node.kubevirt.io/' in said
        assert '"cpu-model.node.kubevirt.io/' in said or '"host-model-cpu.node.kubevirt.io/' in said
