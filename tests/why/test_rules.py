"""Every rule has a case, and every case its words."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given

from tests.conftest import Golden
from tests.controllers.states import instances_seen
from tests.why.cases import CASES, NOW
from virtpod.controllers import vmi
from virtpod.controllers.why import RULES, Observed, diagnose, placing

GOLDEN = Path(__file__).parent / "diagnoses.txt"


@pytest.mark.parametrize("name", CASES)
def test_the_one_true_reason(name: str) -> None:
    code, seen = CASES[name]
    found = diagnose(seen)
    assert found.code == code, found


def test_what_is_said(golden: Golden) -> None:
    lines = []
    for name, (_, seen) in CASES.items():
        found = diagnose(seen)
        about = f"{found.culprit.kind} {found.culprit.name}" if found.culprit else "-"
        lines += [f"# {name}", f"{found.code} ({found.state}, {about})", f"  {found.sentence}"]
        lines += [f"  -> {found.remedy}"] if found.remedy else []
        lines += [f"  | {line}" for line in found.evidence]
        lines.append("")
    golden.check(GOLDEN, "\n".join(lines))


def test_every_rule_has_a_case_and_a_word_for_its_code() -> None:
    codes = [rule.code for rule in RULES]
    assert len(set(codes)) == len(codes)
    assert {code for code, _ in CASES.values()} == set(codes)
    for rule in RULES:
        assert rule.about, rule.code
        assert rule.remedy or rule.state != "broken", rule.code


def test_what_is_broken_has_a_remedy() -> None:
    for name, (_, seen) in CASES.items():
        found = diagnose(seen)
        assert found.sentence.endswith((".", "!", "?")), name
        assert found.remedy or found.state != "broken", name


@given(instances_seen())
def test_whatever_is_seen_there_is_an_answer(seen: vmi.Seen) -> None:
    found = diagnose(Observed(NOW, vmi=seen.vmi, pods=seen.pods, refusal=seen.refusal))
    assert found.code in {rule.code for rule in RULES}
    assert len(found.message) < 4000


def test_what_does_not_run_is_not_said_to_run() -> None:
    for name, (_, seen) in CASES.items():
        assert (diagnose(seen).state == "runs") == (name.startswith("all is well")), name


@pytest.mark.parametrize(
    ("name", "moves"),
    [
        ("all is well, and it stays where it is", False),
        ("all is well, and its strategy says that it stays", False),
        ("all is well, but it cannot move as its strategy says", True),
        ("all is well, but it cannot move as the cluster's strategy says", True),
        ("all is well, but it was asked to leave its node", True),
    ],
)
def test_migration_is_spoken_of_where_it_is_asked_for(name: str, moves: bool) -> None:
    found = diagnose(CASES[name][1])
    assert found.sentence.startswith("All is well: ")
    assert any("cannot be migrated" in line for line in found.evidence) == moves
    assert any("no other node" in line for line in found.evidence) == moves


@pytest.mark.parametrize(
    ("message", "counted"),
    [
        (
            "0/3 nodes are available: 1 Insufficient memory, 2 node(s) had untolerated taint "
            "{a: b}. preemption: 0/3 nodes are available: 3 Preemption is not helpful.",
            {"Insufficient memory": 1, "node(s) had untolerated taint {a: b}": 2},
        ),
        ("no nodes available to schedule pods", {}),
        ("0/1 nodes are available: 1 Too many pods.", {"Too many pods": 1}),
    ],
)
def test_the_schedulers_words_are_taken_apart(message: str, counted: dict[str, int]) -> None:
    assert placing.reasons(message) == counted


def test_time_alone_changes_no_words() -> None:
    """What a condition says must not be written anew each time somebody looks."""
    for (name, (_, seen)), later in itertools.product(CASES.items(), (1.0, 3.0)):
        before = diagnose(seen)
        after = diagnose(Observed(**{**seen.__dict__, "now": seen.now + later}))
        assert before == after, name
