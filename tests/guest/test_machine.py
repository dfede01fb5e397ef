"""What a machine is made of, as the guest in it finds it."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from images import catalogue
from images.guest import build
from tests.guest.conftest import MACHINE, VMI, admitted
from tests.guest.pod import QEMU, UID, Container, Serial, connected, logged_in
from virtpod.api.traits import VIOMMU
from virtpod.domain import paths
from virtpod.wire.messages import (
    Attest,
    Done,
    Failed,
    Kill,
    Measure,
    Measured,
    Pictured,
    Screenshot,
)

ARGUMENTS = "console=ttyS0 quiet net.ifnames=0 nokaslr intel_iommu=on seen=by-the-guest"
STATE = f"{paths.PRIVATE}/libvirt/qemu"


@pytest.fixture(scope="module")
def kernel(disk: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as an image with the demo guest's kernel has it."""
    made = tmp_path_factory.mktemp("kernel")
    build.kernel(build.tools(catalogue.DEMO_GUEST_WORK), made)
    return made


def machine(**domain: Any) -> dict[str, Any]:
    """The demo VMI with more in its domain and a disk of large blocks, as admission makes it."""
    raw = yaml.safe_load(VMI)
    raw["metadata"]["annotations"] = domain.pop("annotations", {})
    raw["spec"]["volumes"].append({"name": "scratch", "emptyDisk": {"capacity": "8Mi"}})
    blocks = {"custom": {"logical": 4096, "physical": 4096}}
    scratch = {"name": "scratch", "disk": {"bus": "virtio"}, "blockSize": blocks}
    raw["spec"]["domain"]["devices"]["disks"].append(scratch)
    devices = raw["spec"]["domain"]["devices"] | domain.pop("devices", {})
    raw["spec"]["domain"] |= {**domain, "devices": devices}
    return admitted(raw)


def boots_from(kernel: Path, box: Container) -> dict[str, Any]:
    """What names an image's kernel, which the kubelet has mounted."""
    shutil.copytree(kernel, box.inside(paths.KERNEL_BOOT)).chmod(0o755)
    image = {"image": "kernel:1", "kernelPath": "/vmlinuz", "initrdPath": "/initrd"}
    return {"kernelArgs": ARGUMENTS, "container": image}


@pytest.mark.shows(
    "domain.firmware.kernelBoot.container.image",
    "domain.firmware.kernelBoot.container.kernelPath",
    "domain.firmware.kernelBoot.container.initrdPath",
    "domain.firmware.kernelBoot.kernelArgs",
    "domain.firmware.bootloader.efi.secureBoot",
    "domain.firmware.bootloader.efi.persistent",
    "domain.devices.tpm.persistent",
)
async def test_a_kernel_of_an_image_is_booted_by_a_firmware_that_remembers_and_finds_an_iommu(
    box: Container, kernel: Path, cache: dict[str, bytes]
) -> None:
    efi = {"efi": {"secureBoot": False, "persistent": True}}
    vmi = machine(
        firmware={"bootloader": efi, "kernelBoot": boots_from(kernel, box)},
        devices={"tpm": {"persistent": True}},
        memory={"guest": "256Mi"},
        annotations={VIOMMU: "intel"},
    )
    async with logged_in(box, cache, vmi) as (handler, serial):
        assert ARGUMENTS in await serial.answer("cat /proc/cmdline")
        assert "runtime" in await serial.answer("ls /sys/firmware/efi")
        assert await serial.answer("cat /sys/class/tpm/tpm0/tpm_version_major") == "2\n"
        assert await serial.answer("ls -d /dev/tpm0") == "/dev/tpm0\n"
        assert await serial.answer("ls /sys/firmware/acpi/tables/DMAR") != ""
        assert await serial.answer("ls /sys/class/iommu") == "dmar0\n"
        assert int(await serial.answer("ls /sys/kernel/iommu_groups | wc -l")) > 3
        serial.say("poweroff")
        await handler.domain("Shutoff", "Crashed")
        # What is on the claim in a pod: the next launcher finds it there.
        assert list(box.inside(f"{STATE}/nvram").glob("*.fd"))
        kept = box.inside(f"{STATE}/swtpm/{MACHINE}/tpm2/tpm2-00.permall")
        assert kept.stat().st_size > 0
        await handler.release()


