"""What addvolume and removevolume share: who may be changed how, and the change itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from aiohttp import web

from virtpod.api.vmi import VirtualMachineInstance
from virtpod.apiserver import volumes
from virtpod.apiserver.call import Call, Outdated
from virtpod.apiserver.power import NotNow
from virtpod.apiserver.status import bad_request
from virtpod.apiserver.subresources._power import TRIES

T = TypeVar("T")


async def options(call: Call, kind: type[T]) -> T:
    """Raises Refusal: no gate, or no body."""
    gates = call.site.cluster().gates
    if volumes.DECLARATIVE not in gates and volumes.REQUESTS not in gates:
        raise bad_request(
            f"Enable {volumes.DECLARATIVE} or {volumes.REQUESTS} feature gate to use this API."
        )
    if not call.request.can_read_body:
        raise bad_request("Request with no body, a new name is expected as the request body")
    return await call.options(kind)


async def change_vmi(
    call: Call,
    decide: Callable[[VirtualMachineInstance], dict[str, Any]],
    *,
    dry_run: bool,
) -> web.Response:
    """Answers 202 once the patch is written."""
    for _ in range(TRIES):
        vmi = await call.vmi()
        owned = any(owner.kind == "VirtualMachine" for owner in vmi.metadata.owner_references or ())
        if owned and not volumes.by_request(call.site.cluster().gates):
            raise bad_request(
                f"VMI {call.namespace}/{call.name} is owned by a VM: change the VM's volumes"
            )
        if vmi.status.phase != "Running":
            raise call.vmi_conflict("VMI is not running")
        try:
            patch = decide(vmi)
        except NotNow as refusal:
            raise call.vmi_conflict(str(refusal)) from refusal
        try:
            await call.site.objects.patch_vmi(call.namespace, call.name, patch, dry_run=dry_run)
        except Outdated:
            continue
        return call.done(202)
    raise call.vmi_conflict("the object has been modified; please try again")
