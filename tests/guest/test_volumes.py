"""Volumes of all kinds in one guest, with what the kubelet and virt-handler do made by hand."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.guest.conftest import VMI, admitted
from tests.guest.pod import Container, Handler, Serial, connected
from virtpod.domain import paths
from virtpod.wire.messages import Done, DumpMemory, Failed

MIB = 1 << 20
GATES = ("HostDisk", "EnableVirtioFsStorageVolumes", "ContainerPathVolumes")


def given(*folders: str, **sources: Any) -> dict[str, Any]:
    """The demo VMI with more volumes, each a virtio disk but for those that are folders, as
    admission makes it."""
    raw = yaml.safe_load(VMI)
    spec = raw["spec"]
    devices = spec["domain"]["devices"]
    devices["filesystems"] = [{"name": name, "virtiofs": {}} for name in folders]
    for name, source in sources.items():
        spec["volumes"].append({"name": name, **source})
        if name not in folders:
            devices["disks"].append({"name": name, "disk": {"bus": "virtio"}})
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
        keys={"secret": {"secretName": "keys"}},
    )
    odd = {"..hidden": "a", "long-" * 40: "b", "-n": "c"}
    projected(box, "keys", **odd)
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
        await serial.answer("mount -t iso9660 -o ro /dev/vde /mnt")
        names = (await serial.answer("ls -A /mnt")).splitlines()
        assert sorted(names) == sorted(odd)
        assert await serial.answer("cat /mnt/..hidden /mnt/long* /mnt/-n; echo") == "abc\n"
        await dumped(box, handler, serial)
        serial.say("poweroff")
        await handler.domain("Shutoff", "Crashed")
        await handler.release()
    assert made.read_bytes().startswith(b"from the guest")
    assert there.stat().st_uid == paths.QEMU_UID


async def dumped(box: Container, handler: Handler, serial: Serial) -> None:
    """What the guest has in its memory comes into a file, and the guest goes on."""
    place = box.inside(paths.hotplug("dump"))
    place.mkdir(parents=True)
    shutil.chown(place, paths.QEMU_UID, paths.QEMU_UID)
    await serial.answer("needle=nee''dle-$((4000 + 711))")

    async def dump(file: str, volume: str = "dump") -> Any:
        return await handler.ask(lambda n: DumpMemory(id=n, volume=volume, file=file), 120)

    assert isinstance(await dump("vm.memory.dump"), Done)
    found = place / "vm.memory.dump"
    content = found.read_bytes()
    assert content[:6] == b"\x7fELF\x02\x01"
    kind, machine = struct.unpack_from("<HH", content, 16)
    assert (kind, machine) == (4, 62)  # a core file of x86-64
    assert len(content) > 128 * MIB
    assert b"needle-4711" in content
    await handler.domain("Running")
    # Told again, not written again.
    written = found.stat().st_mtime_ns
    assert isinstance(await dump("vm.memory.dump"), Done)
    assert found.stat().st_mtime_ns == written
    # Nothing that is there is written to, and nothing outside of the claim.
    (place / "link.memory.dump").symlink_to("../outside")
    file(place / "there.memory.dump", b"somebody's")
    for name in ("link.memory.dump", "there.memory.dump", "../up.memory.dump", "a/b"):
        assert isinstance(await dump(name), Failed), name
    assert (place / "there.memory.dump").read_bytes() == b"somebody's"
    assert sorted(path.name for path in place.parent.iterdir()) == ["dump"]
    answer = await dump("vm.memory.dump", "nowhere")
    assert isinstance(answer, Failed)
    assert "No such file" in answer.message


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


def projected(box: Container, volume: str, **files: str) -> Path:
    """A ConfigMap's files, as the kubelet mounts them and exchanges them as a whole."""
    made = box.inside(paths.config_folder(volume))
    made.mkdir(parents=True, exist_ok=True)
    version = made / f"..{len(list(made.iterdir()))}"
    version.mkdir()
    for name, text in files.items():
        (version / name).write_text(text)
        if not (made / name).is_symlink():
            (made / name).symlink_to(f"..data/{name}")
    (made / "..new").symlink_to(version.name)
    os.rename(made / "..new", made / "..data")
    return made


