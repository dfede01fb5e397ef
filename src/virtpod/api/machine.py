"""The machine itself: CPU, memory, firmware, clock, features, and the DomainSpec that holds them.

Memory sizes are Kubernetes quantities; the domain works in bytes.
"""

from __future__ import annotations

from typing import Annotated

from virtpod.api.base import Int32, Int64, Quantity, Wire, one_of


class ACPI(Wire):
    msdm_name_ref: str | None = None
    """Volume with the MSDM table (a Windows licence key)."""
    slic_name_ref: str | None = None
    """Volume with the SLIC table (a Windows licence key)."""


class BIOS(Wire):
    use_serial: bool | None = None
    """Whether the BIOS writes to the serial console."""


class EFI(Wire):
    persistent: bool | None = None
    """Whether EFI variables outlive the guest."""
    secure_boot: bool | None = None
    """Whether only signed code boots; true by default."""


class Bootloader(Wire):
    bios: BIOS | None = None
    """Boot by BIOS."""
    efi: EFI | None = None
    """Boot by EFI."""


class CPUFeature(Wire):
    name: str
    """Name of the CPU flag."""
    policy: str | None = None
    """force, require (default), optional, disable or forbid."""


class NUMAGuestMappingPassthrough(Wire):
    pass


class NUMA(Wire):
    guest_mapping_passthrough: NUMAGuestMappingPassthrough | None = None
    """The guest's NUMA cells are those of its CPUs' node."""


class Realtime(Wire):
    mask: str | None = None
    """Virtual CPUs that run in real time, such as `0-3,^1`; all by default."""


class CPU(Wire):
    cores: Int64 | None = None
    """Cores of each socket; 1 by default."""
    dedicated_cpu_placement: bool | None = None
    """Whether each virtual CPU has a CPU of the node to itself."""
    features: list[CPUFeature] | None = None
    """CPU flags that are added or taken away."""
    isolate_emulator_thread: bool | None = None
    """Whether QEMU's own threads get one more CPU to themselves."""
    max_sockets: Int64 | None = None
    """Sockets up to which CPUs can be added while the guest runs."""
    model: str | None = None
    """CPU model: host-model (default), host-passthrough or a name of libvirt's."""
    numa: NUMA | None = None
    """How the guest's NUMA cells are made."""
    realtime: Realtime | None = None
    """Scheduling of virtual CPUs in real time."""
    sockets: Int64 | None = None
    """Number of sockets; 1 by default."""
    threads: Int64 | None = None
    """Threads of each core; 1 by default."""


class CPUTopology(Wire):
    cores: Int64 | None = None
    """Cores of each socket."""
    sockets: Int64 | None = None
    """Number of sockets."""
    threads: Int64 | None = None
    """Threads of each core."""


class Chassis(Wire):
    asset: str | None = None
    """Asset tag."""
    manufacturer: str | None = None
    """Who made the case."""
    serial: str | None = None
    """Serial number of the case."""
    sku: str | None = None
    """Order number of the case."""
    version: str | None = None
    """Version of the case."""


class ClockOffsetUTC(Wire):
    offset_seconds: Int32 | None = None
    """Seconds that the guest's clock is ahead of UTC."""


class HPETTimer(Wire):
    present: bool | None = None
    """Whether the guest has this timer; true by default."""
    tick_policy: str | None = None
    """What happens with ticks that came too late: delay, catchup, merge or discard."""


class HypervTimer(Wire):
    present: bool | None = None
    """Whether the guest has this timer; true by default."""


class KVMTimer(Wire):
    present: bool | None = None
    """Whether the guest has this clock; true by default."""


class PITTimer(Wire):
    present: bool | None = None
    """Whether the guest has this timer; true by default."""
    tick_policy: str | None = None
    """What happens with ticks that came too late: delay, catchup or discard."""


