"""What Hyper-V offers its guests, offered by KVM: Windows is faster and keeps better time with it.

https://libvirt.org/formatdomain.html#hypervisor-features
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from virtpod.api.machine import FeatureHyperv, Features, FeatureState
from virtpod.api.traits import on
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.xml import E, Element
from virtpod.features.contract import Cause, Feature
from virtpod.wire.messages import DomainChanged

PLAIN = {
    "relaxed": "relaxed",
    "vapic": "vapic",
    "vpindex": "vpindex",
    "runtime": "runtime",
    "synic": "synic",
    "reset": "reset",
    "frequencies": "frequencies",
    "reenlightenment": "reenlightenment",
    "ipi": "ipi",
    "evmcs": "evmcs",
}
"""Those that are on or off, by libvirt's name."""
NEEDS = (
    ("evmcs", "vapic"),
    ("ipi", "vpindex"),
    ("synic", "vpindex"),
    ("synictimer", "synic"),
    ("tlbflush", "vpindex"),
)
"""What works only with another."""
RETRIES = 4096
LONGEST_VENDOR = 12
"""Bytes of a processor's vendor string."""


def asked(vmi: VMI) -> Features | None:
    features = vmi.spec.domain.features
    return features if features and (features.hyperv or features.hyperv_passthrough) else None


def defaults(features: Features, vmi: VMI, cluster: Cluster) -> None:
    """What another needs is switched on with it."""
    hyperv = features.hyperv
    if hyperv is None:
        return
    if on(hyperv.evmcs):
        hyperv.vapic = hyperv.vapic or FeatureState(enabled=True)
    if hyperv.synictimer and hyperv.synictimer.enabled is not False:
        hyperv.synic = hyperv.synic or FeatureState(enabled=True)
    flushes = hyperv.tlbflush and hyperv.tlbflush.enabled is not False
    if on(hyperv.synic) or on(hyperv.ipi) or flushes:
        hyperv.vpindex = hyperv.vpindex or FeatureState(enabled=True)
    if hyperv.spinlocks and hyperv.spinlocks.enabled is not False:
        hyperv.spinlocks.spinlocks = hyperv.spinlocks.spinlocks or RETRIES


def validate(features: Features, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    where = "spec.domain.features"
    yield from _needs(features.hyperv)
    through = features.hyperv_passthrough
    if features.hyperv and through and through.enabled is not False:
        yield Cause(
            f"{where}.hypervPassthrough",
            f"{where}.hypervPassthrough gives the guest all that the host has: leave "
            f"{where}.hyperv out, or switch one of them off",
        )
    vendor = features.hyperv and features.hyperv.vendorid
    if vendor and vendor.enabled is not False:
        name = vendor.vendorid or ""
        if not name or len(name.encode()) > LONGEST_VENDOR or "," in name:
            yield Cause(
                f"{where}.hyperv.vendorid.vendorid",
                f"{where}.hyperv.vendorid.vendorid must have 1 to {LONGEST_VENDOR} bytes and no "
                "comma",
            )
    spinlocks = features.hyperv and features.hyperv.spinlocks
    if spinlocks and spinlocks.spinlocks is not None and spinlocks.spinlocks < RETRIES - 1:
        yield Cause(
            f"{where}.hyperv.spinlocks.spinlocks",
            f"{where}.hyperv.spinlocks.spinlocks must be at least {RETRIES - 1}",
        )


def _needs(hyperv: FeatureHyperv | None) -> Iterator[Cause]:
    """What was asked for, and cannot be without another that was switched off."""
    where = "spec.domain.features.hyperv"
    for name, need in NEEDS:
        wanted, other = getattr(hyperv, name, None), getattr(hyperv, need, None)
        if wanted and wanted.enabled is not False and other and other.enabled is False:
            yield Cause(
                f"{where}.{name}",
                f"'{where}.{name}' requires '{where}.{need}', which was disabled.",
            )


def tune(features: Features, vmi: VMI, facts: Guest, domain: Element) -> None:
    place = domain.find("features")
    assert place is not None
    if facts.emulation:
        return  # KVM does it; software emulation has none of it
    through = features.hyperv_passthrough
    if through and through.enabled is not False:
        place.append(E("hyperv", mode="passthrough"))
    elif features.hyperv:
        place.append(E("hyperv", *_elements(features.hyperv), mode="custom"))


def _elements(hyperv: FeatureHyperv) -> Iterator[Element]:
    for field, tag in PLAIN.items():
        state: FeatureState | None = getattr(hyperv, field)
        if state is not None:
            yield E(tag, state=_switch(on(state)))
    if hyperv.spinlocks:
        enabled = hyperv.spinlocks.enabled is not False
        retries = hyperv.spinlocks.spinlocks if enabled else None
        yield E("spinlocks", state=_switch(enabled), retries=retries)
    if hyperv.synictimer:
        enabled = hyperv.synictimer.enabled is not False
        direct = hyperv.synictimer.direct
        inner = E("direct", state=_switch(on(direct))) if direct and enabled else None
        yield E("stimer", inner, state=_switch(enabled))
    if hyperv.tlbflush:
        enabled = hyperv.tlbflush.enabled is not False
        parts = [
            E(tag, state=_switch(on(state)))
            for tag, state in (
                ("direct", hyperv.tlbflush.direct),
                ("extended", hyperv.tlbflush.extended),
            )
            if state and enabled
        ]
        yield E("tlbflush", *parts, state=_switch(enabled))
    if hyperv.vendorid:
        enabled = hyperv.vendorid.enabled is not False
        value = hyperv.vendorid.vendorid if enabled else None
        yield E("vendor_id", state=_switch(enabled), value=value)


def _switch(value: bool) -> str:
    return "on" if value else "off"


def blocks_migration(features: Features, vmi: VMI, domain: DomainChanged) -> str | None:
    through = features.hyperv_passthrough
    if through and through.enabled is not False:
        return "hypervPassthrough depends on the host: name the features under hyperv instead."
    return None


FEATURE = Feature(
    name="hyperv",
    owns=("domain.features.hyperv", "domain.features.hypervPassthrough"),
    asked=asked,
    defaults=defaults,
    validate=validate,
    tune=tune,
    blocks_migration=blocks_migration,
)
