"""Guests on different nodes reach each other, each by the other's pod address."""

from __future__ import annotations

import pytest

from tests.e2e.support import Console, Namespace, Object, kubectl, vm

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NODES = ("node1", "node2")


@pytest.fixture(scope="module")
def guests(namespace: Namespace) -> dict[str, Object]:
    """A VMI on each node, by the node's name."""
    namespace.apply(
        *(vm(f"on-{node}", nodeSelector={"kubernetes.io/hostname": node}) for node in NODES)
    )
    return {node: namespace.running(f"on-{node}") for node in NODES}


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


def test_the_nodes_say_what_they_can(guests: dict[str, Object]) -> None:
    for node in NODES:
        said = kubectl("get", "node", node, "--output", "jsonpath={.metadata.labels}")
        assert '"kubevirt.io/schedulable":"true"' in said
        assert '"machine-type.node.kubevirt.io/' in said
        assert '"cpu-model.node.kubevirt.io/' in said or '"host-model-cpu.node.kubevirt.io/' in said
