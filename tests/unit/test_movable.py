"""Which devices of the node keep a guest where it is, as condition LiveMigratable names them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from virtpod.api.network import Interface
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.render.observe import blocks_migration
from virtpod.wire.messages import DomainChanged, OwnDevice

CY = OwnDevice(
    name="cy",
    kind="pci",
    address="0000:3d:01.0",
    id="8086:4941",
    driver="qat_vfio_pci",
    services="sym;asym",
    moves=True,
)
REPLACED = msgspec.structs.replace


def vmi(*devices: dict[str, Any], **spec: Any) -> VirtualMachineInstance:
    named = [{"deviceName": "qat.intel.com/cy", **each} for each in devices]
    whole = {"domain": {"devices": {"hostDevices": named}}, **spec}
    return msgspec.convert({"spec": whole}, VirtualMachineInstance)


def told(machine: VirtualMachineInstance, *devices: OwnDevice) -> str:
    domain = DomainChanged(seq=1, state="Running", devices=devices)
    return " ".join(blocks_migration(machine, domain))


def test_devices_that_all_move_do_not_block() -> None:
    assert told(vmi({"name": "cy"}), CY) == ""


@pytest.mark.parametrize(
    ("device", "why"),
    [
        (
            REPLACED(CY, driver="vfio-pci", moves=False),
            "cy (0000:3d:01.0, driver vfio-pci: bind it to qat_vfio_pci, of Linux 6.10 and later)",
        ),
        (
            REPLACED(CY, id="8086:4949", driver="vfio-pci", moves=False),
            "cy (0000:3d:01.0, driver vfio-pci: bind it to qat_vfio_pci, of Linux 6.17 and later)",
        ),
        (
            REPLACED(CY, id="8086:37c9", driver="vfio-pci", moves=False),
            "cy (0000:3d:01.0, driver vfio-pci, which does not save the device's state)",
        ),
        (
            REPLACED(CY, moves=False),
            "cy (0000:3d:01.0, driver qat_vfio_pci, which does not save the device's state)",
        ),
        (OwnDevice(name="cy", kind="usb"), "cy (a usb device that cannot save its state)"),
    ],
)
def test_the_one_that_blocks_is_named_with_what_to_do(device: OwnDevice, why: str) -> None:
    other = REPLACED(CY, name="other", address="0000:3d:01.1")
    said = told(vmi({"name": "cy"}, {"name": "other"}), other, device)
    assert said == f"HostDeviceNotLiveMigratable: devices of its node stay there: {why}"


def test_of_a_guest_whose_devices_nobody_looked_at_all_are_named() -> None:
    assert "cy (qat.intel.com/cy)" in told(vmi({"name": "cy"}))


def test_a_claim_by_name_stays_with_its_node() -> None:
    asks = {"name": "cy", "deviceName": None, "claimName": "crypto", "requestName": "it"}
    template = [{"name": "crypto", "resourceClaimTemplateName": "engines"}]
    assert told(vmi(asks, resourceClaims=template), CY) == ""
    claim = [{"name": "crypto", "resourceClaimName": "engine"}]
    assert "claim crypto is one ResourceClaim" in told(vmi(asks, resourceClaims=claim), CY)


def test_functions_of_a_network_card_are_told_apart() -> None:
    nic = OwnDevice(name="fast", kind="pci", address="0000:81:02.1", driver="mlx5-vfio-pci")
    machine = vmi({"name": "cy"}, networks=[{"name": "fast", "multus": {"networkName": "vfs"}}])
    nics = [{"name": "fast", "sriov": {}}]
    machine.spec.domain.devices.interfaces = msgspec.convert(nics, list[Interface])
    assert told(machine, CY, REPLACED(nic, moves=True)) == ""
    said = told(machine, CY, nic)
    assert said.startswith("InterfaceNotLiveMigratable")
    assert said.endswith("fast")
