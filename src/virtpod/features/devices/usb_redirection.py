"""Slots for USB devices of clients: a unix socket each, that a stream of virt-api ends at.

https://libvirt.org/formatdomain.html#redirected-devices
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain import paths
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.xml import E, Element
from virtpod.features.contract import UNSUPPORTED, Cause, Feature

SLOTS = 4


def asked(vmi: VMI) -> bool:
    return vmi.spec.domain.devices.client_passthrough is not None


def validate(part: bool, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    if vmi.spec.architecture == "s390x":
        field = "spec.domain.devices.clientPassthrough"
        yield Cause(field, f"{field}: there is no USB on s390x; remove it", UNSUPPORTED)


def devices(part: bool, vmi: VMI, facts: Guest) -> Iterable[Element]:
    uid = vmi.metadata.uid or ""
    for slot in range(SLOTS):
        source = E("source", mode="bind", path=paths.usb_socket(uid, slot))
        yield E("redirdev", source, bus="usb", type="unix")


FEATURE = Feature(
    name="usb_redirection",
    owns=("domain.devices.clientPassthrough",),
    asked=asked,
    validate=validate,
    devices=devices,
)
