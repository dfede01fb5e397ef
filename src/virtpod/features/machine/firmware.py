"""Firmware and what it tells the guest: BIOS, EFI, uuid and serial number by SMBIOS.

https://libvirt.org/formatdomain.html#bios-bootloader
https://libvirt.org/formatdomain.html#smbios-system-information
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from virtpod.api.machine import EFI, Bootloader, Firmware
from virtpod.api.traits import acpi, on, secure_boot
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain import paths
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.xml import E, Element
from virtpod.features.contract import UNSUPPORTED, Cause, Feature, PodPart, always

SMBIOS = {"manufacturer": "KubeVirt", "family": "KubeVirt", "product": "None"}
"""What guests read where the cluster's configuration says nothing else."""
LONGEST = 256
"""Characters of a serial number."""
MAKER = ("manufacturer", "version", "product", "sku", "family")

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def identify(vmi: VMI, uuid: str) -> None:
    """Gives the machine its SMBIOS uuid, unless it has one."""
    firmware = vmi.spec.domain.firmware = vmi.spec.domain.firmware or Firmware()
    firmware.uuid = firmware.uuid or uuid


def defaults(part: VMI, vmi: VMI, cluster: Cluster) -> None:
    """Machines of arm64 know no other firmware than EFI, and no signatures."""
    if vmi.spec.architecture == "arm64":
        firmware = vmi.spec.domain.firmware = vmi.spec.domain.firmware or Firmware()
        if firmware.bootloader is None:
            firmware.bootloader = Bootloader(efi=EFI(secure_boot=False))


def validate(part: VMI, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    firmware = vmi.spec.domain.firmware or Firmware()
    if firmware.uuid and not _UUID.fullmatch(firmware.uuid):
        yield Cause(
            "spec.domain.firmware.uuid",
            "spec.domain.firmware.uuid must be a uuid such as 5d307ca9-b3ef-428c-8861-06e72d69f223",
        )
    where = "spec.domain.firmware.serial"
    if len(firmware.serial or "") > LONGEST:
        yield Cause(where, f"{where} must be no longer than {LONGEST} characters")
    if not (firmware.serial or "").isprintable():
        yield Cause(where, f"{where} must be printable: SMBIOS is text")
    loader = firmware.bootloader
    if loader is None:
        return
    if vmi.spec.architecture == "arm64" and secure_boot(vmi):
        where = "spec.domain.firmware.bootloader.efi.secureBoot"
        yield Cause(where, f"{where} must be false on arm64", UNSUPPORTED)
    if vmi.spec.architecture == "s390x":
        where = "spec.domain.firmware.bootloader"
        yield Cause(where, f"{where}: s390x has a firmware of its own; remove it", UNSUPPORTED)
    if loader.bios and loader.efi:
        yield Cause(
            "spec.domain.firmware.bootloader",
            "spec.domain.firmware.bootloader has both EFI and BIOS configured, "
            "but they are mutually exclusive.",
        )
    if loader.efi and not acpi(vmi):
        where = "spec.domain.firmware.bootloader.efi"
        yield Cause(where, f"{where} needs ACPI: features.acpi.enabled must not be false")
    if secure_boot(vmi):
        features = vmi.spec.domain.features
        if not (features and on(features.smm)):
            yield Cause(
                "spec.domain.firmware.bootloader.efi.secureBoot",
                "spec.domain.firmware.bootloader.efi SecureBoot requires SMM, "
                "which is currently disabled.",
            )


def pod(part: VMI, vmi: VMI, cluster: Cluster) -> PodPart:
    """What the cluster says of its machines' maker, for the launcher."""
    given = cluster.config.smbios
    said = {name: value for name in MAKER if given and (value := getattr(given, name))}
    env = {"name": paths.SMBIOS_ENV, "value": json.dumps(said)}
    return PodPart(env=(env,) if said else ())


def devices(part: VMI, vmi: VMI, facts: Guest) -> Iterable[Element]:
    firmware = vmi.spec.domain.firmware or Firmware()
    own = {"uuid": firmware.uuid, "serial": firmware.serial}
    entries = {**own, **SMBIOS, **facts.smbios}
    if vmi.spec.architecture != "s390x":
        yield E(
            "sysinfo",
            E("system", *(E("entry", text, name=name) for name, text in entries.items() if text)),
            type="smbios",
        )
    if firmware.uuid:
        yield E("uuid", firmware.uuid)
    loader = firmware.bootloader
    if loader and loader.efi and vmi.spec.architecture == "arm64":
        yield E("loader", f"{paths.AAVMF}/AAVMF_CODE.fd", readonly=True, type="pflash")
        yield _store(vmi, f"{paths.AAVMF}/AAVMF_VARS.fd")
    elif loader and loader.efi:
        secure = secure_boot(vmi)
        code = "OVMF_CODE_4M.secboot.fd" if secure else "OVMF_CODE_4M.fd"
        store = "OVMF_VARS_4M.ms.fd" if secure else "OVMF_VARS_4M.fd"
        yield E("loader", f"{paths.OVMF}/{code}", readonly=True, secure=secure, type="pflash")
        yield _store(vmi, f"{paths.OVMF}/{store}")
    elif loader and loader.bios and loader.bios.use_serial:
        yield E("bios", useserial=True)


def _store(vmi: VMI, template: str) -> Element:
    """Where EFI keeps its variables."""
    place = f"{paths.PRIVATE}/libvirt/qemu/nvram/{vmi.metadata.name}_VARS.fd"
    return E("nvram", place, template=template)


FEATURE = Feature(
    name="firmware",
    owns=(
        "domain.firmware.uuid",
        "domain.firmware.serial",
        "domain.firmware.bootloader.bios",
        "domain.firmware.bootloader.efi.secureBoot",
    ),
    asked=always,
    defaults=defaults,
    validate=validate,
    pod=pod,
    devices=devices,
)
