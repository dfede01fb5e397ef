"""What a machine starts from, and what its firmware says of it before there is a system."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.guest.conftest import VMI, admitted
from tests.guest.pod import QEMU, Container, Handler, Serial, connected, debian_guest
from virtpod.domain import paths
from virtpod.wire.messages import DomainChanged, Done, Execute, Executed

BOARD = "pc-q35-9.2"


def machine(spec: dict[str, Any]) -> dict[str, Any]:
    """The demo VMI, with parts of its spec made anew."""
    raw = yaml.safe_load(VMI)
    domain = raw["spec"]["domain"]
    devices = domain["devices"] | spec.get("domain", {}).pop("devices", {})
    domain |= {**spec.pop("domain", {}), "devices": devices}
    raw["spec"] |= spec
    return admitted(raw)


@pytest.mark.shows(
    "domain.firmware.bootloader.bios.useSerial",
    "domain.machine.type",
    "domain.devices.interfaces.bootOrder",
    "domain.devices.interfaces.model",
    "domain.devices.interfaces.pciAddress",
    "domain.devices.interfaces.acpiIndex",
    "domain.devices.interfaces.dhcpOptions.bootFileName",
    "domain.devices.interfaces.dhcpOptions.tftpServerName",
    "domain.devices.disks.bootOrder",
    "domain.devices.disks.disk.readonly",
    "volumes.containerDisk.path",
)
async def test_a_machine_tries_the_network_and_then_the_disk_that_is_named(
    box: Container, disk: Path, cache: dict[str, bytes]
) -> None:
    options = {"tftpServerName": "10.0.2.1", "bootFileName": "/no/such/file"}
    vmi = machine(
        {
            "domain": {
                "machine": {"type": BOARD},
                "firmware": {"bootloader": {"bios": {"useSerial": True}}},
                "devices": {
                    "disks": [
                        {"name": "other", "disk": {"bus": "virtio", "readonly": True}},
                        {"name": "root", "disk": {"bus": "virtio"}, "bootOrder": 2},
                        {"name": "cloudinit", "disk": {"bus": "virtio"}},
                    ],
                    "interfaces": [
                        {
                            "name": "default",
                            "masquerade": {},
                            "model": "e1000e",
                            "bootOrder": 1,
                            "pciAddress": "0000:05:00.0",
                            "acpiIndex": 7,
                            "dhcpOptions": options,
                        }
                    ],
                },
            },
            "volumes": [
                {"name": "root", "containerDisk": {"image": "demo:1", "path": "/far/away.qcow2"}},
                {"name": "cloudinit", "cloudInitNoCloud": {"userData": "#cloud-config\n"}},
                {"name": "other", "emptyDisk": {"capacity": "8Mi"}},
            ],
        }
    )
    image = box.inside(paths.image_volume(0))
    (image / "far").mkdir()
    shutil.move(image / "disk" / "disk.qcow2", image / "far" / "away.qcow2")
    (image / "disk" / "disk.qcow2").write_bytes(b"not this one")
    box.launch()
    async with connected(box, cache) as handler:
        assert isinstance(await handler.sync(vmi), Done)
        serial = await Serial.of(box)
        await serial.until("SeaBIOS")
        await serial.until("iPXE")
        said = await serial.until("login:", within=250)
        assert "/no/such/file" in said
        assert "10.0.2.1" in said
        await serial.log_in()
        assert await serial.answer("cat /sys/class/dmi/id/product_version") == f"{BOARD}\n"
        card = "/sys/bus/pci/devices/0000:05:00.0"
        named = await serial.answer(f"cd {card}; cat vendor device acpi_index")
        assert named.split() == ["0x8086", "0x10d3", "7"]
        sizes = "for d in /sys/block/vd*; do echo $(cat $d/size $d/ro); done"
        assert "16384 1" in (await serial.answer(sizes)).splitlines()


@pytest.mark.shows("domain.firmware.bootloader.efi.secureBoot")
async def test_secure_boot_starts_nothing_that_is_not_signed(
    folders: tuple[Path, ...], box: Container, cache: dict[str, bytes]
) -> None:
    """The Debian guest's boot loader is not, and starts where nobody asks (test_debian.py)."""
    image = box.inside(paths.image_volume(0))
    shutil.rmtree(image)
    box.volume(0, debian_guest())
    vmi = machine(
        {
            "domain": {
                "memory": {"guest": "128Mi"},
                "features": {"smm": {"enabled": True}},
                "firmware": {"bootloader": {"efi": {"secureBoot": True}}},
            }
        }
    )
    box.launch()
    async with connected(box, cache) as handler:
        assert isinstance(await handler.sync(vmi), Done)
        serial = await Serial.of(box)
        await serial.until("Access Denied")


async def ran(handler: Handler, command: str) -> str:
    """What a command in the guest prints, by its agent."""
    answer = await handler.ask(
        lambda n: Execute(id=n, command="sh", arguments=["-c", command], within=20)
    )
    assert isinstance(answer, Executed), answer
    return answer.output


@pytest.mark.shows(
    "domain.devices.autoattachSerialConsole",
    "domain.devices.autoattachPodInterface",
    "domain.devices.autoattachInputDevice",
    "architecture",
)
async def test_what_is_attached_of_itself_is_so_only_where_it_is_wanted(
    box: Container, cache: dict[str, bytes]
) -> None:
    attached = {
        "autoattachSerialConsole": False,
        "autoattachPodInterface": False,
        "autoattachInputDevice": True,
        "interfaces": [],
    }
    vmi = machine({"domain": {"devices": attached}, "networks": [], "architecture": "amd64"})
    box.launch()
    async with connected(box, cache) as handler:
        assert isinstance(await handler.sync(vmi), Done)
        if handler.last.os is None:
            await handler.until(
                lambda m: isinstance(m, DomainChanged) and m.os is not None, within=150
            )
        assert await ran(handler, "uname -m") == "x86_64\n"
        assert (await ran(handler, "ls /sys/class/net")).split() == ["lo"]
        (qemu,) = box.processes(QEMU)  # the demo guest has no driver for it
        assert b"usb-tablet" in Path(f"/proc/{qemu}/cmdline").read_bytes()
        ports = await ran(handler, "cat /proc/tty/driver/serial")
        assert "uart:16550A" not in ports
        assert not box.inside(paths.serial_socket(vmi["metadata"]["uid"])).exists()
