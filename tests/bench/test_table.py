"""The table and the numbers in it."""

from __future__ import annotations

import os

import pytest

from bench import memory, table
from bench.audit import Life
from bench.scenarios import Timing, logged, medians, percentile
from bench.sightings import steps_of


def test_the_figures_are_whole() -> None:
    known = table.figures()
    assert len({row.id for row in known.rows}) == len(known.rows)
    for row in known.rows:
        assert (row.low is None) == (row.high is None)
        assert row.low is None or row.high is None or row.low <= row.high


def test_met_not_met_and_ratios() -> None:
    measured = {"plain.running": 1.0, "guest.running": 2.5, "writes.create": 8.0}
    found = {row.figure.id: row for row in table.rows(table.figures(), measured)}
    assert found["guest.running"].met is True
    assert found["guest.running"].ratio == 2.5
    assert found["writes.create"].met is False
    assert found["writes.create"].ratio is None
    assert found["plain.running"].met is None
    text = table.compared(found.values())
    (guest,) = [line for line in text.splitlines() if line.startswith("one guest VMI")]
    assert guest.split()[-8:] == ["s", "≤", "3.00", "s", "2.50", "s", "2.50", "met"]
    assert "NOT MET" in text


def test_no_ratio_without_a_plain_pod() -> None:
    (row,) = table.rows(table.figures(), {"guest.running": 2.5})
    assert row.ratio is None
    assert table.compared([row])


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "", "-"),
        (1.234, "s", "1.23 s"),
        (29.6, "MiB", "30 MiB"),
        (7.0, "", "7"),
        (7.4, "", "7.4"),
    ],
)
def test_numbers(value: float | None, unit: str, text: str) -> None:
    assert table.number(value, unit) == text


@pytest.mark.parametrize(
    ("share", "value"),
    [(0.5, 5.0), (0.95, 10.0), (0.9, 9.0), (1.0, 10.0)],
)
def test_percentiles(share: float, value: float) -> None:
    assert percentile([float(n) for n in range(10, 0, -1)], share) == value


def test_medians_are_in_order_and_removal_comes_last() -> None:
    life = Life(0, 0, 0)
    found = medians(
        [
            Timing({"pod": 0.1, "Running": 2.0, "gone": 0.5}, life),
            Timing({"pod": 0.3, "Running": 4.0, "gone": 0.7}, life),
            Timing({"pod": 0.2, "Running": 3.0, "gone": 0.6, "unheard-of": 1.0}, life),
        ]
    )
    assert list(found.items()) == [("pod", 0.2), ("Running", 3.0), ("gone", 0.6)]


def test_a_launchers_own_lines() -> None:
    body = b'dnsmasq: started\n{"ts": "1.5", "msg": "guest prepared"}\n{"no": 1}\n{half\n'
    assert logged(body) == [(1.5, "guest prepared")]


def test_what_a_pod_shows() -> None:
    pod = {
        "spec": {"nodeName": "n1"},
        "status": {
            "conditions": [{"type": "PodReadyToStartContainers", "status": "True"}],
            "containerStatuses": [{"name": "compute", "state": {"waiting": {}}}],
        },
    }
    assert list(steps_of(pod)) == ["pod", "scheduled", "sandbox"]
    assert list(steps_of({"spec": {}})) == ["pod"]


def test_a_process_of_our_own() -> None:
    found = memory._process(memory.PROC / str(os.getpid()), booted=0.0, memory=True)
    assert found.pid == os.getpid()
    assert 0 < found.pss <= found.rss
    assert found.started > 0
    assert not found.guest
