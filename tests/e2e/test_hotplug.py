"""Disks and media that come to a guest while it runs, grow with their claims, and go again; and
credentials that change with their secrets."""

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


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{} {}@example.org"
ANNA, BERT = (KEY.format(name[0] * 43, name) for name in ("anna", "bert"))


def secret(name: str, **content: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "stringData": content,
    }


def machine() -> Object:
    """With a drive that has nothing in it, a claim from the start, and credentials."""
    made = vm(NAME)
    spec = made["spec"]["template"]["spec"]
    spec["volumes"].append({"name": "kept", "persistentVolumeClaim": {"claimName": "kept"}})
    spec["domain"]["devices"]["disks"] += [
        {"name": "kept", "serial": "of-kept", "disk": {"bus": "virtio"}},
        {"name": "drive", "cdrom": {"bus": "sata"}},
    ]
    spec["accessCredentials"] = [
        {
            "sshPublicKey": {
                "source": {"secret": {"secretName": "keys"}},
                "propagationMethod": {"qemuGuestAgent": {"users": ["root"]}},
            }
        }
    ]
    return made


@pytest.fixture(scope="module")
def place(namespace: Namespace) -> Namespace:
    claims = {**DISKS, "kept": "Filesystem", "first": "Filesystem", "second": "Block"}
    namespace.apply(
        secret("keys", anna=ANNA),
        machine(),
        *(diary.claim(name, mode=mode) for name, mode in claims.items()),
    )
    namespace.running(NAME)
    return namespace


def device(console: Console, claim: str) -> str:
    """The guest's own name of the disk with this serial: it counts no drives among its disks."""
    places = "/sys/block/*/serial /sys/block/*/device/vpd_pg80"
    look = f"grep -l of-{claim} {places} 2>/dev/null"
    found = console.run(f"until {look}; do sleep 1; done")
    return found.split("/sys/block/", 1)[1].split("/", 1)[0]


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
            disk = f"/dev/{device(console, claim)}"
            written = f"echo written-on-{claim} | dd of={disk} conv=fsync 2>&1"
            assert "records out" in console.run(written)
            assert f"written-on-{claim}" in console.run(f"dd if={disk} bs=64 count=1 2>&1")
    place.told(NAME, "VolumeMountedToPod", "VolumeReady")


def size_of(console: Console, name: str) -> int:
    """MiB, as the guest has it; a SCSI disk is looked at again for it."""
    look = f"/sys/block/{name}"
    console.run(f"echo 1 > {look}/device/rescan 2>/dev/null; true")
    return int(console.run(f"cat {look}/size")) * 512 // 2**20


@pytest.mark.shows("volumes.persistentVolumeClaim.claimName")
def test_a_claim_that_is_expanded_makes_the_disk_larger(place: Namespace) -> None:
    for claim in (*DISKS, "kept"):
        place.patch("pvc", claim, {"spec": {"resources": {"requests": {"storage": "20Mi"}}}})

    def noted(vmi: Object) -> bool:
        sizes = (
            entry(vmi, claim)["persistentVolumeClaimInfo"]["capacity"]["storage"]
            for claim in (*DISKS, "kept")
        )
        return all(size == "20Mi" for size in sizes)

    place.wait("vmi", NAME, noted, "the claims have grown", 120)
    with Console(place.name, NAME) as console:
        console.login()
        for claim in (*DISKS, "kept"):
            name = device(console, claim)
            eventually(
                lambda of=name: size_of(console, of) == 20, f"{claim} is larger in the guest"
            )


@pytest.mark.shows("domain.devices.disks.cdrom.bus")
def test_media_are_exchanged_while_the_guest_runs(place: Namespace) -> None:
    before = place.get("vmi", NAME)["metadata"]["uid"]
    words = {"first": "the first medium", "second": "the second one"}

    def volumes(*media: str) -> list[Object]:
        spec = place.get("vm", NAME)["spec"]["template"]["spec"]
        given = {"hotpluggable": True}
        return [
            *(each for each in spec["volumes"] if each["name"] != "drive"),
            *(
                {"name": "drive", "persistentVolumeClaim": {"claimName": each, **given}}
                for each in media
            ),
        ]

    def insert(*media: str) -> None:
        body = {"spec": {"template": {"spec": {"volumes": volumes(*media)}}}}
        place.patch("vm", NAME, body)

    # Each claim is written to as a disk first.
    for claim, text in words.items():
        place.virtctl("addvolume", NAME, f"--volume-name={claim}", f"--serial=of-{claim}")
        place.wait("vmi", NAME, at(claim, "Ready"), f"{claim} is there", 120)
        with Console(place.name, NAME) as console:
            disk = f"/dev/{device(console.login(), claim)}"
            console.run(f"echo '{text}' | dd of={disk} conv=fsync 2>&1")
        place.virtctl("removevolume", NAME, f"--volume-name={claim}")
        place.wait("vmi", NAME, lambda vmi, of=claim: not entry(vmi, of), f"{claim} is gone", 120)
    with Console(place.name, NAME) as console:
        console.login()
        assert "No medium" in console.run("dd if=/dev/sr0 count=1 2>&1; true")
        for claim, text in words.items():
            insert(claim)

            def there(vmi: Object, of: str = claim) -> bool:
                told = entry(vmi, "drive")
                info = told.get("persistentVolumeClaimInfo") or {}
                return told.get("phase") == "Ready" and info.get("claimName") == of

            found = place.wait("vmi", NAME, there, f"{claim} is in the drive", 180)
            read = f"head -c {len(text)} /dev/sr0 2>/dev/null"
            assert text in console.run(f"until {read}; do sleep 1; done")
        insert()
        place.wait("vmi", NAME, lambda vmi: not entry(vmi, "drive"), "the drive is empty", 120)
        assert "No medium" in console.run("dd if=/dev/sr0 count=1 2>&1; true")
    assert found["metadata"]["uid"] == before
    told = {each["type"]: each["status"] for each in place.get("vm", NAME)["status"]["conditions"]}
    assert told.get("RestartRequired", "False") == "False"


