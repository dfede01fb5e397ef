"""The case that the machine says it is in, as SMBIOS tells the guest.

https://libvirt.org/formatdomain.html#smbios-system-information
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.machine import Chassis
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.xml import E, Element
from virtpod.features.contract import UNSUPPORTED, Cause, Feature

ENTRIES = ("manufacturer", "version", "serial", "asset", "sku")
LONGEST = 256


def asked(vmi: VMI) -> Chassis | None:
    return vmi.spec.domain.chassis


def validate(chassis: Chassis, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    if vmi.spec.architecture == "s390x":
        where = "spec.domain.chassis"
        yield Cause(where, f"{where}: there is no SMBIOS on s390x; remove it", UNSUPPORTED)
    for name in ENTRIES:
        value = getattr(chassis, name) or ""
        if len(value) > LONGEST or not value.isprintable():
            where = f"spec.domain.chassis.{name}"
            yield Cause(where, f"{where} must be printable and at most {LONGEST} characters long")


def tune(chassis: Chassis, vmi: VMI, facts: Guest, domain: Element) -> None:
    sysinfo = domain.find("sysinfo")
    assert sysinfo is not None
    given = ((name, getattr(chassis, name)) for name in ENTRIES)
    entries = [E("entry", value, name=name) for name, value in given if value]
    if entries:
        sysinfo.append(E("chassis", *entries))


FEATURE = Feature(
    name="chassis",
    owns=("domain.chassis",),
    asked=asked,
    validate=validate,
    tune=tune,
)