class RTCTimer(Wire):
    present: bool | None = None
    """Whether the guest has this timer; true by default."""
    tick_policy: str | None = None
    """What happens with ticks that came too late: delay or catchup."""
    track: str | None = None
    """guest or wall: which time it follows."""


class Timer(Wire):
    hpet: HPETTimer | None = None
    """The high precision event timer."""
    hyperv: HypervTimer | None = None
    """The reference time of Hyper-V."""
    kvm: KVMTimer | None = None
    """KVM's paravirtual clock."""
    pit: PITTimer | None = None
    """The programmable interval timer."""
    rtc: RTCTimer | None = None
    """The real-time clock."""


class Clock(Wire):
    timer: Timer | None = None
    """Which timers the guest has, and how they tick."""
    timezone: str | None = None
    """Time zone of the guest's clock, such as `Europe/Berlin`."""
    utc: ClockOffsetUTC | None = None
    """The guest's clock follows UTC."""


class DiskIOThreads(Wire):
    supplemental_pool_thread_count: Int64 | None = None
    """Threads of the pool that serves all disks."""


class FeatureAPIC(Wire):
    enabled: bool | None = None
    """Whether the guest sees it; true by default."""
    end_of_interrupt: bool | None = None
    """Whether the guest may end interrupts without leaving to the hypervisor."""


class FeatureSpinlocks(Wire):
    enabled: bool | None = None
    """Whether the guest sees it; true by default."""
    spinlocks: Int64 | None = None
    """Tries of a spin lock before the hypervisor is told; at least 4096."""


class FeatureState(Wire):
    enabled: bool | None = None
    """Whether the guest sees it; true by default."""


class FeatureVendorID(Wire):
    enabled: bool | None = None
    """Whether the guest sees it; true by default."""
    vendorid: str | None = None
    """Vendor that the hypervisor names itself to the guest; up to 12 characters."""


class SyNICTimer(Wire):
    direct: FeatureState | None = None
    """Whether timers expire as interrupts instead of messages."""
    enabled: bool | None = None
    """Whether the guest sees it; true by default."""


class TLBFlush(Wire):
    direct: FeatureState | None = None
    """Whether a nested hypervisor's guests may use it."""
    enabled: bool | None = None
    """Whether the guest sees it; true by default."""
    extended: FeatureState | None = None
    """Whether parts of the TLB can be named."""


class FeatureHyperv(Wire):
    evmcs: FeatureState | None = None
    """Faster nested virtualisation on Intel."""
    frequencies: FeatureState | None = None
    """Registers that tell the frequencies of TSC and APIC."""
    ipi: FeatureState | None = None
    """Interrupts between many CPUs with one call."""
    reenlightenment: FeatureState | None = None
    """Notice when the TSC's frequency changes."""
    relaxed: FeatureState | None = None
    """No watchdog time-outs while the guest is not scheduled."""
    reset: FeatureState | None = None
    """Reset by a register of Hyper-V's."""
    runtime: FeatureState | None = None
    """A register with the time that a CPU has run."""
    spinlocks: FeatureSpinlocks | None = None
    """The hypervisor is told of long waits for spin locks."""
    synic: FeatureState | None = None
    """Hyper-V's interrupt controller."""
    synictimer: SyNICTimer | None = None
    """Timers of that interrupt controller."""
    tlbflush: TLBFlush | None = None
    """TLBs of other CPUs are flushed with one call."""
    vapic: FeatureState | None = None
    """Paravirtual access to the APIC."""
    vendorid: FeatureVendorID | None = None
    """The vendor that the hypervisor names."""
    vpindex: FeatureState | None = None
    """A register with the CPU's number."""


class FeatureKVM(Wire):
    hidden: bool | None = None
    """Whether the guest is kept from seeing that it runs on KVM."""


class HyperVPassthrough(Wire):
    enabled: bool | None = None
    """Whether all of Hyper-V's features that the node knows are shown; true by default."""


