"""A source of randomness, fed by the node's.

https://libvirt.org/formatdomain.html#random-number-generator-device
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.devices import Rng
from virtpod.api.traits import virtio_model
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Guest
from virtpod.domain.xml import E, Element
from virtpod.features.contract import Feature


def asked(vmi: VMI) -> Rng | None:
    return vmi.spec.domain.devices.rng


def devices(rng: Rng, vmi: VMI, facts: Guest) -> Iterable[Element]:
    yield E("rng", E("backend", "/dev/urandom", model="random"), model=virtio_model(vmi))


FEATURE = Feature(name="rng", owns=("domain.devices.rng",), asked=asked, devices=devices)
