"""Thousands of lives in which much goes wrong; VIRTPOD_SEEDS=n for more of them."""

from __future__ import annotations

import os

import pytest

from tests.stories.nemesis import Nemesis

SEEDS = int(os.environ.get("VIRTPOD_SEEDS", "200"))
PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
def test_no_two_guests_and_a_good_end(part: int) -> None:
    for seed in range(part, SEEDS, PARTS):
        try:
            Nemesis(seed).run()
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise
