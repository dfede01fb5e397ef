"""Where things are inside a launcher's container, and their names on the node.

Clients and other people's tools know these places (people look for disks, sockets and logs
there), so they are KubeVirt's.
"""

from hashlib import sha256

SHARE = "/var/run/kubevirt"
SOCKETS = f"{SHARE}/sockets"
LAUNCHER_SOCKET = "launcher-sock"
"""File name in `SOCKETS`; on the node below the pod's emptyDir volume `sockets`."""
PRIVATE = "/var/run/kubevirt-private"
"""The emptyDir volume `private`; holds <vmi uid>/virt-serial0 and virt-vnc."""
EPHEMERAL = "/var/run/kubevirt-ephemeral-disks"
CONTAINER_DISKS = f"{SHARE}/container-disks"
IMAGE_VOLUMES = "/var/run/kubevirt-image-volume"
KERNEL_BOOT = "/var/run/kubevirt-kernel-boot"
"""Where the image with the kernel is mounted."""
EMPTY_DISKS = "/var/run/libvirt/empty-disks"
SECRETS = f"{PRIVATE}/secret"
CONFIGS = f"{PRIVATE}/config"
CLAIMS = f"{PRIVATE}/vmi-disks"
"""Claims with a file system, each mounted under its volume's name."""
HOTPLUG = f"{SHARE}/hotplug-disks"
"""Claims that came while the guest ran: each a folder, or a device, of its volume's name."""
LOANS = f"{SHARE}/lent-devices"
"""Devices of the node that came while the guest runs: a folder for each, with its nodes."""
PR_HELPER = f"{SHARE}/daemons/pr"
"""On the node and in pods that were given it: the folder of qemu-pr-helper's socket."""
PR_HELPER_SOCKET = f"{PR_HELPER}/pr-helper.sock"
DISK_FILE = "disk.img"
"""The guest's disk in such a claim."""
TOLERANCE = "PVC_TOLERATE_LESS_SPACE_UP_TO_PERCENT"
"""The environment variable for `Guest.tolerance`, where the cluster has another than usual."""
RESERVE = "MINIMUM_RESERVE_PVC_BYTES"
"""The environment variable for what is kept free of a file system that a disk is made in, where
the cluster has another than usual."""
LIBVIRT_RUNTIME = "/var/run/libvirt"
LIBVIRT_SOCKET = f"{LIBVIRT_RUNTIME}/libvirt-sock"
LIBVIRT_URI = f"qemu:///session?socket={LIBVIRT_SOCKET}"
OVMF = "/usr/share/OVMF"
AAVMF = "/usr/share/AAVMF"

HOOKS = "/var/run/kubevirt-hooks"
"""Sockets of hook side-cars: each has a folder of its own in it, that it sees under this path."""
SHIM = "/usr/bin/sidecar-shim"
"""In the launcher's image: the side-car that runs a user's scripts."""

VIRTIOFSD = "/usr/libexec/virtiofsd"
VIRTIOFS = f"{SHARE}/virtiofs-containers"
"""Of the daemons' sockets."""

PROBE = "/usr/bin/virt-probe"
"""In the launcher's image: what the kubelet runs for a probe that the guest's agent answers."""

SMBIOS_ENV = "VIRTPOD_SMBIOS"
"""What the cluster says of its machines' maker, as JSON in the launcher's environment."""

BALLOON_ENV = "VIRTPOD_BALLOON_STATS_PERIOD"
"""Seconds of `Guest.balloon_period`, where the cluster has another than usual."""
KEEPS_PAGES_ENV = "VIRTPOD_NO_FREE_PAGE_REPORTING"
"""There where `Guest.free_page_reporting` is false."""
VERBOSITY_ENV = "VIRTPOD_LAUNCHER_VERBOSITY"
"""How much a launcher logs, where the cluster says so."""

NODE_ENV = "NODE_NAME"
"""In the environment of launchers whose guests are told it."""

LOCKS_MEMORY = "virtpod.io/locks-memory"
"""Annotation of a launcher's pod whose QEMU may lock all of its memory."""

