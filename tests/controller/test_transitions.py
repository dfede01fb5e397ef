"""How long instances take from phase to phase, as dashboards are told."""

from __future__ import annotations

import json
from typing import Any

from prometheus_client import CollectorRegistry

from virtpod.controller.held import Held
from virtpod.controller.transitions import Transitions
from virtpod.kube.resources import Key

KEY = Key("default", "demo")
NAME = "kubevirt_vmi_phase_transition_time"


def held(*phases: tuple[str, str], **metadata: str) -> Held:
    moments = [{"phase": phase, "phaseTransitionTimestamp": at} for phase, at in phases]
    vmi: dict[str, Any] = {
        "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z", **metadata},
        "status": {"phase": phases[-1][0], "phaseTransitionTimestamps": moments},
    }
    return Held(json.dumps(vmi).encode(), "u1")


PENDING = ("Pending", "2026-01-01T00:00:00Z")
SCHEDULED = ("Scheduled", "2026-01-01T00:00:03Z")
RUNNING = ("Running", "2026-01-01T00:00:05Z")
FAILED = ("Failed", "2026-01-01T00:01:00Z")


def test_each_transition_is_counted_once_by_who_leads() -> None:
    registry, leads = CollectorRegistry(), [True]
    transitions = Transitions(lambda: leads[0], registry)

    def value(metric: str, **labels: str) -> float | None:
        return registry.get_sample_value(metric, labels)

    before, after = held(PENDING, SCHEDULED), held(PENDING, SCHEDULED, RUNNING)
    transitions.changed(KEY, None, before)
    transitions.changed(KEY, before, after)
    transitions.changed(KEY, after, after)
    assert value(f"{NAME}_seconds_sum", phase="Running", last_phase="Scheduled") == 2
    assert value(f"{NAME}_seconds_count", phase="Running", last_phase="Scheduled") == 1
    assert value(f"{NAME}_from_creation_seconds_sum", phase="Running") == 5
    ended = held(PENDING, RUNNING, FAILED, deletionTimestamp="2026-01-01T00:00:50Z")
    transitions.changed(KEY, after, ended)
    assert value(f"{NAME}_from_deletion_seconds_sum", phase="Failed") == 10
    leads[0] = False
    transitions.changed(KEY, before, after)
    assert value(f"{NAME}_seconds_count", phase="Running", last_phase="Scheduled") == 1


def test_odd_times_are_no_times() -> None:
    registry = CollectorRegistry()
    transitions = Transitions(lambda: True, registry)
    odd = held(("Pending", "yesterday"), ("Running", "now"))
    transitions.changed(KEY, held(PENDING), odd)
    transitions.changed(KEY, held(PENDING), Held(b"{", "u1"))
    assert registry.get_sample_value(f"{NAME}_seconds_count") is None
