"""PUT virtualmachines/NAME/evacuate/cancel, and for VMIs: the guest need not leave its node."""

from __future__ import annotations

from aiohttp import web

from virtpod.api.options import EvacuateCancelOptions
from virtpod.apiserver.call import Call
from virtpod.apiserver.status import bad_request
from virtpod.controllers.node import drain


class _Body(EvacuateCancelOptions):
    """Documents ask for the node; a client that names none means whichever it is."""

    evacuation_node_name: str = ""


async def vm(call: Call) -> web.Response:
    """Of the VM's instance."""
    await call.vm()
    return await vmi(call)


async def vmi(call: Call) -> web.Response:
    """That it was not to leave is no error."""
    options = await call.options(_Body)
    found = await call.vmi()
    node = found.status.evacuation_node_name
    wanted = options.evacuation_node_name
    if node and wanted in ("", node):
        taint = drain(call.site.cluster().config)
        if taint in await call.site.objects.taints(node):
            # virt-controller would have it leave again at once.
            raise bad_request(
                f"node {node} is tainted {taint}, so all its guests are to leave; take the taint "
                f"away first: kubectl taint node {node} {taint}-"
            )
        # The uid pins the instance: a successor of the same name may be asked to leave again.
        patch = {"metadata": {"uid": found.metadata.uid}, "status": {"evacuationNodeName": None}}
        await call.site.objects.patch_vmi(
            call.namespace, call.name, patch, dry_run=bool(options.dry_run)
        )
    return call.done(200)
