"""Who reaches whom: pods and guests of two nodes, by masquerade and by bridge, straight, by
Services and by names, in both families; and what stays the same when a guest is started again.

Three guests and two pods are asked for everything; what each source says of each target is one line
of a table, which a failing test shows whole.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

import pytest

from tests.e2e.support import (
    SIX,
    Console,
    Namespace,
    Object,
    condition,
    conditions,
    server,
    service,
    vm,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

NODE1, NODE2 = "node1", "node2"
HOST = "kubernetes.io/hostname"
KEEP, ASKED = "virtpod.io/keep-addresses", "virtpod.io/addresses"
PODS = {"pod1": NODE1, "pod2": NODE2}
GUESTS = {"masked": NODE1, "bridged": NODE2, "third": NODE2}
HIDDEN = 8081
"""A port that `masked` serves and does not list."""
WITHIN = 10
"""Seconds that a probe may take."""


@dataclass(frozen=True)
class Way:
    """`says`: what an answer has in it; "": there is none."""

    target: str
    family: str
    address: str
    port: int
    says: str


def machines() -> list[Object]:
    masked = vm("masked", nodeSelector={HOST: NODE1})
    bridged = vm("bridged", nodeSelector={HOST: NODE2}, hostname="inner", subdomain="castle")
    third = vm("third", nodeSelector={HOST: NODE2})
    interfaces = {
        "masked": {"masquerade": {}, "ports": [{"port": 80}]},
        "bridged": {"bridge": {}},
        "third": {"masquerade": {}},
    }
    for each in (masked, bridged, third):
        template = each["spec"]["template"]
        nic = {"name": "default", **interfaces[each["metadata"]["name"]]}
        template["spec"]["domain"]["devices"]["interfaces"] = [nic]
    bridged["spec"]["template"]["metadata"]["annotations"] = {KEEP: "true"}
    return [masked, bridged, third]


@pytest.fixture(scope="module")
def guests(namespace: Namespace) -> dict[str, Object]:
    """The VMIs, each with its server, and Services and pods beside them."""
    services = [service(name, {"vm": name}, 80) for name in GUESTS]
    others: list[Object] = []
    for name, node in PODS.items():
        pod, fronted = server(name)
        pod["spec"]["nodeName"] = node
        others.append(pod)
        services.append(fronted)
    for each in services:
        each["spec"] |= {"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"]}
    headless = service("castle", {"vm": "bridged"}, 80)
    headless["spec"]["clusterIP"] = "None"
    namespace.apply(*machines(), *others, *services, headless)
    for name in PODS:
        namespace.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=90s")
    found = {name: namespace.running(name) for name in GUESTS}
    for name in GUESTS:
        with Console(namespace.name, name) as console:
            console.login()
            if name == "masked":
                console.run(f"httpd -p {HIDDEN} -h /www")
            if name != "bridged":
                console.run(SIX)
    return found


def families(addresses: list[str]) -> dict[str, str]:
    return {"IPv6" if ":" in each else "IPv4": each for each in addresses}


def ips(pod: Object) -> list[str]:
    return [each["ip"] for each in pod["status"]["podIPs"]]


@pytest.fixture(scope="module")
def ways(namespace: Namespace, guests: dict[str, Object]) -> list[Way]:
    """To each pod, guest and Service, by each of its addresses."""
    found = []
    for name in (*PODS, *GUESTS):
        pod = namespace.launcher(guests[name]) if name in guests else namespace.get("pod", name)
        port, says = (80, f"hello from {name}") if name in guests else (8080, "HTTP/1.")
        if name == "bridged":
            says = "hello from inner"
        clusters = namespace.get("service", name)["spec"]["clusterIPs"]
        for family, address in families(ips(pod)).items():
            # A bridged guest hears of no IPv6 address: the CNI announces none on the link.
            answer = "" if (name, family) == ("bridged", "IPv6") else says
            found.append(Way(name, family, address, port, answer))
            if answer:
                fronted = families(clusters)[family]
                found.append(Way(f"Service {name}", family, fronted, 80, answer))
        if name == "masked":
            found.append(Way(f"{name}:{HIDDEN}", "IPv4", ips(pod)[0], HIDDEN, ""))
    return found


def probe(way: Way) -> str:
    """A script that says "+" and what of the answer tells who gave it, or "-"."""
    ask = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w {WITHIN} {way.address} {way.port}"
    told = "echo + $(grep -e HTTP -e hello /tmp/said | tr -d '\\r')"
    return f"{ask} >/tmp/said 2>&1; grep -q HTTP/ /tmp/said && {told} || echo -"


def asked(namespace: Namespace, source: str, ways: list[Way]) -> list[str]:
    """What a source says of each."""
    scripts = [probe(way) for way in ways]
    if source in PODS:
        command = ("exec", source, "--", "sh", "-c", "; ".join(scripts))
        return namespace.kubectl(*command, seconds=300).splitlines()
    with Console(namespace.name, source) as console:
        console.login()
        return [console.run(each) for each in scripts]


def expected(source: str, way: Way) -> str:
    """What the answer has in it; empty: there shall be none."""
    if source == "bridged" and way.family == "IPv6":
        return ""  # it has no address of that family
    if way.target == source and source in ("masked", "third"):
        return ""  # the pod's address, seen from behind it, is the pod
    return way.says


@pytest.mark.parametrize("source", [*PODS, *GUESTS])
def test_all_reach_all(namespace: Namespace, ways: list[Way], source: str) -> None:
    """Also itself, straight and by its Service: as a pod does."""
    answers = asked(namespace, source, ways)
    assert len(answers) == len(ways), answers
    table, wrong = [], []
    for way, answer in zip(ways, answers, strict=True):
        line = f"{source:8} -> {way.target:16} {way.family} {way.address:24} {answer}"
        table.append(line)
        right = expected(source, way)
        if (right not in answer) if right else answer != "-":
            wrong.append(line)
    sys.stdout.write("\n".join(table) + "\n")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("source", GUESTS)
def test_names_of_the_cluster_are_known_to_guests(
    namespace: Namespace, guests: dict[str, Object], source: str
) -> None:
    """By the search domains: a Service's name, and a guest's beneath a headless Service of its
    subdomain's name."""
    address = namespace.launcher(guests["bridged"])["status"]["podIP"]
    with Console(namespace.name, source) as console:
        console.login()
        told = console.run("cat /etc/resolv.conf")
        assert f"search {namespace.name}.svc.cluster.local svc.cluster.local" in told
        for name in ("third", f"third.{namespace.name}", f"third.{namespace.name}.svc"):
            assert console.run(f"wget -q -T 20 -O - http://{name}/") == "hello from third"
        assert f"({address})" in console.run("ping -4 -c 1 -W 10 inner.castle")


