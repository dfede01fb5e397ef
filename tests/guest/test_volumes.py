"""Volumes of all kinds in one guest, with what the kubelet and virt-handler do made by hand."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.guest.conftest import VMI, admitted
from tests.guest.pod import Container, Serial, connected
from virtpod.domain import paths
from virtpod.wire.messages import Done, Failed

MIB = 1 << 20
GATES = ("HostDisk",)


def given(**sources: Any) -> dict[str, Any]:
    """The demo VMI with more volumes, each a virtio disk, as admission makes it."""
    raw = yaml.safe_load(VMI)
    spec = raw["spec"]
    for name, source in sources.items():
        spec["volumes"].append({"name": name, **source})
        spec["domain"]["devices"]["disks"].append({"name": name, "disk": {"bus": "virtio"}})
    return admitted(raw, *GATES)


def folder(box: Container, volume: str) -> Path:
    """A volume as the kubelet mounts it."""
    made = box.inside(paths.claim_folder(volume))
    made.mkdir(parents=True)
    shutil.chown(made, paths.QEMU_UID, paths.QEMU_UID)
    return made


def file(path: Path, content: bytes = b"") -> Path:
    path.write_bytes(content)
    shutil.chown(path, paths.QEMU_UID, paths.QEMU_UID)
    return path


@pytest.mark.shows("volumes.hostDisk.*")
async def test_a_guest_writes_to_disks_of_its_node(box: Container, cache: dict[str, bytes]) -> None:
    vmi = given(
        made={"hostDisk": {"type": "DiskOrCreate", "path": "/data/a/disk.img", "capacity": "8Mi"}},
        there={"hostDisk": {"type": "Disk", "path": "/data/b/root.raw", "shared": True}},
    )
    # As virt-handler leaves it: the launcher gives it its size.
    made = file(folder(box, "made") / "disk.img")
    there = file(folder(box, "there") / "root.raw", b"from the node".ljust(MIB, b"\0"))
    box.launch()
    async with connected(box, cache) as handler:
        assert isinstance(await handler.sync(vmi), Done)
        assert made.stat().st_size == 8 * MIB
        serial = await Serial.of(box)
        await serial.until("login:")
        await serial.log_in()
        assert await serial.answer("cat /sys/block/vdc/size") == "16384\n"
        assert await serial.answer("head -c 13 /dev/vdd; echo") == "from the node\n"
        await serial.answer("echo from the guest >/dev/vdc; sync")
        serial.say("poweroff")
        await handler.domain("Shutoff", "Crashed")
        await handler.release()
    assert made.read_bytes().startswith(b"from the guest")
    assert there.stat().st_uid == paths.QEMU_UID


async def test_a_disk_of_the_node_that_is_not_as_it_says(
    box: Container, cache: dict[str, bytes]
) -> None:
    place = folder(box, "there")
    vmi = given(there={"hostDisk": {"type": "Disk", "path": "/data/b/root.raw"}})
    box.launch()
    async with connected(box, cache) as handler:

        async def refused() -> str:
            answer = await handler.sync(vmi)
            assert isinstance(answer, Failed), answer
            assert answer.reason == "ClaimInvalid"
            return answer.message

        assert "no disk root.raw" in await refused()
        (place / "root.raw").symlink_to("/etc/passwd")
        assert "cannot be used" in await refused()
        (place / "root.raw").unlink()
        os.mkfifo(place / "root.raw")
        assert "root.raw" in await refused()
        (place / "root.raw").unlink()
        (place / "root.raw").write_bytes(bytes(MIB))
        (place / "root.raw").chmod(0o600)
        assert f"user {paths.QEMU_UID} may read and write" in await refused()
