"""PUT virtualmachines/NAME/stop: has virt-controller delete the VMI."""

from __future__ import annotations

from aiohttp import web

from virtpod.api.options import StopOptions
from virtpod.apiserver import power
from virtpod.apiserver.call import Call
from virtpod.apiserver.status import bad_request
from virtpod.apiserver.subresources._power import carry_out


async def vm(call: Call) -> web.Response:
    """Stops a VM; `gracePeriod` is how long the guest may take, in seconds."""
    options = await call.options(StopOptions)
    if options.grace_period is not None and options.grace_period < 0:
        raise bad_request("gracePeriod has to be greater or equal to 0")
    return await carry_out(
        call,
        lambda vm, vmi: power.stop(vm, vmi, grace=options.grace_period),
        dry_run=bool(options.dry_run),
    )