@pytest.mark.shows(
    "domain.cpu.cores",
    "domain.devices.blockMultiQueue",
    "domain.devices.networkInterfaceMultiqueue",
    "domain.devices.tpm.enabled",
    "domain.ioThreadsPolicy",
    "domain.ioThreads.supplementalPoolThreadCount",
    "domain.devices.disks.blockSize.custom.logical",
)
async def test_queues_and_threads_are_as_many_as_asked_for(
    box: Container, cache: dict[str, bytes]
) -> None:
    vmi = machine(
        cpu={"cores": 2},
        devices={"blockMultiQueue": True, "networkInterfaceMultiqueue": True, "tpm": {}},
        ioThreadsPolicy="supplementalPool",
        ioThreads={"supplementalPoolThreadCount": 3},
    )
    (box.run / "multi-queue").touch()
    async with logged_in(box, cache, vmi) as (handler, serial):
        (qemu,) = box.processes(QEMU)
        names = [task.read_text() for task in Path(f"/proc/{qemu}/task").glob("*/comm")]
        assert sum(name.startswith("IO iothread") for name in names) == 3
        assert await serial.answer("grep -c ^processor /proc/cpuinfo") == "2\n"
        assert (await serial.answer("ls /sys/block/vda/mq")).split() == ["0", "1"]
        assert await serial.answer("cat /sys/block/vdc/queue/logical_block_size") == "4096\n"
        queues = (await serial.answer("ls /sys/class/net/eth0/queues")).split()
        assert queues == ["rx-0", "rx-1", "tx-0", "tx-1"]
        assert await serial.answer("cat /sys/class/tpm/tpm0/tpm_version_major") == "2\n"
        serial.say("poweroff")
        await handler.domain("Shutoff", "Crashed")
        # A module that is not to remember leaves nothing.
        assert not list(box.inside(f"{STATE}/swtpm").glob("*/tpm2/*"))
        await handler.release()


@pytest.mark.shows("domain.devices.clientPassthrough")
async def test_what_is_seen_of_a_guest_from_outside(
    box: Container, cache: dict[str, bytes]
) -> None:
    vmi = machine(devices={"clientPassthrough": {}})
    box.launch()
    async with connected(box, cache) as handler:
        assert isinstance(await handler.sync(vmi), Done)
        serial = await Serial.of(box)
        await serial.until("\n")  # it has begun to boot
        for wake in (False, True):
            seen = await handler.ask(lambda n, wake=wake: Screenshot(id=n, wake=wake))
            assert isinstance(seen, Pictured), seen
            assert seen.png.startswith(b"\x89PNG\r\n\x1a\n")
            assert seen.png.endswith(b"IEND\xaeB`\x82")
        counted = await handler.ask(lambda n: Measure(id=n))
        assert isinstance(counted, Measured), counted
        assert counted.drives == {"vda": "root", "vdb": "cloudinit", "vdc": "scratch"}
        assert list(counted.interfaces.values()) == ["default"]
        for number in ("cpu.time", "balloon.rss", "vcpu.0.time", "block.0.rd.bytes"):
            assert isinstance(counted.counted[number], int), number
            assert counted.counted[number] > 0, number
        assert counted.counted["net.0.name"] in counted.interfaces
        assert counted.affinity == counted.counted["vcpu.current"] * (os.cpu_count() or 0)
        viewers = [await screen(box, "virt-vnc") for _ in range(2)]
        for slot in range(4):
            reader, writer = await screen(box, f"virt-usbredir-{slot}")
            greeting = await asyncio.wait_for(reader.readexactly(76), 10)
            assert b"qemu usb-redir guest" in greeting
            writer.close()
        for reader, writer in viewers:
            # Each has the display: neither pushes the other out.
            assert await asyncio.wait_for(reader.readexactly(12), 10) == b"RFB 003.008\n"
            writer.write(b"RFB 003.008\n")
            assert await asyncio.wait_for(reader.readexactly(2), 10) == b"\x01\x01"
            writer.write(b"\x01")
            assert await asyncio.wait_for(reader.readexactly(4), 10) == bytes(4)
            writer.write(b"\x00")  # alone, if the server cared
        for reader, _ in viewers:
            size = await asyncio.wait_for(reader.readexactly(24), 10)
            assert int.from_bytes(size[:2], "big") > 0
        for reader, writer in viewers:
            writer.write(b"\x03\x00" + bytes(4) + b"\x00\x10\x00\x10")
            assert await asyncio.wait_for(reader.read(1), 10)
            writer.close()
        await handler.ask(lambda n: Kill(id=n))
        await handler.domain("Shutoff", "Crashed")
        refused = await handler.ask(lambda n: Screenshot(id=n))
        platform = await handler.ask(lambda n: Attest(id=n, what="platform"))
        assert isinstance(platform, Failed)  # no SEV here, and libvirt says so
        assert "SEV" in platform.message
        assert isinstance(refused, Failed)
        await handler.release()


async def screen(box: Container, socket: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_unix_connection(box.inside(f"{paths.PRIVATE}/{UID}/{socket}"))
