"""A silent node is closed; a fresh one is looked at again in time."""

from __future__ import annotations

import pytest

from tests.stories.lives import instance, up
from tests.stories.world import CLUSTER, World
from virtpod.api.kubevirt import KubeVirtConfiguration, MigrationConfiguration
from virtpod.controllers import conditions, node, node_vmi, vmi
from virtpod.kube.plan import Event, Patch, Plan
from virtpod.kube.resources import VMIS, Obj

UP = node.Standing("node1")
SILENT = node.Standing("node1", ready=False)
FENCED = node.Standing("node1", ready=False, out_of_service=True)
DELETED = node.Standing("node1", there=False)


def seen(
    heartbeat: float | None, *, schedulable: bool = True, now: float = 1000.0, ready: bool = True
) -> node.Seen:
    return node.Seen("node1", "uid", "5", schedulable, heartbeat, now, ready)


def changed(plan: Plan) -> Obj:
    """What the plan's one JSON patch sets, by its path."""
    [patch] = [each for each in (*plan.actions, plan.status) if isinstance(each, Patch)]
    return {op["path"]: op["value"] for op in patch.body if op["op"] == "add"}


def test_a_fresh_heartbeat_is_looked_at_again_when_it_gets_old() -> None:
    plan = node.decide(seen(900.0))
    assert not plan.actions
    assert plan.again_in == 201.0


def test_a_silent_node_gets_no_more_guests() -> None:
    plan = node.decide(seen(600.0))
    assert plan.actions[0].body["metadata"] == {
        "resourceVersion": "5",
        "labels": {"kubevirt.io/schedulable": "false"},
    }
    assert plan.actions[1].reason == "NodeUnresponsive"


def test_a_clock_that_runs_ahead_closes_nothing() -> None:
    assert not node.decide(seen(1600.0)).actions


def test_a_closed_node_is_left_alone() -> None:
    assert not node.decide(seen(None, schedulable=False)).actions


def test_a_node_whose_kubelet_is_not_heard_is_closed_though_its_heartbeat_is_fresh() -> None:
    plan = node.decide(seen(990.0, ready=False))
    assert plan.actions[0].body["metadata"]["labels"] == {"kubevirt.io/schedulable": "false"}


@pytest.mark.parametrize(
    ("phase", "standing", "end_seen", "doubted"),
    [
        ("Running", SILENT, False, True),
        ("Scheduling", SILENT, False, True),
        ("Failed", SILENT, False, True),  # by virt-controller's word, which is no proof
        ("Running", UP, False, True),  # force-deleted: the kubelet is at it yet
        ("Running", SILENT, True, False),
        ("Succeeded", SILENT, False, False),
        ("Running", FENCED, False, False),
        ("Running", DELETED, False, False),
        ("Scheduling", UP, False, True),  # the guest may start before the API says Scheduled
        ("Scheduling", None, False, False),  # it was never bound
    ],
)
def test_a_pod_gone_from_the_api_proves_an_end_only_with_one_of_three_facts(
    phase: str, standing: node.Standing | None, end_seen: bool, doubted: bool
) -> None:
    assert bool(node.doubt(phase, standing, end_seen=end_seen)) == doubted


def test_a_guest_that_may_run_is_neither_failed_nor_let_go() -> None:
    world = World()
    world.apply(instance())
    up(world)
    obj = world.get(VMIS, "demo")
    for deleting in (False, True):
        if deleting:
            obj["metadata"]["deletionTimestamp"] = "2027-01-15T08:00:00Z"
        doubt = node.doubt("Running", SILENT, end_seen=False)
        plan = vmi.decide(vmi.Seen(obj, [], CLUSTER, 1.0, pod_gone=True, node=SILENT, doubt=doubt))
        assert list(changed(plan)) == ["/status/conditions"]
        [event] = [each for each in plan.actions if isinstance(each, Event)]
        assert "out-of-service" in event.message
        assert plan.again_in
    ended = vmi.decide(vmi.Seen(obj, [], CLUSTER, 1.0, pod_gone=True, node=FENCED))
    assert changed(ended)["/status/phase"] == "Failed"
    assert "/metadata/finalizers" in changed(ended)


def test_virt_handler_says_that_nothing_is_left_only_when_the_kubelet_has_cleared_up() -> None:
    world = World()
    world.apply(instance())
    up(world)
    obj = world.get(VMIS, "demo")
    waiting = node_vmi.decide(node_vmi.Seen("node1", 1.0, obj))
    assert not waiting.actions
    assert waiting.again_in
    assert not node_vmi.decide(node_vmi.Seen("node2", 1.0, obj, no_trace=True)).actions
    said = node_vmi.decide(node_vmi.Seen("node1", 1.0, obj, no_trace=True))
    assert changed(said)["/status/phase"] == "Failed"


def test_a_drain_taint_asks_the_guests_that_would_move_and_no_others() -> None:
    world = World()
    world.apply(instance())
    up(world)
    obj = world.get(VMIS, "demo")
    draining = node.Standing("node1", draining=True)
    before = vmi.Seen(obj, [world.pod()], CLUSTER, 1.0, node=draining)
    assert not vmi.decide(before).actions
    obj["spec"]["evictionStrategy"] = "LiveMigrate"
    plan = vmi.decide(before)
    [event] = [each for each in plan.actions if isinstance(each, Event)]
    assert (event.reason, "kubevirt.io/drain" in event.message) == ("EvictionRefused", True)
    obj["status"]["conditions"] = changed(plan)["/status/conditions"]
    assert conditions.status(conditions.of(obj), "EvictionRequested") == "True"
    assert not vmi.decide(before).actions  # it is said once
    after = vmi.decide(vmi.Seen(obj, [world.pod()], CLUSTER, 1.0, node=UP))
    assert "EvictionRequested" not in str(changed(after)["/status/conditions"])


def test_a_kubelet_that_is_started_again_alarms_nobody() -> None:
    """Its guests are told of a silence that lasts, and looked at again until it does."""
    world = World()
    world.apply(instance())
    up(world)
    pod = world.pod()
    for silent_for, told in ((0.0, False), (node.ALARM, True)):
        standing = node.Standing("node1", ready=False, silent_for=silent_for)
        plan = vmi.decide(
            vmi.Seen(world.get(VMIS, "demo"), [pod], CLUSTER, world.now, node=standing)
        )
        events = [each.reason for each in plan.actions if isinstance(each, Event)]
        assert (vmi.SILENT in events) is told
        assert bool(plan.again_in) is not told


@pytest.mark.configures("configuration.migrations.nodeDrainTaintKey")
def test_the_taint_that_drains_is_the_clusters_choice() -> None:
    assert node.drain(KubeVirtConfiguration()) == "kubevirt.io/drain"
    config = KubeVirtConfiguration(migrations=MigrationConfiguration(node_drain_taint_key="x/y"))
    assert node.drain(config) == "x/y"
