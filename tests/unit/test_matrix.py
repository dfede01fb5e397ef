"""docs/features.md says what is so: each field that works is in a golden case, and is shown."""

from __future__ import annotations

import pytest

from scripts import matrix
from tests import shown

WORKING = [path for path in matrix.fields() if matrix.owner(path)]


def test_every_field_that_works_occurs_in_a_golden() -> None:
    assert [path for path in WORKING if path not in matrix.goldens()] == []


def test_every_field_that_works_is_shown_or_it_is_said_why_not() -> None:
    silent = [path for path in WORKING if not matrix.tests().get(path) and not matrix.reason(path)]
    assert silent == [], "mark the test that shows it with `shows`, or see tests/not_shown.txt"


def test_what_is_not_shown_is_not_shown_and_works() -> None:
    for pattern, reason in matrix.not_shown().items():
        paths = matrix.matching(pattern)
        assert set(paths) & set(WORKING), f"{pattern} is no field, or none that works"
        assert reason, pattern
        assert [path for path in paths if path in matrix.tests()] == [], f"{pattern} is shown"


@pytest.mark.parametrize("test", matrix.marks())
def test_what_a_test_shows_are_fields_that_work(test: str) -> None:
    for pattern in matrix.marks()[test]:
        assert matrix.matching(pattern), f"{pattern} is no field, and nothing below one"
        assert set(matrix.matching(pattern)) <= set(WORKING), f"{pattern} is in not_yet.txt"


def test_a_field_is_found_where_lists_are_on_the_way() -> None:
    spec = {"domain": {"devices": {"disks": [{"name": "a"}, {"lun": {"bus": "scsi"}}]}}}
    found = matrix.present(spec)
    assert {"domain.devices.disks.name", "domain.devices.disks.lun.bus"} <= found
    assert "domain.devices.disks.serial" not in found


def test_a_claim_without_a_machine_that_had_it_is_found_out() -> None:
    shown.begin()
    shown.given({"domain": {"cpu": {"cores": 2}}})
    assert shown.missing(["domain.cpu.cores"]) == []
    assert shown.missing(["domain.cpu.*"]) == sorted(
        path for path in matrix.fields() if path.startswith("domain.cpu.") and "cores" not in path
    )
