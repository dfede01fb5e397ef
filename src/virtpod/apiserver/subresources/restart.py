"""PUT virtualmachines/NAME/restart: a new VMI takes the place of the running one."""

from __future__ import annotations

from aiohttp import web

from virtpod.api.options import RestartOptions
from virtpod.apiserver import power
from virtpod.apiserver.call import Call
from virtpod.apiserver.status import bad_request
from virtpod.apiserver.subresources._power import carry_out


async def vm(call: Call) -> web.Response:
    """Restarts a VM; `gracePeriodSeconds: 0` does not wait for the guest."""
    options = await call.options(RestartOptions)
    grace = options.grace_period_seconds
    if grace is not None and grace > 0:
        raise bad_request("For force restart, only gracePeriod=0 is supported for now")
    if grace is not None and grace < 0:
        raise bad_request("gracePeriod has to be greater or equal to 0")
    return await carry_out(
        call,
        lambda vm, vmi: power.restart(vm, vmi, force=grace == 0),
        dry_run=bool(options.dry_run),
    )
