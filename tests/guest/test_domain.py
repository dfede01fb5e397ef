"""The fields of the domain, as the guest finds them: many in one boot."""

from __future__ import annotations

import struct
from base64 import b64decode
from pathlib import Path
from time import time
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from tests.guest.conftest import MACHINE, VMI, admitted
from tests.guest.pod import UID, Container, Serial, logged_in
from virtpod.domain import paths, vhostmd
from virtpod.features.machine import pci as rooms

GATES = ("DownwardMetrics", "ExperimentalIgnitionSupport")
TABLE = struct.Struct("<4sIBB6s8sI4sI")
DMI = "/sys/class/dmi/id"
IGNITION = '{"ignition": {"version": "3.4.0"}}'
HOUR = 3600


def table(signature: bytes) -> bytes:
    """An ACPI table without content."""
    fields = (signature, TABLE.size, 1, 0, b"VIRTPO", b"TESTTABL", 1, b"TEST", 1)
    whole = bytearray(TABLE.pack(*fields))
    whole[9] = -sum(whole) & 0xFF
    return bytes(whole)


def machine(
    annotations: dict[str, str],
    volumes: list[dict[str, Any]],
    disks: list[dict[str, Any]],
    **domain: Any,
) -> dict[str, Any]:
    """The demo VMI with more in it, as admission makes it."""
    raw = yaml.safe_load(VMI)
    raw["metadata"]["annotations"] = annotations
    raw["spec"]["volumes"] += volumes
    devices = raw["spec"]["domain"]["devices"]
    devices["disks"] += disks
    raw["spec"]["domain"] |= {**domain, "devices": devices | domain.pop("devices", {})}
    return admitted(raw, *GATES)


def secret(box: Container, volume: str, **files: bytes) -> dict[str, Any]:
    """A volume of a Secret that the kubelet has mounted."""
    folder = box.inside(f"{paths.CONFIGS}/{volume}")
    folder.mkdir(parents=True)
    folder.parent.chmod(0o755)
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_bytes(content)
    return {"name": volume, "secret": {"secretName": volume}}


async def pci(serial: Serial) -> dict[str, str]:
    """Vendor and device of each function, by its address."""
    command = "cd /sys/bus/pci/devices; for d in *; do echo $d $(cat $d/vendor $d/device); done"
    found = (line.split() for line in (await serial.answer(command)).splitlines())
    return {address: f"{vendor[2:]}:{device[2:]}" for address, vendor, device in found}


@pytest.mark.shows(
    "domain.chassis.asset",
    "domain.chassis.manufacturer",
    "domain.chassis.serial",
    "domain.chassis.sku",
    "domain.chassis.version",
    "domain.firmware.serial",
    "domain.firmware.uuid",
    "domain.firmware.acpi.slicNameRef",
    "domain.firmware.acpi.msdmNameRef",
    "domain.cpu.sockets",
    "domain.cpu.threads",
    "domain.cpu.model",
    "domain.cpu.features.name",
    "domain.cpu.features.policy",
    "domain.clock.utc.offsetSeconds",
    "domain.clock.timer.hpet.present",
    "domain.devices.rng",
    "domain.devices.sound.name",
    "domain.devices.sound.model",
    "domain.devices.video.type",
    "domain.devices.inputs.bus",
    "domain.devices.inputs.type",
    "domain.devices.inputs.name",
    "domain.devices.disks.disk.pciAddress",
    "domain.devices.downwardMetrics",
    "volumes.downwardMetrics",
)
async def test_a_machine_of_many_parts(box: Container, cache: dict[str, bytes]) -> None:
    vmi = machine(
        {"kubevirt.io/ignitiondata": IGNITION},
        [
            secret(box, "licence", slic_bin=table(b"SLIC")),
            secret(box, "key", msdm_bin=table(b"MSDM")),
            {"name": "metrics", "downwardMetrics": {}},
            {"name": "placed", "emptyDisk": {"capacity": "4Mi"}},
        ],
        [
            {"name": "metrics", "disk": {"bus": "virtio", "readonly": True}},
            {"name": "placed", "disk": {"bus": "virtio", "pciAddress": "0000:08:00.0"}},
        ],
        cpu={
            "sockets": 2,
            "threads": 2,
            "model": "Nehalem",
            "features": [{"name": "sse4.2", "policy": "disable"}],
        },
        chassis={
            "manufacturer": "Carpenter",
            "version": "v2",
            "serial": "case-7",
            "asset": "shelf-3",
            "sku": "oak-7",
        },
        firmware={
            "serial": "machine-1",
            "uuid": MACHINE,
            "acpi": {"slicNameRef": "licence", "msdmNameRef": "key"},
        },
        clock={"utc": {"offsetSeconds": HOUR}, "timer": {"hpet": {"present": False}}},
        devices={
            "rng": {},
            "sound": {"name": "sound", "model": "ac97"},
            "video": {"type": "cirrus"},
            "inputs": [{"name": "tablet", "type": "tablet", "bus": "virtio"}],
            "downwardMetrics": {},
        },
    )
    async with logged_in(box, cache, vmi) as (handler, serial):
        await the_processor(serial)
        await the_firmware(serial)
        await the_clock(serial)
        await the_devices(serial)
        await the_metrics(serial)
        serial.say("poweroff")
        await handler.domain("Shutoff", "Crashed")
        await handler.release()


