"""Disks that outlive the guest: they keep what was written, and belong to one guest at a time."""

from __future__ import annotations

import pytest

from tests.e2e import diary
from tests.e2e.support import Namespace, conditions, phase, vmi

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def test_a_claim_is_awaited_kept_over_a_restart_and_had_by_one_guest(namespace: Namespace) -> None:
    namespace.apply(diary.writer("first", of="data"))
    waits = namespace.wait(
        "vmi", "first", lambda vmi: "Synchronized" in conditions(vmi), "waits for its claim"
    )
    assert conditions(waits)["Synchronized"]["reason"] == "FailedPvcNotFound"
    assert phase(waits) == "Pending"
    namespace.apply(diary.claim("data"))
    first = namespace.running("first")
    [noted] = [each for each in first["status"]["volumeStatus"] if each["name"] == diary.DISK]
    assert noted["persistentVolumeClaimInfo"]["claimName"] == "data"
    assert noted["target"] == "vdb"
    number = diary.goes_on(first)

    namespace.apply(vmi("second", **diary.writes("data")))
    waits = namespace.wait(
        "vmi", "second", lambda vmi: "Synchronized" in conditions(vmi), "waits for the claim"
    )
    assert conditions(waits)["Synchronized"]["reason"] == "VolumeInUse"
    assert "VirtualMachineInstance first" in conditions(waits)["Synchronized"]["message"]

    namespace.virtctl("stop", "first")
    second = namespace.running("second")
    number = diary.goes_on(second, after=number)
    namespace.delete("vmi", "second")
    kept = diary.read(namespace, "data")
    kept.check(acknowledged=number)
    assert {record.name for record in kept.records} == {"first", "second"}
    assert len(kept.boots) == 2
