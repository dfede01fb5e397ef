"""What device plugins say in the environment, as devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest

from tests.node.hardware import Hardware
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.domain.facts import DeviceMissing, GivenDevice, Guest
from virtpod.domain.xml import text
from virtpod.features.devices import host_devices
from virtpod.launcher.given import given
from virtpod.launcher.shown import in_domain

VF, OTHER = "0000:3d:01.0", "0000:3d:01.1"


def test_each_plugin_s_variables_are_understood(tmp_path: Path) -> None:
    function = tmp_path / "bus/pci/devices" / VF
    function.mkdir(parents=True)
    (function / "physfn").symlink_to("../0000:3d:00.0")
    (function / "iommu_group").symlink_to("../../../../kernel/iommu_groups/17")
    environment = {
        "PCI_RESOURCE_INTEL_COM_QAT": f"{VF},{OTHER}",
        "MDEV_PCI_RESOURCE_NVIDIA_COM_T4": "aa618089-8b16-4d01-a136-25a0f3c73123",
        "USB_RESOURCE_EXAMPLE_COM_KEY": "1:4",
        "PCIDEVICE_EXAMPLE_COM_NIC": "0000:01:10.0",
        "QAT1": OTHER,
        "QAT0": VF,
    }
    names = ["intel.com/qat", "nvidia.com/T4", "example.com/key", "example.com/nic"]
    found = given([*names, "qat.intel.com/cy", "example.com/absent"], environment, tmp_path)
    pair = (GivenDevice("pci", VF, "0000:3d:00.0", group="17"), GivenDevice("pci", OTHER))
    assert found == {
        "intel.com/qat": pair,
        "nvidia.com/T4": (GivenDevice("mdev", "aa618089-8b16-4d01-a136-25a0f3c73123"),),
        "example.com/key": (GivenDevice("usb", "1:4"),),
        "example.com/nic": (GivenDevice("pci", "0000:01:10.0"),),
        "qat.intel.com/cy": pair,
    }


def shared(names: list[str], given: dict[str, tuple[GivenDevice, ...]]) -> dict[str, str]:
    """The alias of each function that a guest has whose devices of these names are all GPUs."""
    gpus = [{"name": name, "deviceName": "example.com/gpu"} for name in names]
    raw = {"spec": {"domain": {"devices": {"gpus": gpus}}}}
    vmi = msgspec.convert(raw, VirtualMachineInstance)
    found = {}
    for element in host_devices.devices(host_devices.asked(vmi), vmi, Guest(given=given)):
        xml: Any = ElementTree.fromstring(text(element))
        if xml.tag == "hostdev":
            place = xml.find("source/address").attrib
            address = ":".join(place[part][2:] for part in ("domain", "bus", "slot"))
            found[f"{address}.{place['function'][2:]}"] = xml.find("alias").get("name")
    return found


@pytest.mark.parametrize("sizes", [(4, 2), (1, 2), (2, 2), (1, 3, 1)], ids=str)
def test_each_device_is_all_functions_of_its_group(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    """A GPU with its audio and USB functions beside one that has fewer."""
    hardware = Hardware(tmp_path / "sys", tmp_path / "dev")
    expected = {}
    for card, size in enumerate(sizes):
        for number in range(size):
            address = f"0000:0{card + 5}:00.{number}"
            hardware.function(address, "10de:1eb8", "vfio-pci", str(card + 20))
            expected[address] = f"ua-gpu-g{card}" + (f"-{number}" if number else "")
    environment = {"PCI_RESOURCE_EXAMPLE_COM_GPU": ",".join(expected)}
    found = given(["example.com/gpu"], environment, hardware.root)
    names = [f"g{card}" for card in range(len(sizes))]
    assert shared(names, found) == expected


def test_no_function_is_lost_whose_group_nobody_tells() -> None:
    several = tuple(GivenDevice("pci", f"0000:05:00.{number}") for number in range(5))
    assert list(shared(["a", "b"], {"example.com/gpu": several}).values()) == [
        "ua-gpu-a",
        "ua-gpu-a-1",
        "ua-gpu-b",
        "ua-gpu-b-1",
        "ua-gpu-b-2",
    ]
    with pytest.raises(DeviceMissing, match="given no device of resource"):
        shared(["a", "b"], {"example.com/gpu": several[:1]})


def test_resources_of_intel_s_plugin_are_told_apart_by_service(tmp_path: Path) -> None:
    """It counts anew for each resource: of `QAT0` of two of them, the container has one."""
    hardware = Hardware(tmp_path / "sys", tmp_path / "dev")
    crypto = hardware.qat("0000:3d:00.0", "8086:4940", "asym;sym", group=100)
    [packer] = hardware.qat("0000:3f:00.0", "8086:4940", "dc", functions=1, group=9)
    [old] = hardware.qat("0000:41:00.0", "8086:37c8", functions=1, group=300)
    nic = "0000:01:10.0"
    hardware.function(nic, "8086:10ca", group="400")
    environment = {"QAT0": packer, "QAT1": crypto[1], "PCIDEVICE_EXAMPLE_COM_NIC": nic}
    services = ("cy", "dc", "generic")
    resources = ["example.com/nic", *(f"qat.intel.com/{each}" for each in services)]
    found = given(resources, environment, hardware.root, hardware.dev)
    assert {name: [each.address for each in those] for name, those in found.items()} == {
        "example.com/nic": [nic],
        "qat.intel.com/cy": crypto,
        "qat.intel.com/dc": [packer],
        "qat.intel.com/generic": [old],
    }
    assert found["qat.intel.com/dc"][0].parent == "0000:3f:00.0"


def test_what_is_no_address_is_no_device() -> None:
    environment = {"PCI_RESOURCE_A_B": "../../etc,0000:01:00.0x,,0000:01:00.0"}
    assert given(["a/b"], environment) == {"a/b": (GivenDevice("pci", "0000:01:00.0"),)}


def test_a_domain_tells_which_devices_it_has() -> None:
    def of(case: str) -> dict[str, str]:
        golden = Path(__file__).parents[1] / "golden/host_devices" / case / "domain.xml"
        return in_domain(ElementTree.parse(golden).getroot())

    assert of("qat") == {
        "qat0": "0000:3d:01.0",
        "qat1": "0000:3d:01.1",
        "zip": "0000:3f:01.0",
    }
    mixed = of("mixed").values()
    assert any(len(each) == 36 for each in mixed), "a mediated device's uuid"
    assert any(each.count(":") == 1 for each in mixed), "a USB device's place"
