"""The table of what can be set in a KubeVirt object holds all of it, and each line is true."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from scripts import knobs
from virtpod.api.kubevirt import KubeVirtSpec
from virtpod.render.knobs import given, idle, knob
from virtpod.render.knobs import knobs as lines

CODE = Path(__file__).resolve().parents[2] / "src" / "virtpod"


@pytest.mark.parametrize("path", knobs.fields())
def test_a_field_is_in_the_table_and_seen_at_work(path: str) -> None:
    found = knob(path)
    assert found is not None, f"{path}: say in knobs.txt what obeys it, or why nothing does"
    shown = [each for field in knobs.below(found) for each in knobs.shown().get(field, ())]
    assert found.why or shown, f"{path}: mark the test that shows it with configures"


@pytest.mark.parametrize("line", lines(), ids=lambda line: line.path)
def test_a_line_is_of_a_field_and_a_file(line: knobs.Knob) -> None:
    assert knobs.below(line), f"{line.path} is no field, or a shorter path stands before it"
    assert line.why or (CODE / line.place).is_file()


@pytest.mark.parametrize("pattern", sorted({p for said in knobs.marks().values() for p in said}))
def test_a_mark_is_of_fields(pattern: str) -> None:
    assert knobs.matching(pattern)


def test_what_is_set_without_effect_is_told() -> None:
    spec = msgspec.convert(
        {
            "synchronizationPort": "9185",
            "configuration": {
                "migrations": {"nodeDrainTaintKey": "x", "allowPostCopy": True},
                "network": {"binding": {"a": {"sidecarImage": "i", "migration": {}}}},
                "developerConfiguration": {"useEmulation": True},
            },
        },
        KubeVirtSpec,
    )
    assert list(idle(spec)) == [
        "spec.configuration.migrations.allowPostCopy has no effect: guests do not migrate yet",
        "spec.synchronizationPort has no effect: guests do not move between clusters yet",
    ]
    assert "configuration.network.binding.sidecarImage" in given(spec)
