"""The table of gaps of devices names tests that there are, for each gap that it calls closed."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from scripts.device_gaps import GAPS, Gap

TESTS = Path(__file__).parents[1]


def test_all_are_there() -> None:
    numbers = [*(f"C{n}" for n in range(1, 8)), *(f"G{n}" for n in range(1, 16))]
    assert [gap.number for gap in GAPS] == numbers


@pytest.mark.parametrize("gap", GAPS, ids=lambda gap: gap.number)
def test_what_is_closed_was_seen_and_what_is_not_says_why(gap: Gap) -> None:
    assert gap.lacks or gap.tests
    assert (gap.closed == "not closed") == (not gap.tests)
    for test in gap.tests:
        file, _, name = test.partition("::")
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
        assert name in {node.name for node in tree.body if isinstance(node, kinds)}, test
