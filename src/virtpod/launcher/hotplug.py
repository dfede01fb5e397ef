"""Disks that come and go while the guest runs: plugged in and out until all is as it shall be.
A CD-ROM's drive stays, and its medium changes.

Whose claim is in the container, virt-handler says; what the guest has, libvirt says. A disk is one
of these by where QEMU opened it, so that none of the others is ever taken away.
"""

from __future__ import annotations

from xml.etree.ElementTree import fromstring

from virtpod.api.vmi import VirtualMachineInstance
from virtpod.domain import paths
from virtpod.domain.facts import Guest
from virtpod.domain.xml import text
from virtpod.features.disks import access, disk, hotplug
from virtpod.launcher import blocks, claims, images, leaving
from virtpod.launcher.hypervisor import NO_PORT, Hypervisor, PluggedDisk, Refused, StartFailed
from virtpod.launcher.log import log
from virtpod.launcher.processes import ToolFailed
from virtpod.launcher.steps import Steps


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
            if plugged.drive:
                await hypervisor.update(text(hotplug.holding(fromstring(plugged.xml), None)))
            else:
                await hypervisor.detach(plugged)
        for name in wanted:
            drive = have.get(name)
            if drive is None:
                await _plug_in(vmi, name, hypervisor, steps)
            elif drive.drive and not drive.source:
                await _insert(vmi, name, drive, hypervisor)
        out = {name for name in gone if not gone[name].drive}
        await leaving.gone(out, hypervisor.disks, "disk")
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
    facts = Guest(
        images={name: image},
        blocks=blocks.of(only, {name: image.path}),
        tolerance=claims.tolerance(),
    )
    await steps.perform(list(hotplug.boot(part, only, facts)))
    taken = {plugged.target for plugged in (await hypervisor.disks()).values()}
    for drawn in disk.devices(only, only, facts):
        aimed = hotplug.aimed(drawn, taken)
        log("disk is plugged in", volume=name)
        try:
            await hypervisor.attach(text(aimed))
        except Refused as error:
            if NO_PORT not in str(error):
                raise
            raise Refused(
                f"disk {name} finds no free port on the guest's PCI bus ({error}): take another "
                "virtio disk out, or give this one the bus scsi"
            ) from None


async def _insert(
    vmi: VirtualMachineInstance, name: str, drive: PluggedDisk, hypervisor: Hypervisor
) -> None:
    image = claims.look_hotplugged(name, read_only=True)
    log("medium is put into its drive", volume=name, target=drive.target)
    await hypervisor.update(text(hotplug.holding(fromstring(drive.xml), image)))
