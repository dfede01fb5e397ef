"""What is wrong with a device that was offered, or that a guest has: pure.

https://docs.kernel.org/admin-guide/abi-testing.html (debugfs-driver-qat,
sysfs-bus-pci-devices-aer_stats)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from virtpod.node.devices.qat import Engine
from virtpod.node.devices.sysfs import DEVICES, Errors, Function

QUIET = 300.0
"""Seconds without another fatal error until a device is trusted again."""


@dataclass(frozen=True, order=True)
class Fault:
    """`reason` in one word; `message`: what is wrong and what to do."""

    reason: str
    message: str


def of_engine(engine: Engine) -> Fault | None:
    """Of a physical QAT function, and with it of all its virtual ones."""
    address = engine.address
    if not engine.function.driver:
        return Fault(
            "NoDriver",
            f"QAT device {address} has lost its driver: bind it again, by "
            f"/sys/bus/pci/drivers_probe, or restart the node",
        )
    if not engine.up:
        return Fault(
            "DeviceDown",
            f"QAT device {address} is down: its functions are not given to guests; "
            f"set it up again by /sys/{DEVICES}/{address}/qat/state",
        )
    if not engine.beats:
        return Fault(
            "NoHeartbeat",
            f"QAT device {address} has no heartbeat: its functions are not given to guests; "
            f"set it up again by /sys/{DEVICES}/{address}/qat/state, or let its driver do so: "
            "autoReset of its QATNodePolicy",
        )
    return None


def of_errors(address: str, count: int) -> Fault:
    """Of a function that has told of fatal errors of late."""
    return Fault(
        "FatalErrors",
        f"PCI device {address} has reported {count} fatal errors to AER: look at the node's kernel "
        f"log; it is given to guests again when {QUIET:.0f} s have passed without another",
    )


def of_node(path: str) -> Fault:
    return Fault(
        "NoDeviceNode", f"{path} is not on the node: look at its vfio modules and its /dev"
    )


def of_gone(device: str, resource: str) -> Fault:
    return Fault(
        "DeviceRemoved",
        f"Device {device} of {resource} is gone from the node: a guest that has it must be "
        "restarted",
    )


def of_held(
    address: str, functions: Mapping[str, Function], engines: Mapping[str, Engine]
) -> Fault | None:
    """Of a function that somebody has and that is offered no more."""
    function = functions.get(address)
    if function is None:
        return Fault(
            "DeviceRemoved",
            f"PCI device {address} is gone from the node: a guest that has it must be restarted",
        )
    if not function.vfio:
        now = f"driver {function.driver}" if function.driver else "no driver"
        return Fault(
            "DriverChanged",
            f"PCI device {address} was taken from VFIO and has {now} now: bind it to vfio-pci, and "
            "restart the guest that has it",
        )
    engine = engines.get(function.parent)
    return of_engine(engine) if engine else None


class Watch:
    """What AER counts, followed: since when each function has had no new fatal error."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, float | None]] = {}

    def seen(self, address: str, errors: Errors, now: float) -> Fault | None:
        """The fault of a function that told of a fatal error since we look, and lately. A counter
        that begins anew (the device was reset, or came again) is no error."""
        count = errors.fatal
        if count is None:
            self._last.pop(address, None)
            return None
        before, at = self._last.get(address, (count, None))
        if count > before:
            at = now
        elif count < before or (at is not None and now - at >= QUIET):
            at = None
        self._last[address] = count, at
        return of_errors(address, count) if at is not None else None
