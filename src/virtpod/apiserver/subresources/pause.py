"""PUT virtualmachineinstances/NAME/pause: stops the guest's CPUs, keeps its memory."""

from __future__ import annotations

from aiohttp import web

from virtpod.api.options import PauseOptions
from virtpod.apiserver.call import Call
from virtpod.apiserver.status import Refusal
from virtpod.apiserver.subresources._node import forward, paused, paused_by_error


async def vmi(call: Call) -> web.Response:
    """Pauses a running VMI."""
    options = await call.options(PauseOptions)
    vmi = await call.vmi()
    if vmi.status.phase != "Running":
        raise call.vmi_conflict("VM is not running")
    probe = vmi.spec.liveness_probe
    if probe is not None and probe.guest_agent_ping is None:
        # The kubelet would see a dead guest and kill the pod.
        raise Refusal(403, "Pausing VMIs with a non-GuestAgentPing LivenessProbe is not supported")
    if paused(vmi) and not paused_by_error(vmi):
        raise call.vmi_conflict("VMI is already paused")
    return await forward(call, vmi, "pause", dry_run=bool(options.dry_run))
