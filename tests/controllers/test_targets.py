"""Where a guest could go by its devices, and which of them has no place to go to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.node.hardware import Hardware, write
from virtpod.controllers import conditions, targets
from virtpod.controllers.why import Node
from virtpod.domain import moving
from virtpod.kube.plan import Patch
from virtpod.node.devices import kinds
from virtpod.node.labels import NAME, PREFIXES
from virtpod.wire.messages import OwnDevice

CY, DC, NIC = "8086-4941.cy", "8086-4941.dc", "15b3-101e"
QAT = OwnDevice(
    name="crypto",
    kind="pci",
    id="8086:4941",
    driver="qat_vfio_pci",
    services="sym;asym",
    moves=True,
)


def node(name: str, *moves: str, stays: str = "", schedulable: str = "true", **more: Any) -> Node:
    labels = {moving.LABEL + kind: moving.MOVES for kind in moves}
    labels |= {moving.LABEL + stays: moving.STAYS} if stays else {}
    return Node(name, {**labels, "kubevirt.io/schedulable": schedulable}, **more)


def vmi(needs: str | None, *, phase: str = "Running") -> dict[str, Any]:
    annotations = {} if needs is None else {targets.NEEDS: needs}
    return {
        "metadata": {"namespace": "shop", "name": "a", "uid": "u", "annotations": annotations},
        "status": {"phase": phase, "nodeName": "here"},
    }


def told(wanted: dict[str, str], *nodes: Node) -> tuple[str, str]:
    found = targets.condition(wanted, "here", [node("here", CY, DC, NIC), *nodes])
    assert (found["status"] == "False") == (found.get("reason") == targets.NOWHERE)
    return found["status"], found["message"]


def test_what_a_guest_has_is_noted_and_read() -> None:
    replaced = msgspec.structs.replace
    said = targets.noted(
        (
            QAT,
            replaced(QAT, name="a,b=c", id="15b3:101e", services=""),
            replaced(QAT, name="stays", moves=False),
            replaced(QAT, name="odd", services="x" * 60),
            OwnDevice(name="virtual", kind="mdev", moves=True),
        )
    )
    assert targets.needs(vmi(said)) == {"crypto": CY, "a,b=c": NIC}
    assert targets.noted(()) == ""


@given(st.text() | st.just("[]") | st.just('{"a": 1}') | st.just('{"a": "8086-4941.cy\\n"}'))
def test_an_annotation_may_say_anything(said: str) -> None:
    for kind in targets.needs(vmi(said)).values():
        assert NAME.fullmatch(kind)


def test_other_nodes_with_the_same_are_named() -> None:
    both = {"crypto": CY, "nic": NIC}
    assert told(both, node("b", CY, NIC), node("a", CY, DC, NIC)) == (
        "True",
        "Nodes with devices as it has: a, b",
    )
    many = [node(f"n{number}", CY) for number in range(8)]
    assert told({"crypto": CY}, *many)[1].endswith("n0, n1, n2, n3, n4 and 3 more")


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ((), "crypto: no other node offers 8086:4941 for cy"),
        ((node("b", NIC),), "crypto: no other node offers 8086:4941 for cy"),
        (
            (node("b", DC),),
            "crypto: no other node offers 8086:4941 for cy: b has it for dc (set a device up for "
            "the same by spec.services of a QATNodePolicy)",
        ),
        (
            (node("b", stays=CY),),
            "crypto: no other node offers 8086:4941 for cy: b has it by a driver that does not "
            "save its state (use qat_vfio_pci)",
        ),
        (
            (node("b", CY, cordoned=True), node("c", CY, schedulable="false")),
            "b has it and takes no guests (make it ready, uncordon it, look at its virt-handler); "
            "c has it and takes no guests",
        ),
        ((node("b", CY, ready=False),), "b has it and takes no guests"),
    ],
)
def test_the_device_that_has_no_place_is_named_with_what_to_do(
    nodes: tuple[Node, ...], says: str
) -> None:
    status, message = told({"crypto": CY}, *nodes)
    assert status == "False"
    assert says in message


def test_of_several_devices_those_alone_are_named_that_block() -> None:
    wanted = {"crypto": CY, "zip": DC}
    _, message = told(wanted, node("b", CY))
    assert message.startswith("zip: no other node offers 8086:4941 for dc: b has it for cy")
    assert told(wanted, node("b", CY), node("c", DC)) == (
        "False",
        "no node has all of crypto (8086:4941 for cy), zip (8086:4941 for dc)",
    )


def test_the_vmi_says_so_as_long_as_it_runs_and_has_them() -> None:
    def decided(obj: dict[str, Any], *nodes: Node) -> dict[str, Any]:
        """The condition afterwards; the patch rests on what was read."""
        plan = targets.decide(targets.Seen(obj, nodes, 1e9))
        for action in plan.actions:
            assert isinstance(action, Patch)
            assert {each["path"] for each in action.body if each["op"] == "test"} >= {
                "/metadata/uid",
                "/status/phase",
            }
            obj["status"]["conditions"] = action.body[-1]["value"]
        return conditions.find(conditions.of(obj), moving.TARGETS) or {}

    obj = vmi(targets.noted((QAT,)))
    obj["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    assert decided(obj)["status"] == "False"
    assert decided(obj, node("b", CY))["status"] == "True"
    assert not targets.decide(targets.Seen(obj, [node("b", CY)], 2e9)).actions
    obj["metadata"]["annotations"] = {}
    assert decided(obj) == {}
    assert conditions.of(obj) == [{"type": "Ready", "status": "True"}]
    assert not targets.decide(targets.Seen(vmi("{}", phase="Scheduled"), [], 0)).actions


KINDS = st.sampled_from([CY, DC, NIC])


@given(
    st.dictionaries(st.sampled_from(["a", "b", "c"]), KINDS, min_size=1),
    st.lists(st.sets(KINDS), max_size=4),
)
def test_a_node_is_named_where_its_labels_fit_the_terms(
    wanted: dict[str, str], nodes: list[set[str]]
) -> None:
    made = [node(f"n{number}", *have) for number, have in enumerate(nodes)]
    fit = [each.name for each in made if set(wanted.values()) <= nodes[int(each.name[1:])]]
    status, message = told(wanted, *made)
    assert (status == "True") == bool(fit)
    if fit:
        assert message == f"Nodes with devices as it has: {', '.join(fit)}"
    keys = {each["key"].removeprefix(moving.LABEL) for each in targets.terms(wanted)}
    assert keys == set(wanted.values())


# What a node tells of itself.


def test_a_node_tells_the_kinds_that_vfio_has(tmp_path: Path) -> None:
    hardware = Hardware(tmp_path / "sys", tmp_path / "dev")
    hardware.qat("0000:3d:00.0", "8086:4940", "asym;sym", driver="qat_vfio_pci")
    hardware.qat("0000:3f:00.0", "8086:4940", "dc", group=200)
    hardware.qat("0000:41:00.0", "8086:37c8", group=300)
    hardware.function("0000:05:00.1", "15b3:101e", driver="mlx5_vfio_pci", group="7")
    hardware.function("0000:06:00.1", "8086:10ca", driver="igb", group="8")
    hardware.function("0000:06:00.2", "8086:10ca", group="")
    found = kinds.seen(hardware.root)
    prefix = "pci-device.node.kubevirt.io/"
    assert found == {
        f"{prefix}8086-4941.cy": "moves",
        f"{prefix}8086-4941.dc": "stays",
        f"{prefix}8086-37c9": "stays",
        f"{prefix}15b3-101e": "moves",
    }
    assert all(NAME.fullmatch(name.partition("/")[2]) for name in found)
    assert prefix in PREFIXES, "what is gone is taken away"
    # One that stays is enough: the kubelet may give that.
    hardware.unbind("0000:3d:01.1")
    hardware.bind("0000:3d:01.1", "vfio-pci")
    assert kinds.seen(hardware.root)[f"{prefix}8086-4941.cy"] == "stays"
    write(hardware.functions / "0000:3d:00.0/qat/cfg_services", "no such thing")
    assert f"{prefix}8086-4941" in kinds.seen(hardware.root)
