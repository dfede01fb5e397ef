"""Pointing devices.

https://libvirt.org/formatdomain.html#input-devices
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.devices import Input
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.xml import E, Element, alias
from virtpod.features.contract import UNSUPPORTED, Cause, Feature

DEFAULT = "default-0"
TYPE = "tablet"


def asked(vmi: VMI) -> list[Input] | None:
    """A tablet where one is wanted and none is named."""
    given = vmi.spec.domain.devices
    if given.autoattach_input_device and not given.inputs:
        return [Input(name=DEFAULT, type=TYPE, bus="usb")]
    return given.inputs


def defaults(inputs: list[Input], vmi: VMI, cluster: Cluster) -> None:
    vmi.spec.domain.devices.inputs = inputs


def validate(inputs: list[Input], vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    for index, given in enumerate(inputs):
        where = f"spec.domain.devices.inputs[{index}]"
        if given.bus not in (None, "", "virtio", "usb"):
            yield Cause(
                f"{where}.bus", "Input device can have only virtio or usb bus.", UNSUPPORTED
            )
        if given.type != TYPE:
            yield Cause(f"{where}.type", "Input device can have only tablet type.", UNSUPPORTED)


def devices(inputs: list[Input], vmi: VMI, facts: Guest) -> Iterable[Element]:
    for given in inputs:
        bus = given.bus or "usb"
        yield E(
            "input",
            alias(given.name),
            type=given.type,
            bus=bus,
            model="virtio" if bus == "virtio" else None,  # libvirt knows no other for a tablet
        )


FEATURE = Feature(
    name="inputs",
    owns=("domain.devices.inputs", "domain.devices.autoattachInputDevice"),
    asked=asked,
    defaults=defaults,
    validate=validate,
    devices=devices,
)
