"""A preference fills in what the VM and its instance type leave open, and changes nothing else."""

from __future__ import annotations

from typing import TypeVar

from virtpod.api.base import Wire
from virtpod.api.devices import Devices, Input, VideoDevice
from virtpod.api.disks import Disk
from virtpod.api.domain import DomainSpec
from virtpod.api.machine import (
    BIOS,
    CPU,
    EFI,
    Bootloader,
    Clock,
    FeatureHyperv,
    Features,
    Firmware,
    Machine,
)
from virtpod.api.preference import ClockPreferences, FeaturePreferences, FirmwarePreferences
from virtpod.api.preference import DevicePreferences as Wanted
from virtpod.api.preference import VirtualMachinePreferenceSpec as Preference
from virtpod.api.vm import VirtualMachine
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.features.devices import inputs
from virtpod.features.network import bindings

T = TypeVar("T", bound=Wire)

ON_DEVICES = (
    ("autoattach_graphics_device", "preferred_autoattach_graphics_device"),
    ("autoattach_input_device", "preferred_autoattach_input_device"),
    ("autoattach_mem_balloon", "preferred_autoattach_mem_balloon"),
    ("autoattach_pod_interface", "preferred_autoattach_pod_interface"),
    ("autoattach_serial_console", "preferred_autoattach_serial_console"),
    ("block_multi_queue", "preferred_block_multi_queue"),
    ("disable_hotplug", "preferred_disable_hotplug"),
    ("network_interface_multiqueue", "preferred_network_interface_multi_queue"),
    ("rng", "preferred_rng"),
    ("tpm", "preferred_tpm"),
    ("use_virtio_transitional", "preferred_use_virtio_transitional"),
)
ON_FEATURES = (
    ("acpi", "preferred_acpi"),
    ("apic", "preferred_apic"),
    ("kvm", "preferred_kvm"),
    ("pvspinlock", "preferred_pvspinlock"),
    ("smm", "preferred_smm"),
)
"""Fields that a preference fills as a whole: ours, and its own."""


def fill(preference: Preference, vmi: VMI) -> None:
    """In place. Disks and interfaces that come by default are to be there already."""
    spec, domain = vmi.spec, vmi.spec.domain
    if preference.annotations:
        vmi.metadata.annotations = {**preference.annotations, **(vmi.metadata.annotations or {})}
    if preference.devices:
        _devices(preference.devices, domain.devices)
        _interfaces(preference.devices, vmi)
    if preference.clock:
        domain.clock = _clock(preference.clock, domain.clock or Clock())
    if preference.features:
        domain.features = _features(preference.features, domain.features or Features())
    if preference.firmware:
        _firmware(preference.firmware, domain)
    machine(preference, vmi)
    if preference.cpu and preference.cpu.preferred_cpu_features:
        cpu = domain.cpu = domain.cpu or CPU()
        named = {feature.name for feature in cpu.features or ()}
        more = [each for each in preference.cpu.preferred_cpu_features if each.name not in named]
        cpu.features = [*(cpu.features or ()), *more]
    domain.launch_security = domain.launch_security or preference.preferred_launch_security
    spec.subdomain = spec.subdomain or preference.preferred_subdomain
    if spec.termination_grace_period_seconds is None:
        spec.termination_grace_period_seconds = (
            preference.preferred_termination_grace_period_seconds
        )


def machine(preference: Preference, vmi: VMI) -> None:
    """What a VM keeps of a preference from its creation on: the kind of machine it is."""
    spec, wanted = vmi.spec, preference.machine and preference.machine.preferred_machine_type
    spec.architecture = spec.architecture or preference.preferred_architecture
    if wanted:
        given = spec.domain.machine = spec.domain.machine or Machine()
        given.type = given.type or wanted


def storage(preference: Preference, vm: VirtualMachine) -> None:
    """The storage class of DataVolumes that the VM brings along, where they name none."""
    wanted = preference.volumes and preference.volumes.preferred_storage_class_name
    for template in vm.spec.data_volume_templates or ():
        for claim in (template.spec.pvc, template.spec.storage):
            if claim is not None and wanted and claim.storage_class_name is None:
                claim.storage_class_name = wanted


