"""PUT virtualmachines/NAME/migrate: asks for the guest's move to another node."""

from __future__ import annotations

from aiohttp import web

from virtpod.api.options import MigrateOptions
from virtpod.apiserver.call import Call
from virtpod.apiserver.status import Refusal


async def vm(call: Call) -> web.Response:
    """Makes a VirtualMachineInstanceMigration, where the guest can move."""
    options = await call.options(MigrateOptions)
    await call.vm()
    vmi = await call.vmi()
    if vmi.status.phase != "Running":
        raise call.vm_conflict("VM is not running")
    for condition in vmi.status.conditions or ():
        if condition.type == "LiveMigratable" and condition.status == "False":
            raise Refusal(
                500,
                f"Cannot migrate VMI, Reason: {condition.reason}, Message: {condition.message}",
            )
    await call.site.objects.migrate(
        call.namespace,
        call.name,
        options.added_node_selector or {},
        dry_run=bool(options.dry_run),
    )
    return call.done(202)
