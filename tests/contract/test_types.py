"""Our types beside the table of facts, field by field; beside the full data where it is at hand."""

from __future__ import annotations

import pytest

from tests.contract import facts
from virtpod.api import backup, lists, plugin
from virtpod.api.catalog import TYPES
from virtpod.api.openapi import definitions

BEYOND = {
    *(name for cls, name in TYPES.items() if cls.__module__ == plugin.__name__),
    TYPES[lists.PluginList],
    TYPES[backup.VirtualMachineBackupTracker],
    TYPES[backup.VirtualMachineBackupTrackerSpec],
    TYPES[backup.VirtualMachineBackupTrackerStatus],
    TYPES[lists.VirtualMachineBackupTrackerList],
}
"""Kinds that the reference installs and its OpenAPI document leaves out."""

full = pytest.mark.skipif(
    facts.reference() is None, reason="VIRTPOD_REFERENCE names no folder with the full data"
)


def test_every_fact_holds_and_nothing_is_extra() -> None:
    ours = {line for line in facts.facts(definitions()) if line.split()[0] not in BEYOND}
    theirs = set(facts.TABLE.read_text().splitlines())
    assert sorted(theirs - ours) == []
    assert sorted(ours - theirs) == []


@full
def test_the_table_says_what_the_reference_says() -> None:
    folder = facts.reference()
    assert folder
    assert facts.facts(facts.definitions(folder)) == facts.TABLE.read_text().splitlines()
