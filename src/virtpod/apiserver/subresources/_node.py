"""What the subresources share that a VMI's own node carries out."""

from __future__ import annotations

from aiohttp import web

from virtpod.api.vmi import VirtualMachineInstance
from virtpod.apiserver.call import Call


def paused(vmi: VirtualMachineInstance) -> bool:
    """Whether the guest's CPUs are stopped."""
    return any(
        condition.type == "Paused" and condition.status == "True"
        for condition in vmi.status.conditions or ()
    )


async def forward(
    call: Call, vmi: VirtualMachineInstance, subresource: str, *, dry_run: bool = False
) -> web.Response:
    """Has the node do it and answers 200. virt-handler looks at the guest once more itself."""
    if not dry_run:
        await call.site.nodes.put(vmi, subresource, b"")
    return call.done(200)
