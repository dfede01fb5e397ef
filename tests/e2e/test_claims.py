"""Disks that outlive the guest: they keep what was written, and belong to one guest at a time."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import diary
from tests.e2e.support import (
    Namespace,
    condition,
    conditions,
    eventually,
    kubectl,
    on_node,
    phase,
    static_volume,
    vmi,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.mark.shows("volumes.persistentVolumeClaim.claimName", "domain.devices.disks.serial")
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

    # Whoever else has the image open, be it on a node that virt-controller has lost: QEMU's locks.
    with unshared(diary.image(namespace, "data")):
        namespace.virtctl("start", "first")
        waits = namespace.wait(
            "vmi", "first", lambda vmi: "Synchronized" in conditions(vmi), "finds its disk locked"
        )
        told = conditions(waits)["Synchronized"]
        assert told["reason"] == "VolumeInUse", told
        assert f"PVC {namespace.name}/data" in told["message"]
    diary.goes_on(namespace.running("first"), after=number)
    pod = namespace.launcher(namespace.get("vmi", "first"))["metadata"]["name"]
    image = f"/var/run/kubevirt-private/vmi-disks/{diary.DISK}/disk.img"
    with pytest.raises(AssertionError, match="lock"):
        namespace.compute(pod, "qemu-img", "resize", "-f", "raw", image, "8M")
    diary.read(namespace, "data").check(acknowledged=number)


@pytest.mark.shows("volumes.ephemeral.persistentVolumeClaim")
def test_block_claims_and_layers_over_a_claim(namespace: Namespace) -> None:
    """Three guests at once: one on a block device, two that begin with what `data` holds."""
    namespace.virtctl("stop", "first")
    namespace.gone("vmi", "first")
    image = diary.image(namespace, "data")
    before = image.read_bytes()
    end = diary.parse(before).last
    assert end
    layered = diary.writes("data")
    for volume in layered["volumes"]:
        if volume["name"] == diary.DISK:
            volume["ephemeral"] = {"persistentVolumeClaim": volume.pop("persistentVolumeClaim")}
    raw = vmi("raw", **diary.writes("raw"))
    namespace.apply(diary.claim("raw", mode="Block"), raw)
    namespace.apply(vmi("one", **layered), vmi("two", **layered))

    number = diary.goes_on(namespace.running("raw"))
    for name in ("one", "two"):
        assert diary.goes_on(namespace.running(name), after=end) > end
    namespace.delete("vmi", "raw", "one", "two")
    diary.read(namespace, "raw").check(acknowledged=number)
    assert image.read_bytes() == before


@contextlib.contextmanager
def unshared(image: Path) -> Iterator[None]:
    """As QEMU holds it that lets nobody else write: byte 201 locked for reading, see the comment
    on locks in QEMU's block/file-posix.c."""
    with image.open("rb") as opened:
        lock = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 201, 1, 0)
        fcntl.fcntl(opened, fcntl.F_OFD_SETLK, lock)
        yield


@pytest.fixture
def small(namespace: Namespace) -> Iterator[str]:
    """A claim whose file system is its own and small; the folder of it on the node."""
    node = "node1"
    name = f"small-{namespace.name}"
    folder = f"/var/lib/volumes/{name}"
    on_node(node, f"mkdir -p {folder} && mount -t tmpfs -o size=12m,mode=777 {name} {folder}")
    claim = {"namespace": namespace.name, "name": "small"}
    namespace.apply(
        static_volume(name, node, folder, "8Mi", claim),
        diary.claim("small", volumeName=name, storageClassName=""),
    )
    yield folder
    namespace.delete("vm", "full")
    namespace.delete("pvc", "small")
    kubectl("delete", "pv", name)
    on_node(node, f"umount {folder} && rmdir {folder}")


def test_a_full_disk_pauses_the_guest_until_there_is_room(namespace: Namespace, small: str) -> None:
    namespace.apply(diary.writer("full", of="small"))
    running = namespace.running("full")
    node = running["status"]["nodeName"]
    diary.goes_on(running)

    on_node(node, f"dd if=/dev/zero of={small}/other bs=64k 2>/dev/null; true")
    paused = namespace.wait(
        "vmi", "full", lambda vmi: condition(vmi, "Paused") == "True", "paused", 120
    )
    assert conditions(paused)["Paused"]["reason"] == "PausedIOError"
    assert phase(paused) == "Running"
    eventually(
        lambda: any(reason == "IOerror" for reason, _ in namespace.events("full")), "event IOerror"
    )

    on_node(node, f"rm {small}/other")
    namespace.wait("vmi", "full", lambda vmi: not condition(vmi, "Paused"), "goes on", 240)
    number = diary.goes_on(running, after=diary.said(running)[0])
    assert namespace.get("vmi", "full")["metadata"]["uid"] == running["metadata"]["uid"]
    image = base64.b64decode(on_node(node, f"base64 {small}/disk.img"))
    diary.parse(image).check(acknowledged=number)
