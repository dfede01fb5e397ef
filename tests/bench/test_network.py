"""What rounds of a network measurement say together."""

from __future__ import annotations

import msgspec
import pytest

from bench.network import PLAIN, Rates, best, table
from bench.sightings import Failed

LINE = b'{"in": 100.5, "out": 200, "connects": 300, "median": 0.0004, "p99": 0.002}'


def test_a_line_of_the_program() -> None:
    assert msgspec.json.decode(LINE, type=Rates) == Rates(100.5, 200, 300, 0.0004, 0.002)


def test_the_best_of_rounds_is_the_fastest_and_the_soonest() -> None:
    rounds = [Rates(1, 20, 3, 0.4, 0.5), Rates(10, 2, 30, 0.04, 0.9)]
    assert best(rounds) == Rates(10, 20, 30, 0.04, 0.5)


def test_no_round_is_no_figure() -> None:
    with pytest.raises(Failed, match="nothing was measured"):
        best([])


def test_each_figure_is_beside_the_plain_pod_s() -> None:
    found = {PLAIN: Rates(2000, 1000, 4000, 0.0001, 0.001), "passt": Rates(50, 10, 200, 0.002, 0.1)}
    _, plain, guest = table(found)
    assert plain == ("plain pod", *("2000", "", "1000", "", "4000", "", "0.10", "", "1.00", ""))
    shares = ("50.0", "0.025", "10.0", "0.010", "200", "0.050", "2.00", "20.0", "100", "100")
    assert guest == ("guest, passt", *shares)
