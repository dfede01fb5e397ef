"""What is known before anything is rendered: frozen data, no services, no clocks.

Each process collects its facts once, by one `probe()`, and hands them to the renderers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from virtpod.api.kubevirt import KubeVirtConfiguration
from virtpod.wire.messages import Route


@dataclass(frozen=True)
class Cluster:
    """What virt-api and virt-controller know: the KubeVirt CR and what was installed."""

    config: KubeVirtConfiguration = field(default_factory=KubeVirtConfiguration)
    gates: frozenset[str] = frozenset()
    """The feature gates that are on (`features.gates.resolve`)."""
    namespace: str = "kubevirt"
    launcher_image: str = ""
    image_pull_policy: str = "IfNotPresent"
    architecture: str = "amd64"
    image_volumes: bool = False
    """Pods may mount images as volumes (Kubernetes 1.33+ with the gate, a runtime that can)."""
    limits_cpu: bool = False
    """Pods in the namespace at hand get a CPU limit by themselves."""
    networks: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Of the NetworkAttachmentDefinitions that the VMI at hand names (namespace, name): the
    resource of the node that one needs."""


@dataclass(frozen=True)
class PodLink:
    """The pod's own network interface, as the CNI made it."""

    name: str = "eth0"
    mac: str = ""
    mtu: int = 1500
    addresses: tuple[str, ...] = ()
    """CIDR notation, IPv4 first."""
    routes: tuple[Route, ...] = ()
    """Those that do not follow from its addresses."""


@dataclass(frozen=True)
class Host:
    """What virt-handler knows of a pod on its node."""

    node: str = ""
    links: Mapping[str, PodLink] = field(default_factory=dict)
    """By the name of the VMI's network."""
    bindings: Mapping[str, str] = field(default_factory=dict)
    """Network binding plugins, and how each has the guest joined: managedTap, tap or ""."""
    devices: Mapping[str, str] = field(default_factory=dict)
    """PCI addresses, by the pod's interface that Multus noted."""


@dataclass(frozen=True)
class DiskImage:
    """A file or block device that can back a disk."""

    path: str
    format: str = "raw"
    size: int = 0
    """Virtual size in bytes; 0: it must be made first."""
    block: bool = False
    direct: bool | None = None
    """Can be opened past the page cache; None: as the ephemeral disks can."""


@dataclass(frozen=True)
class Blocks:
    """Bytes of the blocks of what is below a disk."""

    logical: int = 512
    physical: int = 512
    discard: int = 0
    """What is discarded together; 0: not known, or nothing is."""


@dataclass(frozen=True)
class GuestLink:
    """The host side of a guest's interface (see `wire.messages.Link`)."""

    tap: str
    bridge: str = ""
    mtu: int = 1500
    mac: str = ""
    addresses: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    pci: str = ""
    device: str = ""


class DeviceMissing(Exception):
    """The pod was not given a device that its guest is to have."""


@dataclass(frozen=True)
class GivenDevice:
    """A device of the node that this launcher's container was given."""

    kind: str
    """pci, mdev or usb."""
    address: str
    """domain:bus:device.function, a uuid, or bus:device."""
    parent: str = ""
    """The address of the physical function that it is a virtual one of."""
    driver: str = ""
    """The kernel's that has it, where that is not vfio-pci but one of the device's own."""
    group: str = ""
    """Its IOMMU group; empty: nobody tells."""


@dataclass(frozen=True)
class Guest:
    """What virt-launcher knows where it is about to start the guest."""

    emulation: bool = False
    """TCG instead of KVM."""
    images: Mapping[str, DiskImage] = field(default_factory=dict)
    """Container disks, claims and other given images, by volume name."""
    links: Mapping[str, GuestLink] = field(default_factory=dict)
    """By interface name."""
    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    secrets: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    """Content of mounted secrets, by volume name."""
    files: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    """The same of what is to be a disk of files; a file's name may have folders."""
    mounts: tuple[str, ...] = ()
    """Where something is mounted in the container, if a volume is one of these places."""
    blocks: Mapping[str, Blocks] = field(default_factory=dict)
    """Of the disks that are to have blocks like what is below them, by name."""
    direct_io: bool = False
    """The file system of the ephemeral disks can O_DIRECT."""
    tolerance: int = 10
    """Percent that a disk may be smaller than was asked for: file systems keep records too."""
    cloud_init: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What hook side-cars made of what cloud-init reads, by volume (`cloud_init.described`)."""
    given: Mapping[str, tuple[GivenDevice, ...]] = field(default_factory=dict)
    """Devices of the node, by resource name, in the order in which they were given."""
    claimed: Mapping[str, tuple[GivenDevice, ...]] = field(default_factory=dict)
    """Those of resource claims, by `traits.Claimed.key`."""
    cpus: tuple[int, ...] = ()
    """CPUs of the node that the container may run on."""
    nodes: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """NUMA nodes of the machine that the container is on, each with its CPUs."""
    smbios: Mapping[str, str] = field(default_factory=dict)
    """What guests of this cluster read of their machine's maker."""
    balloon_period: int = 10
    """Seconds between the guest's reports of its memory; 0: it makes none."""
    free_page_reporting: bool = True
    """The guest tells which pages are free, so that the node may have them."""
    resolved: Mapping[str, str] = field(default_factory=dict)
    """Firmware and other files of this image, by purpose."""
    places: Mapping[str, str] = field(default_factory=dict)
    """PCI addresses that the guest's devices will have, by their names in the spec; asked for where
    something tells the guest of them (`cloud_init.tells_places`)."""