def restarted(namespace: Namespace, name: str) -> tuple[Object, Object]:
    """The VMI before and after."""
    before = namespace.running(name)
    namespace.virtctl("restart", name)
    after = namespace.running(name, other_than=before["metadata"]["uid"])
    return before, after


def seen_inside(namespace: Namespace, name: str) -> tuple[str, str]:
    """MAC and IPv4 address of the guest's card, as the guest has them."""
    with Console(namespace.name, name) as console:
        console.login()
        mac = console.run("cat /sys/class/net/eth0/address")
        address = console.run("ip -4 -o addr show dev eth0 | sed 's/.*inet \\([0-9.]*\\).*/\\1/'")
        return mac, address


def greets(namespace: Namespace, source: str, address: str, says: str) -> bool:
    [answer] = asked(namespace, source, [Way("", "", address, 80, says)])
    return says in answer


def test_a_restarted_guest_has_the_mac_address_that_it_had_and_another_address(
    namespace: Namespace, guests: dict[str, Object]
) -> None:
    """The cluster's IPAM goes round: the pod of who asks for nothing has the address after the last
    that was given on its node."""
    mac, inside = seen_inside(namespace, "third")
    before, after = restarted(namespace, "third")
    assert seen_inside(namespace, "third") == (mac, inside) == (mac, "10.0.2.2")
    addresses = [each["status"]["interfaces"][0]["ipAddress"] for each in (before, after)]
    assert addresses[0] != addresses[1]


def test_a_restarted_guest_has_the_address_that_it_had_where_that_is_asked_for(
    namespace: Namespace, guests: dict[str, Object]
) -> None:
    mac, address = seen_inside(namespace, "bridged")
    kept = namespace.wait(
        "vm", "bridged", lambda each: condition(each, "AddressesKept") == "True", "it keeps them"
    )
    given = ips(namespace.launcher(guests["bridged"]))
    assert json.loads(kept["metadata"]["annotations"][ASKED]) == {"default": given}
    assert address in given
    _, after = restarted(namespace, "bridged")
    assert seen_inside(namespace, "bridged") == (mac, address)
    assert ips(namespace.launcher(after)) == given
    assert after["status"]["interfaces"][0]["mac"] == mac
    for pod in PODS:
        assert greets(namespace, pod, address, "hello from inner")


def test_an_address_that_cannot_be_kept_is_told_of(
    namespace: Namespace, guests: dict[str, Object]
) -> None:
    """One that another pod has: the guest does not start with a wrong one, and its VM says why; it
    starts once nothing is asked for any more."""
    taken = namespace.get("pod", "pod2")["status"]["podIP"]
    wish = json.dumps({"default": [taken]})
    namespace.patch("vm", "bridged", {"metadata": {"annotations": {ASKED: wish}}})
    namespace.wait(
        "vm",
        "bridged",
        lambda each: conditions(each).get("AddressesKept", {}).get("reason") == "AddressChanged",
        "what it has is not what is asked for",
    )
    namespace.told("bridged", "AddressChanged")
    old = namespace.running("bridged")["metadata"]["uid"]
    namespace.virtctl("restart", "bridged")
    found = namespace.wait(
        "vm",
        "bridged",
        lambda each: conditions(each).get("Obstructed", {}).get("reason") == "AddressNotAvailable",
        "it does not start",
        120,
    )
    assert taken in conditions(found)["Obstructed"]["message"]
    namespace.patch("vm", "bridged", {"metadata": {"annotations": {ASKED: None}}})
    namespace.virtctl("restart", "bridged")
    after = namespace.running("bridged", other_than=old)
    assert taken not in ips(namespace.launcher(after))
