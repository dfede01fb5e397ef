"""Disks that come and go while the guest runs: plugged in and out until all is as it shall be.

Whose claim is in the container, virt-handler says; what the guest has, libvirt says. A disk is one
of these by where QEMU opened it, so that none of the others is ever taken away.
"""

from __future__ import annotations

import asyncio

from virtpod.api.vmi import VirtualMachineInstance
from virtpod.domain import paths
from virtpod.domain.facts import Guest
from virtpod.domain.xml import text
from virtpod.features.disks import access, disk, hotplug
from virtpod.launcher import claims, images
from virtpod.launcher.hypervisor import Hypervisor, PluggedDisk, Refused, StartFailed
from virtpod.launcher.log import log
from virtpod.launcher.processes import ToolFailed
from virtpod.launcher.steps import Steps

LET_GO_WITHIN = 10.0
"""Seconds for a guest to let a disk go; one that is still booting does not hear of it."""
LOOK_EVERY = 0.2


async def sync(
    vmi: VirtualMachineInstance, there: list[str], hypervisor: Hypervisor, steps: Steps
) -> None:
    """Plugs in the disks of `there` and out those that the spec has no more. Raises StartFailed."""
    wanted = {volume.name: volume for _, volume in hotplug.asked(vmi) if volume.name in there}
    try:
        have = await hypervisor.disks()
        gone = {
            name: plugged for name, plugged in have.items() if ours(plugged) and name not in wanted
        }
        for name, plugged in gone.items():
            log("disk is plugged out", volume=name, target=plugged.target)
            await hypervisor.detach(plugged)
        for name in wanted.keys() - have.keys():
            await _plug_in(vmi, name, hypervisor, steps)
        await _let_go(set(gone), hypervisor)
    except (images.ImageInvalid, Refused, OSError, ToolFailed) as error:
        reason = getattr(error, "reason", "HotplugFailed")
        raise StartFailed(reason, str(error), final=False) from None


def ours(plugged: PluggedDisk) -> bool:
    """Whether the disk is one that comes and goes."""
    return plugged.source.startswith(f"{paths.HOTPLUG}/")


async def _plug_in(
    vmi: VirtualMachineInstance, name: str, hypervisor: Hypervisor, steps: Steps
) -> None:
    only = hotplug.alone(vmi, name)
    part = hotplug.asked(only)
    [(_, volume)] = part
    image = claims.look_hotplugged(name, read_only=access(only, volume) == "reads")
    facts = Guest(images={name: image}, tolerance=claims.tolerance())
    await steps.perform(list(hotplug.boot(part, only, facts)))
    taken = {plugged.target for plugged in (await hypervisor.disks()).values()}
    for drawn in disk.devices(only, only, facts):
        aimed = hotplug.aimed(drawn, taken)
        log("disk is plugged in", volume=name)
        await hypervisor.attach(text(aimed))


async def _let_go(names: set[str], hypervisor: Hypervisor) -> None:
    deadline = asyncio.get_running_loop().time() + LET_GO_WITHIN
    while left := names & (await hypervisor.disks()).keys():
        if asyncio.get_running_loop().time() > deadline:
            raise Refused(f"the guest does not let disk {', '.join(sorted(left))} go")
        await asyncio.sleep(LOOK_EVERY)
