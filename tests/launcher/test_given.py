"""What device plugins say in the environment, as devices."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from virtpod.domain.facts import GivenDevice
from virtpod.launcher.given import given
from virtpod.launcher.shown import in_domain

VF, OTHER = "0000:3d:01.0", "0000:3d:01.1"


def test_each_plugin_s_variables_are_understood(tmp_path: Path) -> None:
    function = tmp_path / "bus/pci/devices" / VF
    function.mkdir(parents=True)
    (function / "physfn").symlink_to("../0000:3d:00.0")
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
    pair = (GivenDevice("pci", VF, "0000:3d:00.0"), GivenDevice("pci", OTHER))
    assert found == {
        "intel.com/qat": pair,
        "nvidia.com/T4": (GivenDevice("mdev", "aa618089-8b16-4d01-a136-25a0f3c73123"),),
        "example.com/key": (GivenDevice("usb", "1:4"),),
        "example.com/nic": (GivenDevice("pci", "0000:01:10.0"),),
        "qat.intel.com/cy": pair,
    }


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