async def the_processor(serial: Serial) -> None:
    told = await serial.answer("cat /proc/cpuinfo")
    processors = [
        dict(line.partition(":")[::2] for line in part.replace("\t", "").splitlines())
        for part in told.strip().split("\n\n")
    ]
    assert len(processors) == 4
    assert {each["physical id"].strip() for each in processors} == {"0", "1"}
    assert {each["siblings"].strip() for each in processors} == {"2"}
    assert {each["cpu cores"].strip() for each in processors} == {"1"}
    assert "Nehalem" in processors[0]["model name"]
    flags = processors[0]["flags"].split()
    assert "sse4_1" in flags
    assert "sse4_2" not in flags


async def the_firmware(serial: Serial) -> None:
    fields = {
        "chassis_vendor": "Carpenter",
        "chassis_version": "v2",
        "chassis_serial": "case-7",
        "chassis_asset_tag": "shelf-3",
        "product_serial": "machine-1",
        "product_uuid": MACHINE,
        "sys_vendor": "KubeVirt",
        "product_family": "KubeVirt",
        "product_name": "None",
    }
    told = await serial.answer(f"cd {DMI}; cat {' '.join(fields)}")
    assert dict(zip(fields, told.splitlines(), strict=True)) == fields
    assert "oak-7" in await serial.answer("strings /sys/firmware/dmi/tables/DMI")
    for name in (b"SLIC", b"MSDM"):
        told = await serial.answer(f"base64 /sys/firmware/acpi/tables/{name.decode()}")
        assert b64decode(told) == table(name)
    config = "/sys/firmware/qemu_fw_cfg/by_name/opt/com.coreos/config/raw"
    assert await serial.answer(f"modprobe qemu_fw_cfg; cat {config}; echo") == IGNITION + "\n"


async def the_clock(serial: Serial) -> None:
    """The machine's clock is an hour ahead."""
    told, ours = int(await serial.answer("cat /sys/class/rtc/rtc0/since_epoch")), int(time())
    assert HOUR - 60 < told - ours < HOUR + 60
    sources = "/sys/devices/system/clocksource/clocksource0/available_clocksource"
    assert "hpet" not in await serial.answer(f"cat {sources}")


async def the_devices(serial: Serial) -> None:
    functions = await pci(serial)
    ids = set(functions.values())
    assert "1013:00b8" in ids, "a Cirrus card"
    assert "8086:2415" in ids, "AC'97"
    assert functions["0000:08:00.0"] == "1af4:1042", "a disk of virtio"
    # On a busy machine it is there after the prompt only.
    wait = "for i in $(seq 30); do grep -q virtio $rngs && break; sleep 1; done; cat $rngs"
    rngs = "rngs=/sys/class/misc/hw_random/rng_available"
    assert "virtio_rng" in await serial.answer(f"{rngs}; {wait}")
    assert "QEMU Virtio Tablet" in await serial.answer("cat /proc/bus/input/devices")


