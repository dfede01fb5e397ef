"""Memory that the node cannot read: AMD's SEV and SEV-SNP, Intel's TDX, IBM's secure execution.

https://libvirt.org/formatdomain.html#launch-security
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.machine import LaunchSecurity
from virtpod.api.traits import efi, remembers, secure_boot
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.xml import E, Element
from virtpod.features.contract import UNSUPPORTED, Cause, Feature, PodPart
from virtpod.wire.messages import DomainChanged

WHERE = "spec.domain.launchSecurity"
OVERHEAD = 256 * 2**20
"""Bytes for pages that SEV pins, as KubeVirt reckons."""
GATES = {
    "sev": "WorkloadEncryptionSEV",
    "snp": "WorkloadEncryptionSEV",
    "tdx": "WorkloadEncryptionTDX",
}
MEASURED = ("snp", "tdx")
"""These measure the firmware."""
FIRMWARE = "/usr/share/ovmf/OVMF.fd"
NO_DEBUG, ENCRYPTED_STATE = 0x1, 0x4
ENCRYPTED = ("disk", "interface", "controller", "memballoon", "rng", "vsock", "input")
"""Devices of virtio that reach the guest's memory."""
SNP_POLICY = 0x30000
"""Bits of the policies that AMD's firmware enforces (AMD 55766, 56860)."""


def asked(vmi: VMI) -> LaunchSecurity | None:
    return vmi.spec.domain.launch_security


def kind(security: LaunchSecurity, vmi: VMI) -> str:
    """sev, snp, tdx, or pv on s390x."""
    for name in GATES:
        if getattr(security, name) is not None:
            return name
    return "pv" if vmi.spec.architecture == "s390x" else ""


def validate(security: LaunchSecurity, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    chosen = [name for name in GATES if getattr(security, name) is not None]
    wanted = kind(security, vmi)
    if len(chosen) > 1:
        yield Cause(WHERE, f"{WHERE} must name one of {', '.join(chosen)} alone")
        return
    if not wanted:
        yield Cause(WHERE, f"{WHERE} must name one of {', '.join(GATES)}")
        return
    if wanted == "pv":
        return
    if GATES[wanted] not in cluster.gates:
        yield Cause(WHERE, f"{GATES[wanted]} feature gate is not enabled", UNSUPPORTED)
    if vmi.spec.architecture not in (None, "", "amd64"):
        yield Cause(f"{WHERE}.{wanted}", f"{wanted} exists on amd64 alone", UNSUPPORTED)
    if not efi(vmi):
        yield Cause(WHERE, f"{wanted} requires EFI: set firmware.bootloader.efi")
    if secure_boot(vmi):
        yield Cause(WHERE, f"{wanted} does not work with SecureBoot: set efi.secureBoot to false")
    if remembers(vmi):
        yield Cause(WHERE, f"{wanted} does not work with a persistent EFI or TPM")
    for index, interface in enumerate(vmi.spec.domain.devices.interfaces or ()):
        if interface.boot_order:
            yield Cause(
                f"spec.domain.devices.interfaces[{index}].bootOrder",
                f"{wanted} does not work with bootable network interfaces",
            )


def pod(security: LaunchSecurity, vmi: VMI, cluster: Cluster) -> PodPart:
    match kind(security, vmi):
        case "pv":
            return PodPart(node_selector={"kubevirt.io/secure-execution": "true"})
        case "snp":
            label = "kubevirt.io/sev-snp"
        case "tdx":
            label = "kubevirt.io/tdx"
        case _:
            policy = security.sev and security.sev.policy
            label = "kubevirt.io/sev-es" if policy and policy.encrypted_state else "kubevirt.io/sev"
    device = "tdx" if security.tdx is not None else "sev"
    return PodPart(
        node_selector={label: "true"},
        limits={f"devices.kubevirt.io/{device}": "1"},
        overhead=0 if device == "tdx" else OVERHEAD,
    )


def devices(security: LaunchSecurity, vmi: VMI, facts: Guest) -> Iterable[Element]:
    match kind(security, vmi):
        case "snp":
            yield E("launchSecurity", E("policy", f"0x{SNP_POLICY:x}"), type="sev-snp")
        case "tdx":
            yield E("launchSecurity", type="tdx")
        case "pv":
            yield E("launchSecurity", type="s390-pv")
        case "sev" if security.sev:
            policy = security.sev.policy
            encrypted = policy is not None and policy.encrypted_state
            bits = NO_DEBUG | (ENCRYPTED_STATE if encrypted else 0)
            yield E(
                "launchSecurity",
                E("policy", f"0x{bits:04x}"),
                E("dhCert", security.sev.dh_cert) if security.sev.dh_cert else None,
                E("session", security.sev.session) if security.sev.session else None,
                type="sev",
            )


def tune(security: LaunchSecurity, vmi: VMI, facts: Guest, domain: Element) -> None:
    """Virtio devices reach encrypted memory by the platform's own way only; firmware that is
    measured has no store of its own; a TDX guest's counters are none of the node's."""
    system, features = domain.find("os"), domain.find("features")
    if features is not None and security.tdx is not None:
        features.append(E("pmu", state="off"))
    if system is not None and kind(security, vmi) in MEASURED:
        for part in [*system.findall("loader"), *system.findall("nvram")]:
            system.remove(part)
        system.append(E("loader", FIRMWARE, type="rom"))
    for device in domain.iterfind("devices/*"):
        driver = device.find("driver")
        model = device.get("model") or ""
        found = device.find("model")
        virtio = model.startswith("virtio") or (
            found is not None and found.get("type", "").startswith("virtio")
        )
        if virtio and device.tag in ENCRYPTED:
            if driver is None:
                driver = E("driver")
                device.append(driver)
            driver.set("iommu", "on")


def blocks_migration(security: LaunchSecurity, vmi: VMI, domain: DomainChanged) -> str | None:
    return "its memory is encrypted for this node"


FEATURE = Feature(
    name="launch_security",
    owns=("domain.launchSecurity",),
    asked=asked,
    validate=validate,
    pod=pod,
    devices=devices,
    tune=tune,
    blocks_migration=blocks_migration,
)
