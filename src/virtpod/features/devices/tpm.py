"""A trusted platform module, version 2.0, emulated by swtpm beside QEMU.

https://libvirt.org/formatdomain.html#tpm-device
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api import traits
from virtpod.api.devices import TPMDevice
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.xml import E, Element
from virtpod.features.contract import UNSUPPORTED, Cause, Feature, PodPart

OVERHEAD = 53 * 2**20
"""Bytes that swtpm may need, as KubeVirt reckons."""


def asked(vmi: VMI) -> TPMDevice | None:
    return vmi.spec.domain.devices.tpm if traits.tpm(vmi) else None


def validate(tpm: TPMDevice, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    if vmi.spec.architecture == "s390x":
        message = "spec.domain.devices.tpm: there is no TPM on s390x; remove it"
        yield Cause("spec.domain.devices.tpm", message, UNSUPPORTED)


def pod(tpm: TPMDevice, vmi: VMI, cluster: Cluster) -> PodPart:
    return PodPart(overhead=OVERHEAD)


def devices(tpm: TPMDevice, vmi: VMI, facts: Guest) -> Iterable[Element]:
    """What is to keep its state has another model: Windows and others tell the two apart by it."""
    yield E(
        "tpm",
        E(
            "backend",
            type="emulator",
            version="2.0",
            persistent_state=True if tpm.persistent else None,
        ),
        model="tpm-crb" if tpm.persistent else "tpm-tis",
    )


FEATURE = Feature(
    name="tpm",
    owns=("domain.devices.tpm",),
    asked=asked,
    validate=validate,
    pod=pod,
    devices=devices,
)
