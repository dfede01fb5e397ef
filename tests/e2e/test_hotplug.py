"""Disks that come to a guest while it runs, and go again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e import diary
from tests.e2e.support import Console, Namespace, Object, Refused, eventually, on_node, vm

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NAME = "plugged"
DISKS = {"files": "Filesystem", "raw": "Block"}
"""By claim: its mode."""


def entry(vmi: Object, volume: str) -> Object:
    told = vmi["status"].get("volumeStatus") or ()
    return next((each for each in told if each["name"] == volume), {})


def at(volume: str, phase: str) -> Callable[[Object], bool]:
    return lambda vmi: entry(vmi, volume).get("phase") == phase


@pytest.fixture(scope="module")
def place(namespace: Namespace) -> Namespace:
    namespace.apply(vm(NAME), *(diary.claim(name, mode=mode) for name, mode in DISKS.items()))
    namespace.running(NAME)
    return namespace


def attachments(namespace: Namespace) -> list[Object]:
    return namespace.items("pod", "kubevirt.io=hotplug-disk")


@pytest.mark.shows("volumes.persistentVolumeClaim.hotpluggable")
def test_disks_come_and_are_written_to(place: Namespace) -> None:
    uid = place.get("vmi", NAME)["metadata"]["uid"]
    for claim in DISKS:
        place.virtctl("addvolume", NAME, f"--volume-name={claim}", f"--serial=of-{claim}")
    for claim in DISKS:
        found = place.wait("vmi", NAME, at(claim, "Ready"), f"{claim} is there", 120)
        assert entry(found, claim)["target"].startswith("sd")
        assert found["metadata"]["uid"] == uid
    with Console(place.name, NAME) as console:
        console.login()
        for claim in DISKS:
            disk = f"/dev/{entry(found, claim)['target']}"
            written = f"echo written-on-{claim} | dd of={disk} conv=fsync 2>&1"
            assert "records out" in console.run(written)
            assert f"written-on-{claim}" in console.run(f"dd if={disk} bs=64 count=1 2>&1")
    reasons = {reason for reason, _ in place.events(NAME)}
    assert {"VolumeMountedToPod", "VolumeReady"} <= reasons


def test_a_claim_that_is_not_there_is_said_and_harms_nobody(place: Namespace) -> None:
    place.apply(diary.claim("late"))
    place.virtctl("addvolume", NAME, "--volume-name=late")
    place.wait("vmi", NAME, at("late", "Ready"), "late is there", 120)
    with pytest.raises(Refused, match="neither a DataVolume nor a PersistentVolumeClaim"):
        place.virtctl("addvolume", NAME, "--volume-name=nowhere")
    with pytest.raises(Refused, match="already exists"):
        place.virtctl("addvolume", NAME, "--volume-name=late")
    with pytest.raises(Refused, match="is not hotpluggable"):
        place.virtctl("removevolume", NAME, "--volume-name=root")
    place.virtctl("removevolume", NAME, "--volume-name=late")
    place.wait("vmi", NAME, lambda vmi: not entry(vmi, "late"), "late is gone", 120)


def test_they_are_there_again_after_a_restart(place: Namespace) -> None:
    before = place.get("vmi", NAME)["metadata"]["uid"]
    place.virtctl("restart", NAME)
    after = place.running(NAME, other_than=before)
    for claim in DISKS:
        after = place.wait("vmi", NAME, at(claim, "Ready"), f"{claim} is there again", 120)
    with Console(place.name, NAME) as console:
        console.login()
        for claim in DISKS:
            disk = f"/dev/{entry(after, claim)['target']}"
            assert f"written-on-{claim}" in console.run(f"dd if={disk} bs=64 count=1 2>&1")


def test_disks_go_and_leave_nothing(place: Namespace) -> None:
    vmi = place.get("vmi", NAME)
    targets = [entry(vmi, claim)["target"] for claim in DISKS]
    for claim in DISKS:
        place.virtctl("removevolume", NAME, f"--volume-name={claim}")
    for claim in DISKS:
        place.wait("vmi", NAME, lambda vmi, of=claim: not entry(vmi, of), f"{claim} is gone", 120)
    with Console(place.name, NAME) as console:
        left = console.login().run("ls /sys/block").split()
    assert not set(targets) & set(left)
    eventually(lambda: not attachments(place), "no attachment pod is left", 60)
    pod = place.launcher(vmi)
    mounts = "cat /proc/[0-9]*/mountinfo 2>/dev/null | grep hotplug-disks; true"
    assert not [
        line
        for line in on_node(vmi["status"]["nodeName"], mounts).splitlines()
        if pod["metadata"]["uid"] in line or "/hotplug-disks/" in line
    ]
    template = place.get("vm", NAME)["spec"]["template"]["spec"]
    assert [volume["name"] for volume in template["volumes"]] == ["root"]