def _fill(value: T, wanted: Wire, fields: tuple[tuple[str, str], ...]) -> T:
    for ours, theirs in fields:
        if getattr(value, ours) is None:
            setattr(value, ours, getattr(wanted, theirs))
    return value


def _devices(wanted: Wanted, devices: Devices) -> None:
    _fill(devices, wanted, ON_DEVICES)
    for disk in devices.disks or ():
        _disk(wanted, disk)
    added = devices.autoattach_input_device and not devices.inputs
    if added and (wanted.preferred_input_bus or wanted.preferred_input_type):
        # Now, for it is like any that the VM names: later ones would come as they do by default.
        devices.inputs = [Input(name=inputs.DEFAULT, type="")]
    for device in devices.inputs or ():
        device.bus = device.bus or wanted.preferred_input_bus
        device.type = device.type or wanted.preferred_input_type or inputs.TYPE
    if devices.sound is not None:
        devices.sound.model = devices.sound.model or wanted.preferred_sound_model
    if wanted.preferred_video_type and devices.autoattach_graphics_device is not False:
        devices.video = devices.video or VideoDevice()
    if devices.video is not None:
        devices.video.type = devices.video.type or wanted.preferred_video_type
    for panic in devices.panic_devices or ():
        panic.model = panic.model or wanted.preferred_panic_device_model
    for gpu in devices.gpus or ():
        options = gpu.virtual_gpu_options
        gpu.virtual_gpu_options = options or wanted.preferred_virtual_gpu_options


def _disk(wanted: Wanted, disk: Disk) -> None:
    for target, bus in (
        (disk.disk, wanted.preferred_disk_bus),
        (disk.cdrom, wanted.preferred_cdrom_bus),
        (disk.lun, wanted.preferred_lun_bus),
    ):
        if target is not None:
            target.bus = target.bus or bus
    disk.cache = disk.cache or wanted.preferred_disk_cache
    disk.io = disk.io or wanted.preferred_disk_io
    disk.block_size = disk.block_size or wanted.preferred_disk_block_size
    virtio = disk.disk is not None and disk.disk.bus == "virtio"
    if virtio and disk.dedicated_io_thread is None:
        disk.dedicated_io_thread = wanted.preferred_disk_dedicated_io_thread


def _interfaces(wanted: Wanted, vmi: VMI) -> None:
    on_pods = {network.name for network in vmi.spec.networks or () if network.pod is not None}
    for interface in vmi.spec.domain.devices.interfaces or ():
        interface.model = interface.model or wanted.preferred_interface_model
        if interface.name in on_pods and not bindings(interface):
            interface.masquerade = wanted.preferred_interface_masquerade


def _clock(wanted: ClockPreferences, clock: Clock) -> Clock:
    offset = wanted.preferred_clock_offset
    if offset is not None and clock.utc is None and not clock.timezone:
        clock.utc, clock.timezone = offset.utc, offset.timezone
    clock.timer = clock.timer or wanted.preferred_timer
    return clock


def _features(wanted: FeaturePreferences, features: Features) -> Features:
    _fill(features, wanted, ON_FEATURES)
    if wanted.preferred_hyperv is not None:
        both = tuple((name, name) for name in FeatureHyperv.__struct_fields__)
        features.hyperv = _fill(features.hyperv or FeatureHyperv(), wanted.preferred_hyperv, both)
    return features


def _firmware(wanted: FirmwarePreferences, domain: DomainSpec) -> None:
    firmware = domain.firmware or Firmware()
    loader = firmware.bootloader or Bootloader()
    if loader.bios is None and loader.efi is None:
        if wanted.preferred_efi is not None:
            loader.efi = wanted.preferred_efi
        elif wanted.preferred_use_efi:
            loader.efi = EFI(secure_boot=wanted.preferred_use_secure_boot)
        elif wanted.preferred_use_bios:
            loader.bios = BIOS()
    if loader.bios is not None and loader.bios.use_serial is None:
        loader.bios.use_serial = wanted.preferred_use_bios_serial
    if loader.bios is not None or loader.efi is not None:
        firmware.bootloader = loader
        domain.firmware = firmware
