"""Disks over time, as the guest finds them: what they are, what comes, goes and grows."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.guest.conftest import VMI, admitted
from tests.guest.pod import QEMU, Container, Handler, Serial, connected
from virtpod.domain import paths
from virtpod.wire.messages import Answer, DomainChanged, Done, Failed

MIB = 2**20


def claim(name: str, size: str, mode: str = "Filesystem", **more: Any) -> dict[str, Any]:
    """What virt-controller notes of a claim."""
    info = {"claimName": name, "capacity": {"storage": size}, "volumeMode": mode, **more}
    return {"name": name, "target": "", "persistentVolumeClaimInfo": info}


def volume(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "persistentVolumeClaim": {"claimName": name, **more}}


def machine(
    disks: list[dict[str, Any]], volumes: list[dict[str, Any]], told: list[dict[str, Any]]
) -> dict[str, Any]:
    """The demo VMI with more disks, as virt-handler sees it."""
    raw = yaml.safe_load(VMI)
    raw["spec"]["volumes"] += volumes
    raw["spec"]["domain"]["devices"]["disks"][0]["bootOrder"] = 1
    raw["spec"]["domain"]["devices"]["disks"] += disks
    made = admitted(raw)
    made["status"] = {**made.get("status", {}), "phase": "Running", "volumeStatus": told}
    return made


def folder(place: Path) -> Path:
    place.mkdir(parents=True)
    os.chown(place, paths.QEMU_UID, paths.QEMU_UID)
    for above in (place.parent, place.parent.parent):
        os.chown(above, paths.QEMU_UID, paths.QEMU_UID)
    return place


def written(place: Path, content: bytes, size: int) -> None:
    with place.open("wb") as file:
        file.write(content)
        file.truncate(size)
    os.chown(place, paths.QEMU_UID, paths.QEMU_UID)


def node(box: Container, path: str, device: str) -> None:
    """The device in the container, as the kubelet has it made."""
    place = f"/proc/{box.first}/root{path}"
    os.mknod(place, stat.S_IFBLK | 0o660, os.stat(device).st_rdev)
    os.chown(place, paths.QEMU_UID, paths.QEMU_UID)


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A file of 16 MiB, and the block device that shows it."""
    file = tmp_path / "backing"
    written(file, b"", 16 * MIB)
    device = run("losetup", "--find", "--show", str(file)).strip()
    yield file, device
    run("losetup", "--detach", device)


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


async def again(handler: Handler, vmi: dict[str, Any], *there: str) -> Answer:
    return await handler.sync(vmi, hotplugged=list(there))


async def named(serial: Serial, number: str) -> str:
    """The guest's name of the disk with this serial number: it names them as it finds them."""
    places = "/sys/block/*/serial /sys/block/*/device/vpd_pg80"
    look = f"grep -l {number} {places} 2>/dev/null"
    return (await serial.answer(f"until {look}; do sleep 1; done")).split("/")[3]


async def of_disk(serial: Serial, name: str, what: str) -> str:
    return (await serial.answer(f"cat /sys/block/{name}/{what}")).strip()


