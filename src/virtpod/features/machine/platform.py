"""What the machine can do beside computing: ACPI, APIC, SMM, KVM's own features.

https://libvirt.org/formatdomain.html#hypervisor-features
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.machine import Features, FeatureState
from virtpod.api.traits import acpi, on, secure_boot
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.xml import E, Element
from virtpod.features.contract import Feature, always


def defaults(part: VMI, vmi: VMI, cluster: Cluster) -> None:
    features = vmi.spec.domain.features = vmi.spec.domain.features or Features()
    if features.acpi is None or features.acpi.enabled is None:
        features.acpi = FeatureState(enabled=True)


def devices(part: VMI, vmi: VMI, facts: Guest) -> Iterable[Element]:
    features = vmi.spec.domain.features or Features()
    apic = features.apic
    yield E(
        "features",
        E("acpi") if acpi(vmi) and vmi.spec.architecture != "s390x" else None,
        E("apic", eoi=_switch(apic.end_of_interrupt))
        if apic and apic.enabled is not False
        else None,
        E("kvm", E("hidden", state=_switch(features.kvm.hidden)))
        if features.kvm and features.kvm.hidden is not None
        else None,
        E("pvspinlock", state=_switch(on(features.pvspinlock))) if features.pvspinlock else None,
        E("smm", state="on") if on(features.smm) or secure_boot(vmi) else None,
        E("vmport", state="off") if vmi.spec.architecture in (None, "amd64") else None,
    )


def _switch(value: bool | None) -> str | None:
    return None if value is None else ("on" if value else "off")


FEATURE = Feature(
    name="platform",
    owns=(
        "domain.features.acpi",
        "domain.features.apic",
        "domain.features.kvm",
        "domain.features.pvspinlock",
        "domain.features.smm",
    ),
    asked=always,
    defaults=defaults,
    devices=devices,
)
