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
    """tablet is the only type."""
    name: str
    """Name of the device."""
    bus: str | None = None
    """usb (default) or virtio."""


class PanicDevice(Wire):
    model: str | None = None
    """hyperv, isa or pvpanic."""


class Rng(Wire):
    pass


class SoundDevice(Wire):
    name: str
    """Name of the device."""
    model: str | None = None
    """ich9 (default) or ac97."""


class TPMDevice(Wire):
    enabled: bool | None = None
    """Whether the guest has it; true by default."""
    persistent: bool | None = None
    """Whether its state outlives the guest."""


class VideoDevice(Wire):
    type: str | None = None
    """vga, virtio, bochs, ramfb and others."""


class Diag288Watchdog(Wire):
    action: str | None = None
    """poweroff, reset (default) or shutdown, when the guest hangs."""


class I6300ESBWatchdog(Wire):
    action: str | None = None
    """poweroff, reset (default) or shutdown, when the guest hangs."""


class Watchdog(Wire):
    name: str
    """Name of the device."""
    diag288: Diag288Watchdog | None = None
    """The watchdog of s390x."""
    i6300esb: I6300ESBWatchdog | None = None
    """The watchdog on the PCI bus."""


class Devices(Wire):
    autoattach_graphics_device: bool | None = None
    """Whether the guest has a display and VNC; true by default."""
    autoattach_input_device: bool | None = None
    """Whether a tablet is added when no input is named; false by default."""
    autoattach_mem_balloon: bool | None = None
    """Whether the guest has a memory balloon; true by default."""
    autoattach_pod_interface: bool | None = None
    """Whether the pod's network is joined when no network is named; true by default."""
    autoattach_serial_console: bool | None = None
    """Whether the guest has a serial console; true by default."""
    autoattach_vsock: bool | None = field(default=None, name="autoattachVSOCK")
    """Whether the guest has a vsock device; false by default."""
    block_multi_queue: bool | None = None
    """Whether disks have a queue for each virtual CPU."""
    client_passthrough: ClientPassthroughDevices | None = None
    """USB devices of a client can be passed to the guest."""
    disable_hotplug: bool | None = None
    """Whether no spare PCI slots are kept for devices that come later."""
    disks: list[Disk] | None = None
    """Disks, LUNs and CD-ROMs, each joined to the volume of its name."""
    downward_metrics: DownwardMetrics | None = None
    """The node's metrics reach the guest over a virtio port."""
    filesystems: AtomicList[Filesystem] | None = None
    """Volumes that the guest mounts by virtiofs."""
    gpus: AtomicList[GPU] | None = None
    """GPUs of the node."""
    host_devices: AtomicList[HostDevice] | None = None
    """Devices of the node: PCI, mediated and USB."""
    inputs: list[Input] | None = None
    """Tablets and the like."""
    interfaces: list[Interface] | None = None
    """Network interfaces, each joined to the network of its name."""
    log_serial_console: bool | None = None
    """Whether a container logs the serial console."""
    network_interface_multiqueue: bool | None = None
    """Whether interfaces have a pair of queues for each virtual CPU."""
    panic_devices: list[PanicDevice] | None = None
    """Devices by which the guest tells that it has crashed."""
    rng: Rng | None = None
    """The guest gets random numbers from the node."""
    sound: SoundDevice | None = None
    """A sound card."""
    tpm: TPMDevice | None = None
    """A trusted platform module."""
    use_virtio_transitional: bool | None = None
    """Whether virtio devices also speak the old version 0.9."""
    video: VideoDevice | None = None
    """The display's hardware."""
    watchdog: Watchdog | None = None
    """A device that acts when the guest hangs."""
