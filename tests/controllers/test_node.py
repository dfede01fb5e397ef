"""A silent node is closed; a fresh one is looked at again in time."""

from __future__ import annotations

from virtpod.controllers import node


def seen(heartbeat: float | None, *, schedulable: bool = True, now: float = 1000.0) -> node.Seen:
    return node.Seen("node1", "uid", "5", schedulable, heartbeat, now)


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
