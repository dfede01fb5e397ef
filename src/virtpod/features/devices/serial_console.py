"""The first serial port, as a unix socket that `virtctl console` ends at.

https://libvirt.org/formatdomain.html#consoles-serial-parallel-channel-devices
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain import paths
from virtpod.domain.facts import Guest
from virtpod.domain.xml import E, Element
from virtpod.features.contract import Feature


def asked(vmi: VMI) -> bool:
    return vmi.spec.domain.devices.autoattach_serial_console is not False


def devices(part: bool, vmi: VMI, facts: Guest) -> Iterable[Element]:
    socket = paths.serial_socket(vmi.metadata.uid or "")
    yield E("serial", E("source", mode="bind", path=socket), E("target", port=0), type="unix")
    yield E("console", E("target", type="serial", port=0), type="pty")


FEATURE = Feature(
    name="serial_console",
    owns=("domain.devices.autoattachSerialConsole",),
    asked=asked,
    devices=devices,
)