async def the_metrics(serial: Serial) -> None:
    """On the disk, past the guest's own cache, and by the channel."""
    size = vhostmd.DISK_SIZE
    found = await serial.answer("for d in /sys/block/vd*; do echo $d $(cat $d/size); done")
    [name] = [line.split()[0] for line in found.splitlines() if line.endswith(f" {size // 512}")]
    device = f"/dev/{Path(name).name}"
    await serial.answer("sleep 6; echo 3 >/proc/sys/vm/drop_caches")
    told = b64decode(await serial.answer(f"dd if={device} bs=4096 count=4 2>/dev/null | base64"))
    signature, busy, total, length = vhostmd.HEADER.unpack(told[: vhostmd.HEADER.size])
    content = told[vhostmd.HEADER.size :][:length]
    assert (signature, busy, sum(content)) == (vhostmd.SIGNATURE, 0, total)
    on_disk = metrics(content)
    port = "$(basename $(dirname $(grep -l vhostmd /sys/class/virtio-ports/*/name)))"
    ask = rf"exec 3<>/dev/{port}; printf 'GET /metrics/XML\n\n' >&3"
    until = (
        'while IFS= read -r line <&3; do echo "$line"; [ "$line" = \'</metrics>\' ] && break; done'
    )
    by_channel = metrics((await serial.answer(f"{ask}; {until}")).encode())
    assert on_disk.keys() == by_channel.keys()
    assert abs(int(by_channel["host", "Time"]) - int(time())) < 30
    assert int(by_channel["host", "Time"]) >= int(on_disk["host", "Time"])
    for told_of in (on_disk, by_channel):
        assert told_of["host", "VirtualizationVendor"] == "kubevirt.io"
        assert float(told_of["vm", "TotalCPUTime"]) > 0
        assert told_of["vm", "ResourceProcessorLimit"] == "4"
        assert told_of["vm", "ResourceMemoryLimit"] == str(128 * 1024)
        assert int(told_of["host", "FreePhysicalMemory"]) > 0
    said = 'until read -r line <&3 && [ -n "$line" ]; do :; done; echo $line'
    for nonsense in (
        r"printf 'GET /etc/passwd\n\n' >&3",
        r"dd if=/dev/zero bs=1000 count=20 2>/dev/null | tr '\0' x >&3",
    ):
        assert await serial.answer(f"{nonsense}; {said}") == "INVALID REQUEST\n"


def metrics(document: bytes) -> dict[tuple[str, str], str]:
    root = ElementTree.fromstring(document)
    return {
        (each.get("context", ""), each.findtext("name", "")): each.findtext("value", "")
        for each in root.iterfind("metric")
    }


@pytest.mark.shows(
    "domain.clock.timezone",
    "domain.machine.type",
    "domain.firmware.bootloader.bios.useSerial",
    "domain.devices.logSerialConsole",
    "domain.devices.autoattachInputDevice",
    "domain.devices.autoattachMemBalloon",
    "domain.devices.autoattachGraphicsDevice",
    "domain.devices.disableHotplug",
    "domain.devices.useVirtioTransitional",
    "domain.memory.maxGuest",
)
async def test_a_machine_of_few_parts(box: Container, cache: dict[str, bytes]) -> None:
    """No bridges, no display, no balloon; memory and processors that may come."""
    vmi = machine(
        {rooms.ROOT: "true", rooms.HOLE: "true"},
        [],
        [],
        memory={"guest": "192Mi", "maxGuest": "512Mi"},
        cpu={"sockets": 1, "maxSockets": 2},
        clock={"timezone": "Asia/Kolkata"},
        machine={"type": "pc-q35-9.2"},
        firmware={"bootloader": {"bios": {"useSerial": True}}},
        devices={
            "logSerialConsole": True,
            "autoattachInputDevice": True,
            "autoattachMemBalloon": False,
            "autoattachGraphicsDevice": False,
            "disableHotplug": True,
            "useVirtioTransitional": True,
        },
    )
    async with logged_in(box, cache, vmi) as (handler, serial):
        functions = await pci(serial)
        assert all(address.startswith("0000:00:") for address in functions), functions
        ids = list(functions.values())
        assert ids.count("1af4:1001") == 2, "two disks, of the older kind"
        assert "1af4:1000" in ids, "a network card of the older kind"
        assert "1af4:1058" in ids, "room for memory"
        assert not {"1af4:1002", "1af4:1045", "1af4:1004", "1af4:1048"} & set(ids), functions
        assert not any(each.startswith("1234:") for each in ids), "no display"
        assert await serial.answer("cat /sys/devices/system/cpu/online") == "0\n"
        told = int(await serial.answer("cat /sys/class/rtc/rtc0/since_epoch"))
        assert abs(told - int(time()) - 5.5 * HOUR) < 60
        assert await serial.answer(f"cat {DMI}/product_version") == "pc-q35-9.2\n"
        assert "1b36:000d" in ids, "a bus for the tablet"
        kept = box.inside(paths.serial_log(UID)).read_text(errors="replace")
        assert "SeaBIOS" in kept, "the firmware speaks there too"
        assert "login:" in kept
        serial.say("poweroff")
        await handler.domain("Shutoff", "Crashed")
        await handler.release()
