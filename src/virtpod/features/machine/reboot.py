"""What a reboot from inside does: goes on in the same QEMU, or ends the domain.

https://libvirt.org/formatdomain.html#events-configuration
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.xml import E, Element
from virtpod.features.contract import UNSUPPORTED, Cause, Feature


def asked(vmi: VMI) -> str | None:
    return vmi.spec.domain.reboot_policy


def validate(policy: str, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    if policy not in ("Reboot", "Terminate"):
        yield Cause(
            "spec.domain.rebootPolicy",
            f"spec.domain.rebootPolicy {policy!r} is not known; one of Reboot, Terminate",
            UNSUPPORTED,
        )


def devices(policy: str, vmi: VMI, facts: Guest) -> Iterable[Element]:
    if policy == "Terminate":
        yield E("on_reboot", "destroy")


FEATURE = Feature(
    name="reboot",
    owns=("domain.rebootPolicy",),
    asked=asked,
    gate="RebootPolicy",
    validate=validate,
    devices=devices,
)
