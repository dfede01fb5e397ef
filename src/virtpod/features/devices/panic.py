"""Panic devices, by which a guest says that its kernel has given up.

https://libvirt.org/formatdomain.html#panic-device
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.devices import PanicDevice
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.xml import E, Element
from virtpod.features.contract import DUPLICATE, UNSUPPORTED, Cause, Feature

MODELS = ("hyperv", "isa", "pvpanic")


def asked(vmi: VMI) -> list[PanicDevice] | None:
    return vmi.spec.domain.devices.panic_devices


def validate(panics: list[PanicDevice], vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    for index, panic in enumerate(panics):
        if panic.model not in MODELS:
            yield Cause(
                f"spec.domain.devices.panicDevices[{index}].model",
                f"panic device model {panic.model!r} is not known; one of {', '.join(MODELS)}",
                UNSUPPORTED,
            )
        elif any(other.model == panic.model for other in panics[:index]):
            where = f"spec.domain.devices.panicDevices[{index}].model"
            message = f"{where}: a machine has one panic device of model {panic.model!r}"
            yield Cause(where, message, DUPLICATE)


def devices(panics: list[PanicDevice], vmi: VMI, facts: Guest) -> Iterable[Element]:
    for panic in panics:
        yield E("panic", model=panic.model)


FEATURE = Feature(
    name="panic",
    owns=("domain.devices.panicDevices",),
    asked=asked,
    validate=validate,
    devices=devices,
)
