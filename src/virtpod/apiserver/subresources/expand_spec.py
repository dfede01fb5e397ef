"""GET virtualmachines/NAME/expand-spec, PUT expand-vm-spec: a VM with what its instance type and
its preference say written out in its template."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from virtpod.api.base import decode
from virtpod.api.vm import VirtualMachine
from virtpod.apiserver import choosing
from virtpod.apiserver.call import VM, Call
from virtpod.apiserver.status import Refusal, bad_request, json, not_found
from virtpod.controllers import instancetype
from virtpod.features.contract import Cause
from virtpod.kube.resources import VMS, Key, Obj

LIMIT = 3 * 1024 * 1024
"""Bytes: Kubernetes takes no larger object."""


async def vm(call: Call) -> web.Response:
    """The VM as it is stored."""
    stored = await call.site.objects.read(VMS, Key(call.namespace, call.name))
    if stored is None:
        raise not_found(VM, call.name)
    return json(await _expanded(call, stored))


async def given(call: Call) -> web.Response:
    """A VM that need not be stored."""
    body = await call.body(LIMIT)
    if not body.strip():
        raise bad_request("empty request body")
    try:
        machine: Obj = msgspec.json.decode(body, type=dict[str, Any])
        typed = decode(machine, VirtualMachine)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise bad_request(f"Object is not a valid VirtualMachine: {error}") from error
    if typed.spec.template is None or typed.spec.template.spec is None:
        raise bad_request("Object is not a valid VirtualMachine: spec.template is missing")
    metadata = dict(machine.get("metadata") or {})
    if metadata.get("namespace") not in (None, "", call.namespace):
        raise bad_request(f"VM namespace must be empty or {call.namespace}")
    metadata["namespace"] = call.namespace
    metadata.setdefault("name", "")
    machine = {**machine, "metadata": metadata}
    named = await choosing.of_new(machine, call.site.objects)
    if named.causes:
        raise _refused(named.causes)
    return json(await _expanded(call, {**machine, "spec": {**machine["spec"], **named.matchers}}))


async def _expanded(call: Call, machine: Obj) -> Obj:
    chosen = await choosing.of_vm(machine, call.site.objects)
    if chosen.missing:
        raise Refusal(404, "; ".join(chosen.missing.values()))
    try:
        spec = instancetype.owned(machine, chosen, call.site.cluster())
    except ValueError as error:
        raise bad_request(str(error)) from error
    whole = {
        name: value for name, value in {**machine["spec"], **spec}.items() if value is not None
    }
    return {**machine, "spec": whole}


def _refused(causes: tuple[Cause, ...]) -> Refusal:
    told = [
        {"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in causes
    ]
    said = ", ".join(cause.message for cause in causes)
    return Refusal(400, f"Object is not a valid VirtualMachine: {said}", {"causes": told})