@pytest.mark.shows(
    "domain.devices.disks.name",
    "domain.devices.disks.disk.bus",
    "domain.devices.disks.serial",
    "domain.devices.disks.cache",
    "domain.devices.disks.io",
    "domain.devices.disks.errorPolicy",
    "domain.devices.disks.shareable",
    "domain.devices.disks.dedicatedIOThread",
    "domain.devices.disks.blockSize.*",
    "domain.devices.disks.bootOrder",
    "domain.devices.disks.disk.pciAddress",
    "domain.devices.disks.disk.readonly",
    "volumes.emptyDisk.capacity",
    "volumes.persistentVolumeClaim.claimName",
    "volumes.persistentVolumeClaim.readOnly",
    "volumes.ephemeral.persistentVolumeClaim",
    "volumes.dataVolume.name",
    "volumes.name",
)
async def test_disks_are_what_was_asked_for_and_grow_with_their_claims(
    box: Container, cache: dict[str, bytes], loop: tuple[Path, str]
) -> None:
    file, device = loop
    disks = [
        {
            "name": "made",
            "disk": {"bus": "virtio"},
            "serial": "of-made",
            "cache": "writethrough",
            "io": "threads",
            "errorPolicy": "report",
            "dedicatedIOThread": True,
            "blockSize": {"matchVolume": {"enabled": True}},
            "bootOrder": 2,
        },
        {"name": "raw", "disk": {"bus": "scsi"}, "serial": "of-raw", "shareable": True},
        {
            "name": "found",
            "disk": {"bus": "virtio", "pciAddress": "0000:00:0a.0"},
            "cache": "writeback",
            "serial": "of-found",
        },
        {"name": "read", "disk": {"bus": "scsi", "readonly": True}, "serial": "of-read"},
        {
            "name": "layer",
            "disk": {"bus": "virtio"},
            "serial": "of-layer",
            "blockSize": {
                "custom": {"logical": 512, "physical": 4096, "discardGranularity": 65536}
            },
        },
        {"name": "scratch", "disk": {"bus": "virtio"}, "serial": "of-scratch"},
    ]
    volumes = [
        *(volume("made"), volume("raw"), volume("read", readOnly=True)),
        {"name": "found", "dataVolume": {"name": "found"}},
        {"name": "layer", "ephemeral": {"persistentVolumeClaim": {"claimName": "layer"}}},
        {"name": "scratch", "emptyDisk": {"capacity": "9Mi"}},
    ]
    told = [
        *(claim("made", "32Mi"), claim("raw", "16Mi", "Block"), claim("found", "12Mi")),
        *(claim("read", "64Mi"), claim("layer", "64Mi")),
    ]
    vmi = machine(disks, volumes, told)
    for name in ("made", "found", "read", "layer"):
        folder(box.inside(paths.claim_folder(name)))
    written(box.inside(paths.claim_disk("found")), b"was here before", 8 * MIB)
    written(box.inside(paths.claim_disk("read")), b"only to be read", 8 * MIB)
    written(box.inside(paths.claim_disk("layer")), b"the beginning", 8 * MIB)
    box.launch()
    async with connected(box, cache) as handler:
        node(box, paths.claim_device("raw"), device)
        assert isinstance(answer := await handler.sync(vmi), Done), answer
        serial = await Serial.of(box)
        await serial.until("login:")
        await serial.log_in()
        made, raw, found, read, layer, scratch = [
            await named(serial, "of-" + name)
            for name in ("made", "raw", "found", "read", "layer", "scratch")
        ]
        sizes = {name: await of_disk(serial, name, "size") for name in (made, raw, found, read)}
        # A disk that is smaller than its claim is made as large; one that is only read is not.
        expected = {made: 32, raw: 16, found: 12, read: 8}
        assert sizes == {name: str(size * MIB // 512) for name, size in expected.items()}
        assert await of_disk(serial, made, "serial") == "of-made"
        block = os.statvfs(box.inside(paths.claim_folder("made"))).f_bsize
        assert await of_disk(serial, made, "queue/logical_block_size") == str(block)
        assert await of_disk(serial, made, "queue/physical_block_size") == str(block)
        assert await of_disk(serial, found, "queue/logical_block_size") == "512"
        assert await of_disk(serial, layer, "queue/physical_block_size") == "4096"
        assert await of_disk(serial, layer, "queue/discard_granularity") == "65536"
        assert await of_disk(serial, scratch, "size") == str(9 * MIB // 512)
        place = await serial.answer(f"readlink -f /sys/block/{found}")
        assert "/0000:00:0a.0/" in place
        # What a guest cannot see is seen of QEMU.
        (qemu,) = box.processes(QEMU)
        words = Path(f"/proc/{qemu}/cmdline").read_text().split("\0")
        files = [json.loads(word) for word in words if '"filename":' in word and word[0] == "{"]
        for name, how in {"made": ("threads", False), "raw": ("native", True)}.items():
            path = {"made": paths.claim_disk(name), "raw": paths.claim_device(name)}[name]
            (file_node,) = [each for each in files if each["filename"] == path]
            assert (file_node["aio"], file_node["cache"]["direct"]) == how
        devices = [json.loads(word) for word in words if '"drive":' in word and word[0] == "{"]
        by_name = {each["id"]: each for each in devices}
        assert by_name["ua-made"]["werror"] == "report"
        assert by_name["ua-made"]["iothread"] == "iothread1"
        assert by_name["ua-made"]["bootindex"] == 2
        assert by_name["ua-raw"]["share-rw"] is True
        assert await of_disk(serial, made, "queue/write_cache") == "write through"
        assert await of_disk(serial, found, "queue/write_cache") == "write back"
        assert int(await of_disk(serial, found, "queue/discard_max_bytes")) > 0
        assert await of_disk(serial, read, "ro") == "1"
        assert await of_disk(serial, found, "ro") == "0"
        assert "was here before" in await serial.answer(f"head -c 15 /dev/{found}")
        assert "the beginning" in await serial.answer(f"head -c 13 /dev/{layer}")
        await serial.answer(f"echo lost | dd of=/dev/{layer} conv=fsync 2>&1")
        await serial.answer(f"echo kept | dd of=/dev/{found} conv=fsync 2>&1")
        assert box.inside(paths.claim_disk("found")).read_bytes()[:5] == b"kept\n"
        assert box.inside(paths.claim_disk("layer")).read_bytes()[:13] == b"the beginning"

        # The claims are made larger under the running guest.
        os.truncate(file, 24 * MIB)
        run("losetup", "--set-capacity", device)
        for each, size in zip(told, ("48Mi", "24Mi", "20Mi", "96Mi", "96Mi"), strict=True):
            each["persistentVolumeClaimInfo"]["capacity"]["storage"] = size
        vmi["status"]["volumeStatus"] = told
        assert isinstance(answer := await handler.sync(vmi), Done), answer
        # A SCSI disk's new size is read when it is asked for it again.
        await serial.answer(f"echo 1 > /sys/block/{raw}/device/rescan")
        sizes = {name: await of_disk(serial, name, "size") for name in (made, raw, found, read)}
        expected = {made: 48, raw: 24, found: 20, read: 8}
        assert sizes == {name: str(size * MIB // 512) for name, size in expected.items()}
        assert isinstance(await handler.sync(vmi), Done)
        assert box.inside(paths.claim_disk("made")).stat().st_size == 48 * MIB
        serial.say("poweroff")
        await handler.domain("Shutoff", "Crashed")
        await handler.release()


@pytest.mark.shows(
    "domain.devices.disks.cdrom.bus",
    "volumes.dataVolume.hotpluggable",
    "volumes.persistentVolumeClaim.hotpluggable",
)
async def test_media_and_disks_come_go_and_grow_while_the_guest_runs(
    box: Container, cache: dict[str, bytes], loop: tuple[Path, str]
) -> None:
    file, device = loop
    disks = [
        {"name": "drive", "cdrom": {"bus": "sata"}},
        {"name": "iso", "cdrom": {"bus": "scsi"}},
        {"name": "always", "cdrom": {"bus": "sata", "tray": "open"}},
    ]
    always = {"name": "always", "configMap": {"name": "settings"}}
    vmi = machine(disks, [always], [])
    settings = box.inside(paths.config_folder("always"))
    settings.mkdir(parents=True)
    (settings / "colour").write_text("green")
    box.launch()
    async with connected(box, cache) as handler:
        assert isinstance(answer := await handler.sync(vmi), Done), answer
        assert {"drive", "iso"} <= set(handler.last.empty_drives)
        serial = await Serial.of(box)
        await serial.until("login:")
        await serial.log_in()
        # Buses are looked through while the guest goes on.
        await serial.answer("until [ -e /sys/block/sr2 ]; do sleep 1; done")
        look = "for each in /sys/block/sr*; do readlink -f $each; done"
        places = (await serial.answer(look)).split()
        [drive] = [each.rpartition("/")[2] for each in places if "/ata1/" in each]
        assert "No medium" in await serial.answer(f"dd if=/dev/{drive} count=1 2>&1")

        spec = vmi["spec"]
        spec["volumes"] += [volume("drive", hotpluggable=True), volume("iso", hotpluggable=True)]
        imported = {"name": "late", "dataVolume": {"name": "late", "hotpluggable": True}}
        spec["volumes"] += [imported, volume("raw", hotpluggable=True)]
        spec["domain"]["devices"]["disks"] += [
            {"name": "late", "disk": {"bus": "scsi"}, "serial": "of-late"},
            {"name": "raw", "disk": {"bus": "virtio"}, "serial": "of-raw"},
        ]
        told = [claim("drive", "8Mi"), claim("iso", "16Mi", "Block"), claim("late", "8Mi")]
        told += [claim("raw", "16Mi", "Block")]
        vmi["status"]["volumeStatus"] = told
        for name in ("drive", "late"):
            folder(box.inside(paths.hotplug(name)))
        written(box.inside(paths.hotplug("drive")) / paths.DISK_FILE, b"first medium", 2 * MIB)
        node(box, paths.hotplug("raw"), device)
        there = ("drive", "late", "raw")
        assert isinstance(answer := await again(handler, vmi, *there), Done), answer
        now = handler.last
        assert now.empty_drives == ["iso"]
        # Who does not poll its drives may meet the change by an error at the first read.
        read = f"until head -c 13 /dev/{drive} 2>/dev/null; do sleep 1; done"
        assert "first medium" in await serial.answer(read)
        # libvirt counts its drives among the SCSI disks, Linux does not.
        assert now.target_devices["late"] == "sdd"
        late, raw = "sda", now.target_devices["raw"]
        await serial.answer(f"until [ -e /sys/block/{late} ]; do sleep 1; done")
        assert await of_disk(serial, late, "size") == str(8 * MIB // 512)
        assert await of_disk(serial, raw, "serial") == "of-raw"

        # A virtio disk wants a port of its own, and there are only so many.
        more = [f"more{number}" for number in range(9)]
        spec["volumes"] += [volume(name, hotpluggable=True) for name in more]
        spec["domain"]["devices"]["disks"] += [
            {"name": name, "disk": {"bus": "virtio"}} for name in more
        ]
        for name in more:
            written(folder(box.inside(paths.hotplug(name))) / paths.DISK_FILE, b"", MIB)
        failed = await again(handler, vmi, *there, *more)
        assert isinstance(failed, Failed)
        assert "finds no free port on the guest's PCI bus" in failed.message
        spec["volumes"] = [each for each in spec["volumes"] if each["name"] not in more]
        assert isinstance(answer := await again(handler, vmi, *there), Done), answer

        # They grow as those do that were there from the start.
        os.truncate(file, 24 * MIB)
        run("losetup", "--set-capacity", device)
        told[2]["persistentVolumeClaimInfo"]["capacity"]["storage"] = "12Mi"
        assert isinstance(answer := await again(handler, vmi, *there), Done), answer
        await serial.answer(f"echo 1 > /sys/block/{late}/device/rescan")
        assert await of_disk(serial, late, "size") == str(12 * MIB // 512)
        assert await of_disk(serial, raw, "size") == str(24 * MIB // 512)

        # Another medium: the first goes, the second comes.
        spec["volumes"] = [each for each in spec["volumes"] if each["name"] != "drive"]
        assert isinstance(answer := await again(handler, vmi, "late", "raw"), Done), answer
        assert set(handler.last.empty_drives) == {"drive", "iso"}
        assert "No medium" in await serial.answer(f"dd if=/dev/{drive} count=1 2>&1")
        spec["volumes"].append(volume("drive", hotpluggable=True))
        place = box.inside(paths.hotplug("drive"))
        shutil.rmtree(place)
        written(folder(place) / paths.DISK_FILE, b"second medium", 2 * MIB)
        assert isinstance(answer := await again(handler, vmi, *there), Done), answer
        assert "second medium" in await serial.answer(read)

        # A guest that holds its medium fast is told of, and not robbed of it.
        spec["volumes"] = [each for each in spec["volumes"] if each["name"] not in there]
        assert isinstance(answer := await again(handler, vmi), Done), answer
        left = (await serial.answer("ls /sys/block")).split()
        assert not {late, raw} & set(left)
        assert isinstance(handler.last, DomainChanged)
        serial.say("poweroff")
        await handler.domain("Shutoff", "Crashed")
        await handler.release()
