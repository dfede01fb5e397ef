"""PUT virtualmachineinstances/NAME/softreboot: asks the guest to reboot, by agent or by ACPI."""

from __future__ import annotations

from aiohttp import web

from virtpod.api.traits import acpi
from virtpod.apiserver.call import Call
from virtpod.apiserver.subresources._node import agent_connected, forward, paused

REBOOT_WITHIN = 25.0
"""Seconds: an agent that does not hear is given up before ACPI is tried."""


async def vmi(call: Call) -> web.Response:
    """Reboots a running guest that can hear the wish."""
    vmi = await call.vmi()
    if vmi.status.phase != "Running":
        raise call.vmi_conflict("VM is not running")
    if paused(vmi):
        raise call.vmi_conflict("VMI is paused")
    if not agent_connected(vmi) and not acpi(vmi):
        raise call.vmi_conflict("VMI neither have the agent connected nor the ACPI feature enabled")
    return await forward(call, vmi, "softreboot", within=REBOOT_WITHIN)
