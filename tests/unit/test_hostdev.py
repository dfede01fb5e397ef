"""The emulated node's parts that need no emulation: what is done in sysfs, and command lines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from localcluster import layout
from localcluster.progress import Failed
from scripts import hostdev
from scripts.hostdev import functions, guest, machine
from tests.node.hardware import Hardware

CARD = "0000:01:00.0"
PARTS = machine.Parts(
    kernel=Path("/k/vmlinuz"),
    modules=Path("/k/modules"),
    plan=Path("/k/boot.json"),
    disk=Path("/k/disk.raw"),
    given=Path("/k/given.raw"),
    console=Path("/k/console.log"),
)


@pytest.fixture
def hardware(tmp_path: Path) -> Hardware:
    made = Hardware(tmp_path / "sys", tmp_path / "dev")
    folder = made.function(CARD, hostdev.CARD, driver="igb", group="5")
    (folder / "sriov_totalvfs").write_text("7\n")
    for number in range(2):
        address = f"0000:01:10.{2 * number}"
        made.function(address, hostdev.FUNCTION, driver="", group=str(7 + number))
        (folder / f"virtfn{number}").symlink_to(f"../{address}")
    return made


def test_a_function_is_found_by_its_ids(hardware: Hardware) -> None:
    assert functions.find(hardware.root, hostdev.CARD) == CARD
    with pytest.raises(functions.Missing, match="2 PCI functions are 8086:10ca, one is wanted"):
        functions.find(hardware.root, hostdev.FUNCTION)


def test_virtual_functions_are_made_in_the_order_of_their_numbers(hardware: Hardware) -> None:
    made = functions.create(hardware.root, CARD, 2)
    assert made == ("0000:01:10.0", "0000:01:10.2")
    assert (hardware.root / f"bus/pci/devices/{CARD}/sriov_numvfs").read_text() == "2"
    with pytest.raises(functions.Missing, match="makes at most 7 virtual functions, not 8"):
        functions.create(hardware.root, CARD, 8)


def test_who_is_not_given_away_is_told_of(hardware: Hardware) -> None:
    """A folder has no kernel that would bind anything."""
    with pytest.raises(functions.Missing, match=r"01:10\.0 is not driven by vfio-pci but by none"):
        functions.give_away(hardware.root, "0000:01:10.0")
    folder = hardware.root / "bus/pci/devices/0000:01:10.0"
    assert (folder / "driver_override").read_text() == "vfio-pci"
    assert (hardware.root / "bus/pci/drivers_probe").read_text() == "0000:01:10.0"


def test_functions_are_described_with_driver_and_group(hardware: Hardware) -> None:
    assert functions.described(hardware.root) == [
        "0000:01:00.0 8086:10c9 driver igb group 5",
        "0000:01:10.0 8086:10ca driver - group 7",
        "0000:01:10.2 8086:10ca driver - group 8",
    ]


def test_the_kernel_hands_the_first_process_its_plan() -> None:
    line = machine.kernel_command_line(PARTS, "/venv/bin/python")
    kernels, _, words = line.partition(" -- ")
    assert words == "-m scripts.hostdev.boot /k/boot.json"
    assert "init=/venv/bin/python" in kernels.split()
    assert f"PYTHONPATH={layout.ROOT}" in kernels.split()
    with pytest.raises(Failed, match="too long for a kernel's command line"):
        machine.kernel_command_line(replace(PARTS, plan=Path("/" + "x" * 2000)))


def test_each_function_has_a_port_of_its_own() -> None:
    words = machine.qemu(PARTS, Path("/s"), Path("/mnt"))
    given = [word for word in words if word.startswith(("igb,", "nvme,"))]
    assert [word.partition("bus=")[2].split(",")[0] for word in given] == ["port1", "port2"]
    assert "file=/mnt/k/given.raw" in " ".join(words)


def test_the_guest_differs_from_the_demo_by_its_kernel() -> None:
    assert "linux-image-amd64" in guest.PACKAGES
    assert not [name for name in guest.PACKAGES if "cloud" in name]
