"""Devices of the node that come and go while a guest runs, as the launcher plugs them."""

from __future__ import annotations

from xml.etree import ElementTree

import msgspec
import pytest

from tests.launcher.fakes import VMI
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.launcher import leaving, plug
from virtpod.launcher.hypervisor import NO_PORT, PluggedDevice, Refused, StartFailed
from virtpod.wire.messages import OwnDevice, Plugged, Sync

PREFIX = "ua-hostdevice-"


class Guest:
    """A hypervisor with devices alone. `deaf`: the guest lets nothing go."""

    def __init__(self, *devices: str) -> None:
        self.have = dict.fromkeys(devices, "<hostdev/>")
        self.own = {name: OwnDevice(name=name, kind="pci") for name in devices}
        self.deaf = False
        self.refuses = ""

    async def devices(self) -> dict[str, PluggedDevice]:
        return {name: PluggedDevice(xml) for name, xml in self.have.items()}

    async def attach(self, xml: str) -> None:
        if self.refuses:
            raise Refused(self.refuses)
        name = ElementTree.fromstring(xml).find("alias").get("name")  # type: ignore[union-attr]
        self.have[name.removeprefix(PREFIX)] = xml

    async def detach(self, device: PluggedDevice) -> None:
        if not self.deaf:
            self.have = {name: xml for name, xml in self.have.items() if xml != device.xml}

    def owns(self, devices: tuple[OwnDevice, ...], without: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        self.own |= {each.name: each for each in devices}
        self.own = {name: each for name, each in self.own.items() if name not in without}


def vmi(*devices: str, plugged: str = "") -> VirtualMachineInstance:
    asked = [{"name": name, "deviceName": "example.com/card"} for name in devices]
    spec = {**VMI["spec"], "domain": {**VMI["spec"]["domain"], "devices": {"hostDevices": asked}}}
    metadata = {**VMI["metadata"], "annotations": {"virtpod.io/plugged-devices": plugged}}
    return msgspec.convert({**VMI, "metadata": metadata, "spec": spec}, VirtualMachineInstance)


def request(*plugged: tuple[str, str], unplugged: tuple[str, ...] = ()) -> Sync:
    return Sync(
        id=1,
        vmi=msgspec.Raw(b"{}"),
        plugged=[Plugged(name=name, kind="pci", address=address) for name, address in plugged],
        unplugged=list(unplugged),
    )


async def test_a_device_is_plugged_in_once_and_told_of() -> None:
    guest = Guest("cold")
    wants = vmi("cold", "card", plugged="card")
    for _ in range(2):
        await plug.sync(wants, request(("card", "0000:01:10.0")), guest)  # type: ignore[arg-type]
    assert list(guest.have) == ["cold", "card"]
    hostdev = ElementTree.fromstring(guest.have["card"])
    assert hostdev.get("managed") == "no"
    assert hostdev.find("address") is None, "libvirt finds it a port"
    assert hostdev.find("source/address").attrib == {  # type: ignore[union-attr]
        "domain": "0x0000",
        "bus": "0x01",
        "slot": "0x10",
        "function": "0x0",
    }
    assert guest.own["card"].address == "0000:01:10.0"
    assert set(guest.own) == {"cold", "card"}


async def test_all_functions_of_a_unit_come_and_go_together() -> None:
    guest = Guest("cold")
    both = request(("card", "0000:01:10.0"), ("card", "0000:01:10.2"))
    await plug.sync(vmi("cold", "card", plugged="card"), both, guest)  # type: ignore[arg-type]
    assert list(guest.have) == ["cold", "card", "card-1"]
    await plug.sync(vmi("cold"), request(unplugged=("card",)), guest)  # type: ignore[arg-type]
    assert list(guest.have) == list(guest.own) == ["cold"]


async def test_what_the_spec_has_no_more_is_not_plugged_in() -> None:
    guest = Guest()
    await plug.sync(vmi(), request(("card", "0000:01:10.0")), guest)  # type: ignore[arg-type]
    assert not guest.have


async def test_a_guest_that_does_not_let_go_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "LET_GO_WITHIN", 0.01)
    monkeypatch.setattr(leaving, "LOOK_EVERY", 0.001)
    guest = Guest("card")
    guest.deaf = True
    with pytest.raises(StartFailed, match="does not let device card go"):
        await plug.sync(vmi(), request(unplugged=("card",)), guest)  # type: ignore[arg-type]
    assert "card" in guest.own, "it has it still"


@pytest.mark.parametrize(
    ("refuses", "says"),
    [(f"internal error: {NO_PORT}", "no free port.*pci-topology-version"), ("busy", "^busy$")],
)
async def test_a_device_that_cannot_come_says_why(refuses: str, says: str) -> None:
    guest = Guest()
    guest.refuses = refuses
    with pytest.raises(StartFailed, match=says):
        await plug.sync(
            vmi("card", plugged="card"),
            request(("card", "0000:01:10.0")),
            guest,  # type: ignore[arg-type]
        )
    assert not guest.own
