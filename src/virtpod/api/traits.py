"""Questions about a VMI that more than one feature asks, answered from the spec alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from virtpod.api.hostdevices import GPU, ClaimRequest, HostDevice
from virtpod.api.machine import FeatureState
from virtpod.api.vmi import VirtualMachineInstance as VMI

VFIO_OVERHEAD = 2**30
"""Bytes that VFIO may want beside the guest's memory for all of its devices together: mappings of
them, and of the memory for them; KubeVirt's figure."""
VIOMMU = "virtpod.io/viommu"
"""Annotation of a VMI whose machine is to have an IOMMU: its model."""
PLUGGED_DEVICES = "virtpod.io/plugged-devices"
"""Annotation of a VMI: the names, with commas between them, of those hostDevices that its pod does
not bring: they are plugged into the guest when it runs."""


def hostname(vmi: VMI) -> str:
    """The guest's host name: as asked, else the VMI's name as far as a host name can be long."""
    if vmi.spec.hostname:
        return vmi.spec.hostname
    name = (vmi.metadata.name or "").split(".")[0]
    return name[:63].rstrip("-")


def virtio_model(vmi: VMI) -> str:
    """libvirt's model name for virtio devices that exist in two flavours."""
    if vmi.spec.architecture == "s390x":
        return "virtio"
    transitional = vmi.spec.domain.devices.use_virtio_transitional
    return "virtio-transitional" if transitional else "virtio-non-transitional"


def acpi(vmi: VMI) -> bool:
    """Whether the guest can be asked to power off by ACPI."""
    features = vmi.spec.domain.features
    return features is None or features.acpi is None or features.acpi.enabled is not False


def efi(vmi: VMI) -> bool:
    """Whether the machine boots by EFI."""
    firmware = vmi.spec.domain.firmware
    return bool(firmware and firmware.bootloader and firmware.bootloader.efi)


def secure_boot(vmi: VMI) -> bool:
    """Whether the machine boots signed code only: EFI's default."""
    firmware = vmi.spec.domain.firmware
    loader = firmware and firmware.bootloader
    return bool(loader and loader.efi and loader.efi.secure_boot is not False)


def topology(vmi: VMI) -> tuple[int, int, int]:
    """Sockets, cores, threads; 1 where nothing is said."""
    cpu = vmi.spec.domain.cpu
    given = (cpu.sockets, cpu.cores, cpu.threads) if cpu else (1, 1, 1)
    return given[0] or 1, given[1] or 1, given[2] or 1


def vcpus(vmi: VMI) -> int:
    """The number of virtual CPUs."""
    sockets, cores, threads = topology(vmi)
    return sockets * cores * threads


def dedicated(vmi: VMI) -> bool:
    """Whether each virtual CPU has a CPU of the node to itself."""
    cpu = vmi.spec.domain.cpu
    return bool(cpu and cpu.dedicated_cpu_placement)


def emulator_cpus(vmi: VMI) -> int:
    """CPUs of the node that QEMU's own threads have to themselves."""
    cpu = vmi.spec.domain.cpu
    return 1 if cpu and cpu.dedicated_cpu_placement and cpu.isolate_emulator_thread else 0


def tpm(vmi: VMI) -> bool:
    """Whether the machine has a trusted platform module."""
    given = vmi.spec.domain.devices.tpm
    return given is not None and given.enabled is not False


def remembers(vmi: VMI) -> bool:
    """Whether the machine has a state that outlives its instance: a TPM's, or EFI's variables."""
    module = vmi.spec.domain.devices.tpm
    firmware = vmi.spec.domain.firmware
    loader = firmware and firmware.bootloader
    return bool(
        (tpm(vmi) and module and module.persistent)
        or (loader and loader.efi and loader.efi.persistent)
    )


def grace(vmi: VMI) -> int:
    """Seconds the guest may take to power off."""
    given = vmi.spec.termination_grace_period_seconds
    return 30 if given is None else given


def attested(vmi: VMI) -> bool:
    """Whether the guest's owner wants proof of its memory's encryption before it may run."""
    security = vmi.spec.domain.launch_security
    return bool(security and security.sev and security.sev.attestation is not None)


def starts_paused(vmi: VMI) -> bool:
    """Whether the guest waits for somebody to unpause it."""
    return vmi.spec.start_strategy == "Paused" or attested(vmi)


def on(state: FeatureState | None) -> bool:
    """Asked for, and not said to be off: KubeVirt's booleans are true where they are left out."""
    return state is not None and state.enabled is not False


@dataclass(frozen=True)
class Claimed:
    """A device that the guest is to have out of a resource claim."""

    where: str
    """The path of what asks for it, from `spec` on."""
    kind: str
    """GPU, HostDevice or network."""
    claim: str
    """Its name among the spec's resourceClaims; empty: not said."""
    request: str

    @property
    def key(self) -> str:
        """How facts name it."""
        return f"{self.claim}/{self.request}"


def claimed(vmi: VMI) -> list[Claimed]:
    """All that asks for a device of a claim, whether it does so rightly or not."""
    devices = vmi.spec.domain.devices
    asking: list[tuple[str, str, GPU | HostDevice | ClaimRequest | None]] = []
    for index, gpu in enumerate(devices.gpus or ()):
        asking.append((f"spec.domain.devices.gpus[{index}]", "GPU", gpu))
    for index, device in enumerate(devices.host_devices or ()):
        asking.append((f"spec.domain.devices.hostDevices[{index}]", "HostDevice", device))
    for index, network in enumerate(vmi.spec.networks or ()):
        where = f"spec.networks[{index}].resourceClaim"
        asking.append((where, "network", network.resource_claim))
    return [
        Claimed(where, kind, each.claim_name or "", each.request_name or "")
        for where, kind, each in asking
        if each is not None
        if kind == "network" or each.claim_name is not None or each.request_name is not None
    ]


def own_devices(vmi: VMI) -> int:
    """How many devices of the node the guest asks to have to itself."""
    devices = vmi.spec.domain.devices
    functions = [nic for nic in devices.interfaces or () if nic.sriov]
    return len([*(devices.gpus or ()), *(devices.host_devices or ()), *functions])


def brought_devices(vmi: VMI) -> list[GPU | HostDevice]:
    """The devices of the node that it starts with, network cards' functions apart."""
    devices = vmi.spec.domain.devices
    later = plugged(vmi.metadata.annotations)
    brought = [each for each in devices.host_devices or () if each.name not in later]
    return [*(devices.gpus or ()), *brought]


def plugged(annotations: Mapping[str, str] | None) -> tuple[str, ...]:
    """The names that `PLUGGED_DEVICES` has."""
    return tuple(filter(None, ((annotations or {}).get(PLUGGED_DEVICES) or "").split(",")))
