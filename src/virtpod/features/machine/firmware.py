"""Firmware and what it tells the guest: BIOS, EFI, uuid and serial number by SMBIOS.

https://libvirt.org/formatdomain.html#bios-bootloader
https://libvirt.org/formatdomain.html#smbios-system-information
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from virtpod.api.machine import Firmware
from virtpod.api.traits import on, secure_boot
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain import paths
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.xml import E, Element
from virtpod.features.contract import Cause, Feature, always

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def identify(vmi: VMI, uuid: str) -> None:
    """Gives the machine its SMBIOS uuid, unless it has one."""
    firmware = vmi.spec.domain.firmware = vmi.spec.domain.firmware or Firmware()
    firmware.uuid = firmware.uuid or uuid


def validate(part: VMI, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    firmware = vmi.spec.domain.firmware or Firmware()
    if firmware.uuid and not _UUID.fullmatch(firmware.uuid):
        yield Cause(
            "spec.domain.firmware.uuid",
            "spec.domain.firmware.uuid must be a uuid such as 5d307ca9-b3ef-428c-8861-06e72d69f223",
        )
    if len(firmware.serial or "") > 256:
        yield Cause(
            "spec.domain.firmware.serial",
            "spec.domain.firmware.serial must be no longer than 256 characters",
        )
    loader = firmware.bootloader
    if loader is None:
        return
    if loader.bios and loader.efi:
        yield Cause(
            "spec.domain.firmware.bootloader",
            "spec.domain.firmware.bootloader has both EFI and BIOS configured, "
            "but they are mutually exclusive.",
        )
    if secure_boot(vmi):
        features = vmi.spec.domain.features
        if not (features and on(features.smm)):
            yield Cause(
                "spec.domain.firmware.bootloader.efi.secureBoot",
                "spec.domain.firmware.bootloader.efi SecureBoot requires SMM, "
                "which is currently disabled.",
            )


def devices(part: VMI, vmi: VMI, facts: Guest) -> Iterable[Element]:
    firmware = vmi.spec.domain.firmware or Firmware()
    entries = [("uuid", firmware.uuid), ("serial", firmware.serial)]
    fixed = [("manufacturer", "KubeVirt"), ("family", "KubeVirt"), ("product", "None")]
    yield E(
        "sysinfo",
        E("system", *(E("entry", value, name=name) for name, value in entries + fixed if value)),
        type="smbios",
    )
    if firmware.uuid:
        yield E("uuid", firmware.uuid)
    loader = firmware.bootloader
    if loader and loader.efi:
        secure = secure_boot(vmi)
        code = "OVMF_CODE_4M.secboot.fd" if secure else "OVMF_CODE_4M.fd"
        store = "OVMF_VARS_4M.ms.fd" if secure else "OVMF_VARS_4M.fd"
        yield E("loader", f"{paths.OVMF}/{code}", readonly=True, secure=secure, type="pflash")
        yield E(
            "nvram",
            f"{paths.PRIVATE}/libvirt/qemu/nvram/{vmi.metadata.name}_VARS.fd",
            template=f"{paths.OVMF}/{store}",
        )
    elif loader and loader.bios and loader.bios.use_serial:
        yield E("bios", useserial=True)


FEATURE = Feature(
    name="firmware",
    owns=(
        "domain.firmware.uuid",
        "domain.firmware.serial",
        "domain.firmware.bootloader.bios",
        "domain.firmware.bootloader.efi.secureBoot",
    ),
    asked=always,
    validate=validate,
    devices=devices,
)
