"""Guests on different nodes reach each other, pods and Services, and are reached: one behind its
pod, by masquerade, one in its place, by bridge, and one that shares its address, by passt."""

from __future__ import annotations

import pytest

from tests.e2e.support import SIX, Console, Namespace, Object, kubectl, server, service, vm

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


@pytest.fixture(scope="module")
def third(namespace: Namespace, guests: dict[str, Object]) -> Object:
    """A guest by passt beside the first one, a plain pod, and Services for all in both families."""
    shares = vm("by-passt", nodeSelector={"kubernetes.io/hostname": "node1"})
    devices = shares["spec"]["template"]["spec"]["domain"]["devices"]
    devices["interfaces"] = [{"name": "default", "passtBinding": {}, "ports": [{"port": 80}]}]
    pod, fronted = server("plain")
    pod["spec"]["nodeName"] = "node2"
    names = [service(name, {"vm": name}, 80) for name in ("by-passt", "on-node1")]
    both = {"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"]}
    for each in (fronted, *names):
        each["spec"] |= both
    namespace.apply(shares, pod, fronted, *names)
    return namespace.running("by-passt")


def addresses(namespace: Namespace, vmi: Object) -> list[str]:
    """Its pod's, IPv4 first."""
    return [each["ip"] for each in namespace.launcher(vmi)["status"]["podIPs"]]


GREETS = {"by-passt": "demo"}
"""passt tells a guest no name: it keeps its image's."""


def greeting(name: str) -> str:
    return f"hello from {GREETS.get(name, name)}"


def url(address: str) -> str:
    return f"http://[{address}]/" if ":" in address else f"http://{address}/"


def test_a_guest_is_told_by_dhcp_and_its_router_of_both_families(
    namespace: Namespace, third: Object
) -> None:
    with Console(namespace.name, "on-node1") as console:
        console.login().run(SIX)
        assert "fd10:0:2::2/128" in console.run("cat /tmp/six")
        assert "default via fe80::1" in console.run("ip -6 route")
    with Console(namespace.name, "by-passt") as console:
        console.login().run(SIX)
        seen = console.run("ip addr show eth0")
        for address in addresses(namespace, third):
            assert f" {address}/" in seen


@pytest.mark.shows("domain.devices.interfaces.passtBinding")
def test_guests_reach_guests_pods_and_services_in_both_families(
    namespace: Namespace, guests: dict[str, Object], third: Object
) -> None:
    """Two guests of the same node, a pod of the other, names and Services' addresses."""
    first = addresses(namespace, guests["node1"])
    passt = addresses(namespace, third)
    services = {
        name: namespace.get("service", name)["spec"]["clusterIPs"]
        for name in ("by-passt", "on-node1", "plain")
    }
    own = {"by-passt": passt, "on-node1": first}
    for here, there in (("on-node1", "by-passt"), ("by-passt", "on-node1")):
        with Console(namespace.name, here) as console:
            console.login()
            for address in (*own[there], *services[there], there):
                said = console.run(f"wget -q -T 20 -O - {url(address)}")
                assert said == greeting(there), address
            for address in (*services["plain"], f"plain.{namespace.name}.svc"):
                console.run(f"nc -w 20 {address} 80 </dev/null >/dev/null")


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
