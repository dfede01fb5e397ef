"""Whether a guest's devices can move with it: the kernel's word, else what is known of drivers.

No machine that runs the tests has a device that moves, so that the kernel's part is played: by a
function that answers the requests as include/uapi/linux/vfio.h has them.
"""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.node.hardware import Hardware, link, write
from virtpod.launcher.movable import devices
from virtpod.wire.messages import OwnDevice

UUID = "aa618089-8b16-4d01-a136-25a0f3c73123"
DOMAIN = f"""
<domain type="kvm">
  <devices>
    <hostdev mode="subsystem" type="pci" managed="no">
      <source><address domain="0x0000" bus="0x3d" slot="0x01" function="0x0" /></source>
      <alias name="ua-hostdevice-cy" />
    </hostdev>
    <hostdev mode="subsystem" type="mdev" model="vfio-pci" managed="no">
      <source><address uuid="{UUID}" /></source>
      <alias name="ua-gpu-screen" />
    </hostdev>
    <hostdev mode="subsystem" type="usb">
      <source><address bus="1" device="4" /></source>
      <alias name="ua-hostdevice-stick" />
    </hostdev>
  </devices>
</domain>
"""


class Kernel:
    """Answers like one whose devices can do what `flags` says; None: its driver knows nothing of
    migration."""

    def __init__(self, flags: int | None) -> None:
        self.flags = flags
        self.asked: list[str] = []
        self.given: list[int] = []

    def __call__(self, file: int, request: int, argument: int | bytes | bytearray) -> Any:
        match request:
            case 0x3B68 | 0x3B66 | 0x3B69:
                self.asked.append({0x3B68: "join", 0x3B66: "type", 0x3B69: "leave"}[request])
                return 0
            case 0x3B6A:
                assert isinstance(argument, bytearray)
                self.asked.append(argument.rstrip(b"\0").decode())
                self.given.append(os.open("/dev/null", os.O_RDWR))
                return self.given[-1]
            case 0x3B75:
                assert isinstance(argument, bytearray)
                size, flags, _ = struct.unpack("IIQ", argument)
                assert (size, flags) == (16, 1 << 16 | 1), "get VFIO_DEVICE_FEATURE_MIGRATION"
                if self.flags is None:
                    raise OSError(errno.ENOTTY, "no such feature")
                struct.pack_into("Q", argument, 8, self.flags)
                return 0
        raise AssertionError(hex(request))

    def check_closed(self) -> None:
        for file in self.given:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(file)


@pytest.fixture
def hardware(tmp_path: Path) -> Hardware:
    made = Hardware(tmp_path / "sys", tmp_path / "dev")
    made.qat("0000:3d:00.0", "8086:4940", "sym;asym", driver="qat_vfio_pci", group=100)
    link(made.root / f"bus/mdev/devices/{UUID}/iommu_group", "../../12")
    write(made.dev / "vfio/12", "")
    return made


def seen(hardware: Hardware, kernel: Any) -> list[OwnDevice]:
    return list(devices(DOMAIN, hardware.root, hardware.dev, kernel))


@pytest.mark.parametrize(("flags", "moves"), [(0b101, True), (0b010, False), (None, False)])
def test_the_kernel_says_which_devices_move(
    hardware: Hardware, flags: int | None, moves: bool
) -> None:
    kernel = Kernel(flags)
    function, mediated, usb = seen(hardware, kernel)
    assert function == OwnDevice(
        name="cy",
        kind="pci",
        address="0000:3d:01.0",
        id="8086:4941",
        driver="qat_vfio_pci",
        services="sym;asym",
        moves=moves,
    )
    assert mediated == OwnDevice(name="screen", kind="mdev", address=UUID, moves=moves)
    assert usb == OwnDevice(name="stick", kind="usb")
    steps = ["join", "type", "0000:3d:01.0", "leave", "join", "type", UUID, "leave"]
    assert kernel.asked == steps, "it is left as it was found"
    kernel.check_closed()


@pytest.mark.parametrize(("driver", "moves"), [("qat_vfio_pci", True), ("vfio-pci", False)])
def test_a_device_that_cannot_be_opened_is_known_by_its_driver(
    hardware: Hardware, driver: str, moves: bool
) -> None:
    link(hardware.root / "bus/pci/devices/0000:3d:01.0/driver", f"../../drivers/{driver}")

    def refuses(*_: Any) -> Any:
        raise OSError(errno.EBUSY, "in use")

    assert seen(hardware, refuses)[0].moves is moves
    (hardware.dev / "vfio/101").unlink()
    assert seen(hardware, Kernel(1))[0].moves is moves


def test_nodes_that_are_no_vfio_devices_say_nothing(hardware: Hardware) -> None:
    """The real ioctl, on files of this test."""
    assert devices(DOMAIN, hardware.root, hardware.dev)[0].moves