@pytest.mark.shows("domain.devices.filesystems.*", "volumes.containerPath.*")
async def test_a_guest_mounts_folders(box: Container, cache: dict[str, bytes]) -> None:
    vmi = given(
        *("data", "settings", "token"),
        data={"persistentVolumeClaim": {"claimName": "data"}},
        settings={"configMap": {"name": "settings"}},
        token={"containerPath": {"path": "/run/tokens", "readOnly": True}},
    )
    data = folder(box, "data")
    file(data / "from-the-claim", b"kept")
    (data / "out").symlink_to(paths.PRIVATE)
    projected(box, "settings", colour="green")
    (box.run / "tokens").mkdir()
    (box.run / "tokens" / "token").write_text("secret")
    box.launch()
    async with connected(box, cache) as handler:
        assert isinstance(await handler.sync(vmi), Done)
        assert len(box.processes("virtiofsd")) == 3
        serial = await Serial.of(box)
        await serial.until("login:")
        await serial.log_in()
        for name in ("data", "settings", "token"):
            mount = f"mkdir /mnt/{name}; mount -t virtiofs {name} /mnt/{name}; echo $?"
            assert await serial.answer(mount) == "0\n"
        assert await serial.answer("cat /mnt/data/from-the-claim; echo") == "kept\n"
        assert await serial.answer("stat -c %u /mnt/data/from-the-claim") == "0\n"
        # Root writes, and so does somebody else.
        await serial.answer("mkdir -m 777 /mnt/data/ours; echo guest >/mnt/data/ours/root")
        await serial.answer("su demo -c 'echo demo >/mnt/data/ours/demo'; sync")
        assert (data / "ours" / "root").read_text() == "guest\n"
        assert (data / "ours" / "demo").read_text() == "demo\n"
        assert (data / "ours" / "demo").stat().st_uid == paths.QEMU_UID
        # A link is the guest's to follow, and leads nowhere but into the guest.
        assert (
            await serial.answer("ls /mnt/data/out/secret 2>/dev/null || echo nothing")
            == "nothing\n"
        )
        assert await serial.answer("cat /mnt/settings/colour; echo") == "green\n"
        projected(box, "settings", colour="blue")
        await serial.answer("sleep 2")  # how long virtiofsd lets the guest remember
        assert await serial.answer("cat /mnt/settings/colour; echo") == "blue\n"
        assert await serial.answer("cat /mnt/token/token; echo") == "secret\n"
        for place in ("settings", "token"):
            assert "Read-only" in await serial.answer(f"touch /mnt/{place}/x 2>&1")
        serial.say("poweroff")
        await handler.domain("Shutoff", "Crashed")
        await handler.release()
    assert await box.exit_code(20) == 0
    assert sorted(path.name for path in data.iterdir()) == ["from-the-claim", "ours", "out"]


async def test_a_folder_that_nobody_mounted_is_not_shown(
    box: Container, cache: dict[str, bytes]
) -> None:
    vmi = given("token", token={"containerPath": {"path": "/etc/ssl", "readOnly": True}})
    box.launch()
    async with connected(box, cache) as handler:
        answer = await handler.sync(vmi)
        assert isinstance(answer, Failed), answer
        assert "nothing is mounted at /etc/ssl" in answer.message


def qcow2(backing: int = 0, features: int = 0) -> bytes:
    """A header that says 1 MiB, and nothing behind it."""
    head = struct.pack(">4sIQIIQ", b"QFI\xfb", 3, backing, 0, 16, MIB).ljust(72, b"\0")
    return head + struct.pack(">QQQII", features, 0, 0, 4, 104)


