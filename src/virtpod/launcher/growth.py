"""Disks that become larger with their claims, while the guest runs.

A block device is as large as it is; a disk that is a file becomes as large as the claim, as far as
its file system has room. No disk is ever made smaller.

https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainBlockResize
"""

from __future__ import annotations

from virtpod.api.vmi import VirtualMachineInstance
from virtpod.features.disks import claim_size, growing, hotplugged
from virtpod.launcher import claims
from virtpod.launcher.hypervisor import Hypervisor, Refused, StartFailed
from virtpod.launcher.log import log


async def sync(vmi: VirtualMachineInstance, hypervisor: Hypervisor) -> None:
    """Raises StartFailed where one could not be made larger; the others are."""
    volumes = growing(vmi)
    if not volumes:
        return
    troubles = []
    have = await hypervisor.disks()
    for volume in volumes:
        disk = have.get(volume.name)
        if disk is None or not disk.source:
            continue
        try:
            most = claim_size(vmi, volume)
            wanted = claims.could_be(volume.name, most, hotplugged=hotplugged(volume))
            if wanted > await hypervisor.size(disk):
                log("disk becomes larger", volume=volume.name, bytes=wanted)
                await hypervisor.resize(disk, wanted)
        except (OSError, Refused) as error:
            troubles.append(f"the disk of volume {volume.name} cannot be made larger: {error}")
    if troubles:
        raise StartFailed("ExpansionFailed", "; ".join(troubles), final=False)
