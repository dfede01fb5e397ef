"""A sound card. Nobody hears it, but some guests will not install without one.

https://libvirt.org/formatdomain.html#sound-devices
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.devices import SoundDevice
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.xml import E, Element, alias
from virtpod.features.contract import REQUIRED, UNSUPPORTED, Cause, Feature

MODELS = ("ich9", "ac97")


def asked(vmi: VMI) -> SoundDevice | None:
    return vmi.spec.domain.devices.sound


def validate(sound: SoundDevice, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    if not sound.name:
        yield Cause("spec.domain.devices.sound", "Sound device requires a name field.", REQUIRED)
    if sound.model and sound.model not in MODELS:
        yield Cause(
            "spec.domain.devices.sound",
            "Sound device type is not supported. Options: 'ich9' or 'ac97'",
            UNSUPPORTED,
        )


def devices(sound: SoundDevice, vmi: VMI, facts: Guest) -> Iterable[Element]:
    yield E("sound", alias(sound.name), model=sound.model or "ich9")
    yield E("audio", id=1, type="none")


FEATURE = Feature(
    name="sound",
    owns=("domain.devices.sound",),
    asked=asked,
    validate=validate,
    devices=devices,
)