class Features(Wire):
    acpi: FeatureState | None = None
    """ACPI: power button and tables; on by default."""
    apic: FeatureAPIC | None = None
    """The interrupt controller."""
    hyperv: FeatureHyperv | None = None
    """Features that Windows knows from Hyper-V."""
    hyperv_passthrough: HyperVPassthrough | None = None
    """All features of Hyper-V that the node knows."""
    kvm: FeatureKVM | None = None
    """KVM's own features."""
    pvspinlock: FeatureState | None = None
    """Paravirtual spin locks."""
    smm: FeatureState | None = None
    """System management mode, which secure boot needs."""


class KernelBootContainer(Wire):
    image: str
    """Container image that holds the kernel."""
    image_pull_policy: Annotated[str, one_of("Always", "IfNotPresent", "Never")] | None = None
    """When the image is pulled."""
    image_pull_secret: str | None = None
    """Secret for the image's registry."""
    initrd_path: str | None = None
    """Path of the initial RAM disk in the image."""
    kernel_path: str | None = None
    """Path of the kernel in the image."""


class KernelBoot(Wire):
    container: KernelBootContainer | None = None
    """Where kernel and initial RAM disk are."""
    kernel_args: str | None = None
    """The kernel's command line."""


class Firmware(Wire):
    acpi: ACPI | None = None
    """Further ACPI tables from volumes."""
    bootloader: Bootloader | None = None
    """BIOS or EFI."""
    kernel_boot: KernelBoot | None = None
    """A kernel that is booted without a boot loader."""
    serial: str | None = None
    """The machine's serial number (SMBIOS type 1)."""
    uuid: str | None = None
    """The machine's UUID; made from the name by default."""


class Hugepages(Wire):
    page_size: str | None = None
    """Size of a page: `2Mi` or `1Gi` on amd64."""


class SEVAttestation(Wire):
    pass


class SEVPolicy(Wire):
    encrypted_state: bool | None = None
    """Whether registers are encrypted too (SEV-ES)."""


class SEV(Wire):
    attestation: SEVAttestation | None = None
    """The guest waits, paused, until its owner has attested it."""
    dh_cert: str | None = None
    """The owner's Diffie-Hellman certificate, base64."""
    policy: SEVPolicy | None = None
    """What the platform must grant."""
    session: str | None = None
    """The owner's session blob, base64."""


class SEVSNP(Wire):
    pass


class TDX(Wire):
    pass


class LaunchSecurity(Wire):
    sev: SEV | None = None
    """AMD's encryption with or without encrypted registers."""
    snp: SEVSNP | None = None
    """AMD SEV-SNP."""
    tdx: TDX | None = None
    """Intel TDX."""


class Machine(Wire):
    type: str | None = None
    """QEMU's machine type, such as `q35`."""


class ReservedOverhead(Wire):
    added_overhead: Quantity | None = None
    """Memory that the pod gets beyond what is reckoned."""
    mem_lock: str | None = None
    """Required or NotRequired: whether the guest's memory is locked."""


class Memory(Wire):
    guest: Quantity | None = None
    """Memory that the guest sees."""
    hugepages: Hugepages | None = None
    """The guest's memory comes from huge pages."""
    max_guest: Quantity | None = None
    """Memory up to which it can be added while the guest runs."""
    reserved_overhead: ReservedOverhead | None = None
    """Memory for devices that need more than is reckoned."""


class ResourceRequirements(Wire):
    limits: dict[str, Quantity] | None = None
    """Most that the pod may use: cpu, memory and devices."""
    overcommit_guest_overhead: bool | None = None
    """Whether the memory beyond the guest's own is left out of the requests."""
    requests: dict[str, Quantity] | None = None
    """Least that the node must keep for the pod."""


class TDXAttestationConfiguration(Wire):
    enforced: bool | None = None
    """Whether a guest without attestation is refused."""
    qgs_socket_path: str | None = None
    """Unix socket of the node's quote generation service."""
