"""What the subresources share that a VMI's own node carries out."""

from __future__ import annotations

from aiohttp import web

from virtpod.api.vmi import VirtualMachineInstance
from virtpod.apiserver.call import VMI, Call
from virtpod.apiserver.status import Refusal, conflict


def paused(vmi: VirtualMachineInstance) -> bool:
    """Whether the guest's CPUs are stopped."""
    return any(
        condition.type == "Paused" and condition.status == "True"
        for condition in vmi.status.conditions or ()
    )


def agent_connected(vmi: VirtualMachineInstance) -> bool:
    """Whether the guest's agent is there."""
    return any(
        condition.type == "AgentConnected" and condition.status == "True"
        for condition in vmi.status.conditions or ()
    )


def paused_by_error(vmi: VirtualMachineInstance) -> bool:
    """Whether the guest waits for its storage, and goes on by itself when that is mended."""
    return any(
        condition.type == "Paused" and condition.reason == "PausedIOError"
        for condition in vmi.status.conditions or ()
    )


async def forward(
    call: Call,
    vmi: VirtualMachineInstance,
    subresource: str,
    *,
    body: bytes = b"",
    within: float | None = None,
    dry_run: bool = False,
) -> web.Response:
    """Has the node do it and answers 200. virt-handler looks at the guest once more itself."""
    if not dry_run:
        await call.site.nodes.put(vmi, subresource, body, within)
    return call.done(200)


async def from_agent(call: Call, subresource: str) -> web.Response:
    """What the guest's agent tells. A guest that cannot be asked is an error of code 500 here:
    that is what clients of these three know."""
    vmi = await call.vmi()
    if vmi.status.phase != "Running":
        raise _cannot(call, "VMI is not running")
    if not agent_connected(vmi):
        raise _cannot(call, "VMI does not have guest agent connected")
    body = await call.site.nodes.get(vmi, subresource)
    return web.Response(body=body, content_type="application/json")


def _cannot(call: Call, text: str) -> Refusal:
    refusal = conflict(VMI, call.name, text)
    return Refusal(500, refusal.message, refusal.details)