IMAGES = {
    "no disk": (None, "it has 0"),
    "empty": (b"", "is empty"),
    "compressed": (b"\x1f\x8b\x08\0", "compressed by gzip"),
    "another format": (b"KDMV".ljust(512, b"\0"), "is a VMDK image"),
    "cut off": (qcow2()[:60], "truncated"),
    "over another file": (qcow2(backing=512), "has a backing file"),
    "data elsewhere": (qcow2(features=4), "keeps its data in another file"),
    "a disk without its tables": (qcow2().ljust(65536, b"\xff"), "qemu-img"),
}
"""By what is wrong: the file in the image, and words of what is said of it."""


async def test_each_image_that_is_no_disk_says_why(
    box: Container, cache: dict[str, bytes], tmp_path: Path
) -> None:
    vmi = given(extra={"containerDisk": {"image": "extra:1"}})
    place = box.inside(paths.image_volume(len(vmi["spec"]["volumes"]) - 1)) / "disk"
    place.mkdir(parents=True)
    box.launch()
    async with connected(box, cache) as handler:
        for what, (content, words) in IMAGES.items():
            # Under a new name each time: what is open stays what it was.
            shutil.rmtree(place)
            place.mkdir()
            if content is not None:
                file(place / what.replace(" ", "-"), content)
            answer = await handler.sync(vmi)
            assert isinstance(answer, Failed), what
            assert answer.reason in ("ContainerDiskInvalid", "PreparationFailed"), what
            assert words in answer.message, (what, answer.message)


def noted(vmi: dict[str, Any], volume: str, mode: str, size: str = "64Mi") -> dict[str, Any]:
    """What virt-controller has noted of a claim."""
    info = {"claimName": volume, "volumeMode": mode, "capacity": {"storage": size}}
    told = {"name": volume, "target": "", "persistentVolumeClaimInfo": info}
    vmi["status"]["volumeStatus"] = [told]
    return vmi


async def test_each_volume_that_is_not_as_it_should_be_says_why(
    box: Container, cache: dict[str, bytes]
) -> None:
    claim = {"persistentVolumeClaim": {"claimName": "data"}}
    disk = noted(given(data=claim), "data", "Filesystem")
    lun = noted(given(data=claim), "data", "Filesystem")
    lun["spec"]["domain"]["devices"]["disks"][-1] = {"name": "data", "lun": {"bus": "scsi"}}
    shown = noted(given("data", data=claim), "data", "Block")
    answers = given(data={"sysprep": {"configMap": {"name": "data"}}})
    files = given(data={"configMap": {"name": "data"}})
    place = folder(box, "data")
    tmpfs = ["mount", "-t", "tmpfs", "-o", "size=4m,uid=107", "data", place]
    subprocess.run(tmpfs, check=True)  # noqa: ASYNC221
    projected(box, "data", **{"not-an-answer.xml": ""})
    try:
        box.launch()
        async with connected(box, cache) as handler:

            async def refused(vmi: dict[str, Any], reason: str) -> str:
                answer = await handler.sync(vmi)
                assert isinstance(answer, Failed), answer
                assert answer.reason == reason, answer
                return answer.message

            said = await refused(disk, "ClaimInvalid")
            assert "no room for its disk of 64 MiB" in said
            assert "must be a block device" in await refused(lun, "PreparationFailed")
            assert "has volumeMode Block" in await refused(shown, "PreparationFailed")
            assert "autounattend.xml" in await refused(answers, "PreparationFailed")
            projected(box, "data", large="x" * (MIB + 1))
            assert "larger than 1 MiB" in await refused(files, "PreparationFailed")
            shutil.rmtree(box.inside(paths.config_folder("data")))
            (place / "disk.img").unlink(missing_ok=True)
            (place / "disk.img").mkdir()
            assert "disk.img in volume data" in await refused(disk, "ClaimInvalid")
    finally:
        box.end()
        subprocess.run(["umount", "--lazy", place], check=True)  # noqa: ASYNC221
