"""The machine itself: CPU, memory, firmware, clock, features, and the DomainSpec that holds them.

Memory sizes are Kubernetes quantities; the domain works in bytes.
"""

from __future__ import annotations

from typing import Annotated

from virtpod.api.base import Int32, Int64, Quantity, Wire, one_of


class ACPI(Wire):
    msdm_name_ref: str | None = None
    slic_name_ref: str | None = None


class BIOS(Wire):
    use_serial: bool | None = None


class EFI(Wire):
    persistent: bool | None = None
    secure_boot: bool | None = None


class Bootloader(Wire):
    bios: BIOS | None = None
    efi: EFI | None = None


class CPUFeature(Wire):
    name: str
    policy: str | None = None


class NUMAGuestMappingPassthrough(Wire):
    pass


class NUMA(Wire):
    guest_mapping_passthrough: NUMAGuestMappingPassthrough | None = None


class Realtime(Wire):
    mask: str | None = None


class CPU(Wire):
    cores: Int64 | None = None
    dedicated_cpu_placement: bool | None = None
    features: list[CPUFeature] | None = None
    isolate_emulator_thread: bool | None = None
    max_sockets: Int64 | None = None
    model: str | None = None
    numa: NUMA | None = None
    realtime: Realtime | None = None
    sockets: Int64 | None = None
    threads: Int64 | None = None


class CPUTopology(Wire):
    cores: Int64 | None = None
    sockets: Int64 | None = None
    threads: Int64 | None = None


class Chassis(Wire):
    asset: str | None = None
    manufacturer: str | None = None
    serial: str | None = None
    sku: str | None = None
    version: str | None = None


class ClockOffsetUTC(Wire):
    offset_seconds: Int32 | None = None


class HPETTimer(Wire):
    present: bool | None = None
    tick_policy: str | None = None


class HypervTimer(Wire):
    present: bool | None = None


class KVMTimer(Wire):
    present: bool | None = None


class PITTimer(Wire):
    present: bool | None = None
    tick_policy: str | None = None


class RTCTimer(Wire):
    present: bool | None = None
    tick_policy: str | None = None
    track: str | None = None


class Timer(Wire):
    hpet: HPETTimer | None = None
    hyperv: HypervTimer | None = None
    kvm: KVMTimer | None = None
    pit: PITTimer | None = None
    rtc: RTCTimer | None = None


class Clock(Wire):
    timer: Timer | None = None
    timezone: str | None = None
    utc: ClockOffsetUTC | None = None


class DiskIOThreads(Wire):
    supplemental_pool_thread_count: Int64 | None = None


class FeatureAPIC(Wire):
    enabled: bool | None = None
    end_of_interrupt: bool | None = None


class FeatureSpinlocks(Wire):
    enabled: bool | None = None
    spinlocks: Int64 | None = None


class FeatureState(Wire):
    enabled: bool | None = None


class FeatureVendorID(Wire):
    enabled: bool | None = None
    vendorid: str | None = None


class SyNICTimer(Wire):
    direct: FeatureState | None = None
    enabled: bool | None = None


class TLBFlush(Wire):
    direct: FeatureState | None = None
    enabled: bool | None = None
    extended: FeatureState | None = None


class FeatureHyperv(Wire):
    evmcs: FeatureState | None = None
    frequencies: FeatureState | None = None
    ipi: FeatureState | None = None
    reenlightenment: FeatureState | None = None
    relaxed: FeatureState | None = None
    reset: FeatureState | None = None
    runtime: FeatureState | None = None
    spinlocks: FeatureSpinlocks | None = None
    synic: FeatureState | None = None
    synictimer: SyNICTimer | None = None
    tlbflush: TLBFlush | None = None
    vapic: FeatureState | None = None
    vendorid: FeatureVendorID | None = None
    vpindex: FeatureState | None = None


class FeatureKVM(Wire):
    hidden: bool | None = None


class HyperVPassthrough(Wire):
    enabled: bool | None = None


class Features(Wire):
    acpi: FeatureState | None = None
    apic: FeatureAPIC | None = None
    hyperv: FeatureHyperv | None = None
    hyperv_passthrough: HyperVPassthrough | None = None
    kvm: FeatureKVM | None = None
    pvspinlock: FeatureState | None = None
    smm: FeatureState | None = None


class KernelBootContainer(Wire):
    image: str
    image_pull_policy: Annotated[str, one_of("Always", "IfNotPresent", "Never")] | None = None
    image_pull_secret: str | None = None
    initrd_path: str | None = None
    kernel_path: str | None = None


class KernelBoot(Wire):
    container: KernelBootContainer | None = None
    kernel_args: str | None = None


class Firmware(Wire):
    acpi: ACPI | None = None
    bootloader: Bootloader | None = None
    kernel_boot: KernelBoot | None = None
    serial: str | None = None
    uuid: str | None = None


class Hugepages(Wire):
    page_size: str | None = None


class SEVAttestation(Wire):
    pass


class SEVPolicy(Wire):
    encrypted_state: bool | None = None


class SEV(Wire):
    attestation: SEVAttestation | None = None
    dh_cert: str | None = None
    policy: SEVPolicy | None = None
    session: str | None = None


class SEVSNP(Wire):
    pass


class TDX(Wire):
    pass


class LaunchSecurity(Wire):
    sev: SEV | None = None
    snp: SEVSNP | None = None
    tdx: TDX | None = None


class Machine(Wire):
    type: str | None = None


class ReservedOverhead(Wire):
    added_overhead: Quantity | None = None
    mem_lock: str | None = None


class Memory(Wire):
    guest: Quantity | None = None
    hugepages: Hugepages | None = None
    max_guest: Quantity | None = None
    reserved_overhead: ReservedOverhead | None = None


class ResourceRequirements(Wire):
    limits: dict[str, Quantity] | None = None
    overcommit_guest_overhead: bool | None = None
    requests: dict[str, Quantity] | None = None


class TDXAttestationConfiguration(Wire):
    enforced: bool | None = None
    qgs_socket_path: str | None = None
