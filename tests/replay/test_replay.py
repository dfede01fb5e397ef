"""What a controller saw and planned can be read again, and decided on again, offline.

An incident becomes a test: put what /debug/decisions told into `incidents/`, and `make golden`.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from tests.conftest import Golden
from tests.controllers.states import instances_seen, machines_seen
from tests.node.test_properties import seens as guests_seen
from tests.why.cases import vm as machine
from virtpod.cli import __main__ as cli
from virtpod.cli import replay
from virtpod.controllers import node_vmi, vm, vmi
from virtpod.kube.loop import Decision

INCIDENTS = sorted((Path(__file__).parent / "incidents").glob("*.json"))


def recorded(seen: Any, decide: Any) -> Any:
    """As it comes out of /debug/decisions."""
    told = Decision(1_800_000_000.0, "default/demo", seen, decide(seen), "done", 0.001)
    return json.loads(json.dumps(told.plain()))


@given(instances_seen())
def test_what_was_seen_of_a_vmi_is_read_again(seen: vmi.Seen) -> None:
    decision = recorded(seen, vmi.decide)
    assert replay.decided(decision) == decision["plan"]


@given(machines_seen())
def test_what_was_seen_of_a_vm_is_read_again(seen: vm.Seen) -> None:
    decision = recorded(seen, vm.decide)
    assert replay.decided(decision) == decision["plan"]


@given(guests_seen)
def test_what_was_seen_on_a_node_is_read_again(seen: node_vmi.Seen) -> None:
    decision = recorded(seen, node_vmi.decide)
    assert replay.decided(decision) == decision["plan"]


@pytest.mark.parametrize("incident", INCIDENTS, ids=lambda path: path.stem)
def test_an_incident(incident: Path, golden: Golden, capsys: pytest.CaptureFixture[str]) -> None:
    """What this version plans. The golden's diff shows where it decides otherwise than before."""
    cli.run(["replay", str(incident)])
    golden.check(incident.with_suffix(".txt"), capsys.readouterr().out)


def test_another_plan_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    decision = recorded(vm.Seen(machine("Halted"), None, 0.0), vm.decide)
    assert replay.replayed(decision)[1]
    decision["plan"]["why"] = "it was Tuesday"
    path = tmp_path / "other.json"
    path.write_text(json.dumps({"virt-controller-vmi": [decision]}))
    assert cli.run(["replay", str(path)]) == 1
    assert "recorded was: it was Tuesday" in capsys.readouterr().out


@pytest.mark.parametrize("type", ["os:system", "", "virtpod.controllers.vmi:Nothing"])
def test_a_file_names_no_code_but_the_controllers(
    type: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = io.TextIOWrapper(io.BytesIO(json.dumps({"type": type, "seen": {}}).encode()))
    monkeypatch.setattr(sys, "stdin", pipe)
    assert cli.run(["replay", "-"]) == 1
    assert "cannot be replayed" in capsys.readouterr().out
