"""Memory that the node cannot read: AMD's SEV and SEV-SNP, IBM's secure execution.

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

WHERE = "spec.domain.launchSecurity"
OVERHEAD = 256 * 2**20
"""Bytes for pages that SEV pins, as KubeVirt reckons."""
GATE = "WorkloadEncryptionSEV"
FIRMWARE = "/usr/share/ovmf/OVMF.fd"
NO_DEBUG, ENCRYPTED_STATE = 0x1, 0x4
ENCRYPTED = ("disk", "interface", "controller", "memballoon", "rng", "vsock", "input")
"""Devices of virtio that reach the guest's memory."""
SNP_POLICY = 0x30000
"""Bits of the policies that AMD's firmware enforces (AMD 55766, 56860)."""


def asked(vmi: VMI) -> LaunchSecurity | None:
    return vmi.spec.domain.launch_security


def kind(security: LaunchSecurity, vmi: VMI) -> str:
    """sev, snp, or pv on s390x."""
    if security.snp is not None:
        return "snp"
    if security.sev is not None:
        return "sev"
    return "pv" if vmi.spec.architecture == "s390x" else ""


def validate(security: LaunchSecurity, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    chosen = [name for name in ("sev", "snp", "tdx") if getattr(security, name) is not None]
    wanted = kind(security, vmi)
    if len(chosen) > 1:
        yield Cause(WHERE, f"{WHERE} must name one of {', '.join(chosen)} alone")
        return
    if security.tdx is not None:
        told = "libvirt in the launcher's image knows no Intel TDX yet"
        yield Cause(f"{WHERE}.tdx", told, UNSUPPORTED)
        return
    if not wanted:
        yield Cause(WHERE, f"{WHERE} must name sev or snp")
        return
    if wanted == "pv":
        return
    if GATE not in cluster.gates:
        yield Cause(WHERE, f"{GATE} feature gate is not enabled", UNSUPPORTED)
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
        case _:
            policy = security.sev and security.sev.policy
            label = "kubevirt.io/sev-es" if policy and policy.encrypted_state else "kubevirt.io/sev"
    return PodPart(
        node_selector={label: "true"}, limits={"devices.kubevirt.io/sev": "1"}, overhead=OVERHEAD
    )


def devices(security: LaunchSecurity, vmi: VMI, facts: Guest) -> Iterable[Element]:
    match kind(security, vmi):
        case "snp":
            yield E("launchSecurity", E("policy", f"0x{SNP_POLICY:x}"), type="sev-snp")
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
    """Virtio devices reach encrypted memory by the platform's own way only; SNP measures the
    firmware, which then has no store of its own."""
    system = domain.find("os")
    if system is not None and kind(security, vmi) == "snp":
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


def blocks_migration(security: LaunchSecurity, vmi: VMI) -> str | None:
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