@pytest.mark.shows("accessCredentials.sshPublicKey.source.secret.secretName")
def test_a_secret_that_changes_reaches_the_guest(place: Namespace) -> None:
    def synchronized(vmi: Object) -> bool:
        told = {each["type"]: each for each in vmi["status"]["conditions"]}
        return told.get("AccessCredentialsSynchronized", {}).get("status") == "True"

    place.wait("vmi", NAME, synchronized, "the guest has its keys", 120)
    place.told(NAME, "AccessCredentialsSyncSuccess")
    with Console(place.name, NAME) as console:
        console.login()
        assert console.run("cat /root/.ssh/authorized_keys") == ANNA
        add = ("credentials", "add-ssh-key", NAME, "--user", "root", "--value", BERT)
        with pytest.raises(Refused, match="does not have an owner reference"):
            place.virtctl(*add)
        place.virtctl(*add, "--force")
        place.virtctl(
            *("credentials", "remove-ssh-key", NAME, "--user", "root", "--force"),
            *("--value", ANNA),
        )
        # The kubelet looks at a secret once a minute or so.
        eventually(
            lambda: console.run("cat /root/.ssh/authorized_keys") == BERT, "the other key", 180
        )


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
    place.running(NAME, other_than=before)
    for claim in DISKS:
        place.wait("vmi", NAME, at(claim, "Ready"), f"{claim} is there again", 120)
    with Console(place.name, NAME) as console:
        console.login()
        for claim in DISKS:
            disk = f"/dev/{device(console, claim)}"
            assert f"written-on-{claim}" in console.run(f"dd if={disk} bs=64 count=1 2>&1")


def test_disks_go_and_leave_nothing(place: Namespace) -> None:
    vmi = place.get("vmi", NAME)
    with Console(place.name, NAME) as console:
        console.login()
        names = {device(console, claim) for claim in DISKS}
    for claim in DISKS:
        place.virtctl("removevolume", NAME, f"--volume-name={claim}")
    for claim in DISKS:
        place.wait("vmi", NAME, lambda vmi, of=claim: not entry(vmi, of), f"{claim} is gone", 120)
    with Console(place.name, NAME) as console:
        left = console.login().run("ls /sys/block").split()
    assert not names & set(left)
    eventually(lambda: not attachments(place), "no attachment pod is left", 60)
    pod = place.launcher(vmi)
    mounts = "cat /proc/[0-9]*/mountinfo 2>/dev/null | grep hotplug-disks; true"
    assert not [
        line
        for line in on_node(vmi["status"]["nodeName"], mounts).splitlines()
        if pod["metadata"]["uid"] in line or "/hotplug-disks/" in line
    ]
    template = place.get("vm", NAME)["spec"]["template"]["spec"]
    assert [volume["name"] for volume in template["volumes"]] == ["root", "kept"]


def test_a_new_vm_has_ports_for_three_disks_of_virtio(place: Namespace) -> None:
    """Each wants a port of its own, and nobody asked for spare ones."""
    claims = [*DISKS, "first"]
    for claim in claims:
        serial = f"--serial=of-{claim}"
        place.virtctl("addvolume", NAME, f"--volume-name={claim}", serial, "--bus=virtio")
    for claim in claims:
        found = place.wait("vmi", NAME, at(claim, "Ready"), f"{claim} is there", 120)
        assert entry(found, claim)["target"].startswith("vd")
    with Console(place.name, NAME) as console:
        console.login()
        for claim in claims:
            console.run(f"until grep -q of-{claim} /sys/block/vd*/serial; do sleep 1; done")
