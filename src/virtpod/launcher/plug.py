"""Devices of the node that come and go while the guest runs.

Which are in the container, and which are to go, virt-handler says; what the guest has, libvirt
says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from virtpod.api.hostdevices import HostDevice
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.domain.xml import text
from virtpod.features.devices import host_devices
from virtpod.launcher import leaving, movable
from virtpod.launcher.given import described
from virtpod.launcher.hypervisor import NO_PORT, Hypervisor, Refused, StartFailed
from virtpod.launcher.log import log
from virtpod.wire.messages import Plugged, Sync


async def sync(vmi: VirtualMachineInstance, request: Sync, hypervisor: Hypervisor) -> None:
    """Plugs in the request's `plugged` and out its `unplugged`. Raises StartFailed."""
    try:
        have = await hypervisor.devices()
        going = {
            each for each in have if any(_is_of(each, name, have) for name in request.unplugged)
        }
        for name in sorted(going):
            log("device is plugged out", device=name)
            await hypervisor.detach(have[name])
        for device in host_devices.late(vmi):
            given = [each for each in request.plugged if each.name == device.name]
            if given and device.name not in have:
                await _plug_in(device, given, hypervisor)
        await leaving.gone(going, hypervisor.devices, "device")
        hypervisor.owns((), without=going)
    except (Refused, OSError) as error:
        raise StartFailed("HotplugFailed", str(error), final=False) from None


def _is_of(alias: str, device: str, have: Collection[str]) -> bool:
    """Whether an alias is that of the device, or of a further function of it."""
    first, _, number = alias.rpartition("-")
    return alias == device or (first == device and number.isdecimal() and device in have)


async def _plug_in(device: HostDevice, given: Sequence[Plugged], hypervisor: Hypervisor) -> None:
    parts = tuple(described(each.kind, each.address) for each in given)
    for drawn in host_devices.plug(device, parts):
        xml = text(drawn)
        alone = f"<domain><devices>{xml}</devices></domain>"
        own = await asyncio.to_thread(movable.devices, alone)  # QEMU has it from then on
        log("device is plugged in", device=device.name, address=[each.address for each in own])
        try:
            await hypervisor.attach(xml)
        except Refused as error:
            if NO_PORT not in str(error):
                raise
            raise Refused(
                f"device {device.name} finds no free port on the guest's PCI bus ({error}): "
                "restart the VM with the device; if its template lacks annotation "
                "kubevirt.io/pci-topology-version: v3, as that of an older VM may, give it that, "
                "which makes ports from the next start on"
            ) from None
        hypervisor.owns(own)
