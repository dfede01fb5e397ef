"""A socket between the guest and its node that needs no network.

https://libvirt.org/formatdomain.html#vsock, https://man7.org/linux/man-pages/man7/vsock.7.html
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from zlib import crc32

from virtpod.api.traits import virtio_model
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.xml import E, Element
from virtpod.features.contract import Feature, PodPart

RESOURCE = "devices.kubevirt.io/vhost-vsock"
FIRST, LAST = 3, 2**32 - 2
"""Context IDs that guests may have: those below are the host's own, and the last means any."""


def asked(vmi: VMI) -> bool:
    return vmi.spec.domain.devices.autoattach_vsock is True


def free(uid: str, taken: Collection[int]) -> int:
    """A context ID that no guest of the cluster has: they move between nodes with it. It follows
    from the VMI's uid as far as it can, so that one that was just given up is not had again at
    once by somebody else."""
    count = LAST - FIRST + 1
    start = crc32(uid.encode()) % count
    return next(
        cid for step in range(count) if (cid := FIRST + (start + step) % count) not in taken
    )


def pod(part: bool, vmi: VMI, cluster: Cluster) -> PodPart:
    return PodPart(limits={RESOURCE: "1"})


def devices(part: bool, vmi: VMI, facts: Guest) -> Iterable[Element]:
    cid = vmi.status.vsockcid
    address = E("cid", auto=cid is None, address=cid)
    yield E("vsock", address, model=virtio_model(vmi))


FEATURE = Feature(
    name="vsock",
    owns=("domain.devices.autoattachVSOCK",),
    asked=asked,
    gate="VSOCK",
    pod=pod,
    devices=devices,
)
