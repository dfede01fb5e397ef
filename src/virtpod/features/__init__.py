"""All features, in the order in which they are asked: the product's table of contents.

A spec path that no feature owns stands in `not_yet.txt`, which is the roadmap.
"""

from __future__ import annotations

from typing import Any

from virtpod.features.contract import Feature
from virtpod.features.devices import (
    balloon,
    controllers,
    downward_metrics,
    graphics,
    host_devices,
    inputs,
    io_threads,
    multi_queue,
    panic,
    rng,
    serial_console,
    sound,
    tpm,
    usb_redirection,
    vsock,
    watchdog,
)
from virtpod.features.disks import (
    cloud_init,
    config_disk,
    container_disk,
    container_path,
    data_volume,
    disk,
    empty_disk,
    ephemeral,
    host_disk,
    hotplug,
    lun,
    persistent_volume_claim,
    virtiofs,
)
from virtpod.features.guest import (
    agent,
    hooks,
    probes,
    service_account,
    start_strategy,
    stopping,
)
from virtpod.features.machine import (
    accelerator,
    acpi_tables,
    board,
    chassis,
    clock,
    cpu,
    firmware,
    hyperv,
    ignition,
    kernel_boot,
    launch_security,
    memory,
    memory_hotplug,
    numa,
    pci,
    platform,
    reboot,
    state,
)
from virtpod.features.network import bridge, dhcp_options, interface, masquerade, passt
from virtpod.features.placement import eviction, naming, scheduling

CARDS: tuple[Feature[Any], ...] = (bridge.FEATURE, masquerade.FEATURE, passt.FEATURE)
"""Those that draw network cards."""

ALL: tuple[Feature[Any], ...] = (
    # the machine
    board.FEATURE,
    accelerator.FEATURE,
    memory.FEATURE,
    memory_hotplug.FEATURE,
    cpu.FEATURE,
    numa.FEATURE,
    firmware.FEATURE,
    acpi_tables.FEATURE,
    ignition.FEATURE,
    chassis.FEATURE,
    platform.FEATURE,
    hyperv.FEATURE,
    clock.FEATURE,
    reboot.FEATURE,
    kernel_boot.FEATURE,
    launch_security.FEATURE,
    state.FEATURE,
    # its devices
    controllers.FEATURE,
    hotplug.FEATURE,
    disk.FEATURE,
    container_disk.FEATURE,
    cloud_init.FEATURE,
    config_disk.FEATURE,
    service_account.FEATURE,
    empty_disk.FEATURE,
    persistent_volume_claim.FEATURE,
    data_volume.FEATURE,
    ephemeral.FEATURE,
    host_disk.FEATURE,
    virtiofs.FEATURE,
    container_path.FEATURE,
    lun.FEATURE,
    interface.FEATURE,
    masquerade.FEATURE,
    passt.FEATURE,
    bridge.FEATURE,
    dhcp_options.FEATURE,
    serial_console.FEATURE,
    graphics.FEATURE,
    inputs.FEATURE,
    rng.FEATURE,
    watchdog.FEATURE,
    usb_redirection.FEATURE,
    sound.FEATURE,
    panic.FEATURE,
    host_devices.FEATURE,
    tpm.FEATURE,
    vsock.FEATURE,
    downward_metrics.FEATURE,
    io_threads.FEATURE,
    multi_queue.FEATURE,
    balloon.FEATURE,
    pci.FEATURE,
    agent.FEATURE,
    start_strategy.FEATURE,
    # its pod
    hooks.FEATURE,
    stopping.FEATURE,
    probes.FEATURE,
    scheduling.FEATURE,
    eviction.FEATURE,
    naming.FEATURE,
)
