"""What configures a guest of the CoreOS family at its first boot, given in an annotation.

https://coreos.github.io/ignition/supported-platforms/
https://libvirt.org/formatdomain.html#smbios-system-information (type fwcfg)
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain import paths
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.steps import BootStep, WriteFile
from virtpod.domain.xml import E, Element
from virtpod.features.contract import UNSUPPORTED, Cause, Feature

ANNOTATION = "kubevirt.io/ignitiondata"
KEY = "opt/com.coreos/config"
"""The name by which the guest finds it in QEMU's firmware configuration."""


def asked(vmi: VMI) -> str | None:
    return (vmi.metadata.annotations or {}).get(ANNOTATION)


def validate(data: str, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    if vmi.spec.architecture == "s390x":
        message = f"annotation {ANNOTATION}: a machine of s390x cannot be given it; remove it"
        yield Cause("metadata.annotations", message, UNSUPPORTED)


def boot(data: str, vmi: VMI, facts: Guest) -> Iterable[BootStep]:
    yield WriteFile(_path(vmi), data.encode())


def devices(data: str, vmi: VMI, facts: Guest) -> Iterable[Element]:
    yield E("sysinfo", E("entry", name=KEY, file=_path(vmi)), type="fwcfg")


def _path(vmi: VMI) -> str:
    return paths.ignition(vmi.metadata.namespace or "", vmi.metadata.name or "")


FEATURE = Feature(
    name="ignition", owns=(), asked=asked, validate=validate, boot=boot, devices=devices
)
