"""Everything else on the machine's buses: inputs, video, watchdog, TPM, host devices."""

from __future__ import annotations

from msgspec import field

from virtpod.api.base import AtomicList, Wire
from virtpod.api.disks import Disk, Filesystem
from virtpod.api.hostdevices import GPU, HostDevice
from virtpod.api.network import Interface


class ClientPassthroughDevices(Wire):
    pass


class DownwardMetrics(Wire):
    pass


class Input(Wire):
    type: str
    name: str
    bus: str | None = None


class PanicDevice(Wire):
    model: str | None = None


class Rng(Wire):
    pass


class SoundDevice(Wire):
    name: str
    model: str | None = None


class TPMDevice(Wire):
    enabled: bool | None = None
    persistent: bool | None = None


class VideoDevice(Wire):
    type: str | None = None


class Diag288Watchdog(Wire):
    action: str | None = None


class I6300ESBWatchdog(Wire):
    action: str | None = None


class Watchdog(Wire):
    name: str
    diag288: Diag288Watchdog | None = None
    i6300esb: I6300ESBWatchdog | None = None


class Devices(Wire):
    autoattach_graphics_device: bool | None = None
    autoattach_input_device: bool | None = None
    autoattach_mem_balloon: bool | None = None
    autoattach_pod_interface: bool | None = None
    autoattach_serial_console: bool | None = None
    autoattach_vsock: bool | None = field(default=None, name="autoattachVSOCK")
    block_multi_queue: bool | None = None
    client_passthrough: ClientPassthroughDevices | None = None
    disable_hotplug: bool | None = None
    disks: list[Disk] | None = None
    downward_metrics: DownwardMetrics | None = None
    filesystems: AtomicList[Filesystem] | None = None
    gpus: AtomicList[GPU] | None = None
    host_devices: AtomicList[HostDevice] | None = None
    inputs: list[Input] | None = None
    interfaces: list[Interface] | None = None
    log_serial_console: bool | None = None
    network_interface_multiqueue: bool | None = None
    panic_devices: list[PanicDevice] | None = None
    rng: Rng | None = None
    sound: SoundDevice | None = None
    tpm: TPMDevice | None = None
    use_virtio_transitional: bool | None = None
    video: VideoDevice | None = None
    watchdog: Watchdog | None = None