CLAIMED_DEVICES = "/var/run/kubernetes.io/dra-device-attributes"
"""Where drivers of resource claims say in the container what its devices are (KEP-5304)."""

QEMU_UID = 107
LONGEST_LABEL = 63
"""Characters of a DNS label, which the name of a pod's volume is."""


def hook_folder(index: int, folder: str = HOOKS) -> str:
    """Where the launcher finds the index-th side-car's socket; the last part is its name."""
    return f"{folder}/hook-sidecar-{index}"


def serial_socket(uid: str) -> str:
    """QEMU's unix socket of the first serial port."""
    return f"{PRIVATE}/{uid}/virt-serial0"


def serial_log(uid: str) -> str:
    """What the guest has written to that port of late."""
    return f"{serial_socket(uid)}-log"


def vnc_socket(uid: str) -> str:
    """QEMU's unix socket of the VNC display."""
    return f"{PRIVATE}/{uid}/virt-vnc"


def usb_socket(uid: str, slot: int) -> str:
    """QEMU's unix socket of a slot for a client's USB device."""
    return f"{PRIVATE}/{uid}/virt-usbredir-{slot}"


def image_volume(index: int) -> str:
    """Where the image volume of the index-th volume of the spec is mounted."""
    return f"{IMAGE_VOLUMES}/disk_{index}"


def container_disk_socket(index: int) -> str:
    """Where the side-car of the index-th volume hands out its root directory."""
    return f"{CONTAINER_DISKS}/disk_{index}.sock"


def overlay(volume: str) -> str:
    """The qcow2 layer over a container disk."""
    return f"{EPHEMERAL}/disk-data/{volume}/disk.qcow2"


def virtiofs_socket(volume: str) -> str:
    """Where the daemon listens that shows the guest a folder."""
    return f"{VIRTIOFS}/{volume}.sock"


def claim_folder(volume: str) -> str:
    """Where a claim with a file system is mounted."""
    return f"{CLAIMS}/{volume}"


def claim_disk(volume: str) -> str:
    """The guest's disk in a claim with a file system."""
    return f"{claim_folder(volume)}/{DISK_FILE}"


def claim_device(volume: str) -> str:
    """The device of a claim that is a block device."""
    return f"/dev/{volume}"


def hotplug(volume: str) -> str:
    """Where a claim appears that is attached while the guest runs: its folder, or its device."""
    return f"{HOTPLUG}/{volume}"


def attachment(volume: str) -> str:
    """The same in the container of the pod that brings it to the node."""
    return f"/volumes/{volume}"


def credentials_folder(secret: str) -> str:
    """Where the kubelet puts a secret of access credentials."""
    return f"{SECRETS}/{secret}-access-cred"


def credentials_volume(secret: str) -> str:
    """The pod's volume of it: a secret's name may be longer, and have dots."""
    name = f"{secret}-access-cred"
    if len(name) <= LONGEST_LABEL and "." not in name:
        return name
    return f"access-cred-{sha256(secret.encode()).hexdigest()[:16]}"


def config_folder(volume: str) -> str:
    """Where the kubelet puts the files of a ConfigMap and its like."""
    return f"{CONFIGS}/{volume}"


METRICS_DISK = f"{PRIVATE}/downwardmetrics-disk/vhostmd0"
"""The guest's disk of metrics."""


def metrics_socket(uid: str) -> str:
    """QEMU's unix socket of the channel by which a guest asks for metrics."""
    return f"{PRIVATE}/{uid}/downwardmetrics.sock"


def ignition(namespace: str, name: str) -> str:
    """What the guest's first boot is configured by."""
    return f"{EPHEMERAL}/ignition-data/{namespace}/{name}/data.ign"


def config_iso(volume: str) -> str:
    """The disk with these files."""
    return f"{EPHEMERAL}/config-disks/{volume}.iso"


def cloud_init_iso(namespace: str, name: str, kind: str) -> str:
    """`kind`: noCloud or configdrive."""
    return f"{EPHEMERAL}/cloud-init-data/{namespace}/{name}/{kind}.iso"
