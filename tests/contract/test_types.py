"""Our types beside the table of facts, field by field; beside the full data where it is at hand."""

from __future__ import annotations

import pytest

from tests.contract import facts
from virtpod.api import lists
from virtpod.api.catalog import every, name, topic
from virtpod.api.openapi import definitions

BEYOND = {
    name(cls)
    for cls in every()
    if topic(cls) in ("plugin", "qat")
    or cls.__name__.startswith("VirtualMachineBackupTracker")
    or cls in (lists.PluginList, lists.QATNodePolicyList, lists.QATNodeStateList)
}
"""Kinds that the reference installs and its OpenAPI document leaves out, and those of our own."""

full = pytest.mark.skipif(
    facts.reference() is None, reason="VIRTPOD_REFERENCE names no folder with the full data"
)


def test_every_fact_holds_and_nothing_is_extra() -> None:
    ours = {line for line in facts.facts(definitions(every())) if line.split()[0] not in BEYOND}
    theirs = set(facts.TABLE.read_text().splitlines())
    assert sorted(theirs - ours) == []
    assert sorted(ours - theirs) == []


@full
def test_the_table_says_what_the_reference_says() -> None:
    folder = facts.reference()
    assert folder
    assert facts.facts(facts.definitions(folder)) == facts.TABLE.read_text().splitlines()
