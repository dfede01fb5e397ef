"""What `virtctl why` looks at: the VM, its VMI, and everything around them that may be at fault.

A user may not read all of it (nodes, others' pods): what is forbidden is not known, no more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, TypeVar

from virtpod.controllers.why import Node, Observed, claims_of
from virtpod.kube import errors
from virtpod.kube.resources import (
    EVENTS,
    KUBEVIRTS,
    NODES,
    PODS,
    PVCS,
    STORAGE_CLASSES,
    VMIS,
    VMS,
    Key,
    Obj,
    Resource,
    owner_of,
)

if TYPE_CHECKING:
    from virtpod.kube.client import Client

T = TypeVar("T")

LINES = 20
"""Of a launcher's log."""


async def observed(client: Client, namespace: str, name: str, *, instance: bool) -> Observed:
    """Of the VM of that name, or of the VMI where `instance`. Raises ApiError where not even that
    may be read."""
    key = Key(namespace, name)
    vmi = await _there(client, VMIS, key)
    vm = None if instance and not _of_a_vm(vmi) else await _there(client, VMS, key)
    pods = await _pods(client, vmi)
    claims = claims_of(vmi or ((vm or {}).get("spec") or {}).get("template") or {})
    names = [name, *(pod["metadata"]["name"] for pod in pods), *claims]
    events, found, classes, nodes, log, kubevirts = await asyncio.gather(
        _events(client, namespace, names),
        _allowed(_claims(client, namespace, claims)),
        _all(client, STORAGE_CLASSES),
        _nodes(client, pods),
        _log(client, vmi, pods),
        _all(client, KUBEVIRTS),
    )
    return Observed(
        now=time.time(),
        vm=vm,
        vmi=vmi,
        pods=pods,
        events=events,
        pvcs=found,
        storage_classes=classes,
        nodes=nodes,
        kubevirt=kubevirts[0] if kubevirts else None,
        log=log,
    )


def _of_a_vm(vmi: Obj | None) -> bool:
    owner = owner_of(vmi) if vmi else None
    return owner is not None and owner["kind"] == VMS.kind


async def _there(client: Client, resource: Resource, key: Key) -> Obj | None:
    try:
        return await client.get(resource, key)
    except errors.NotFound:
        return None


async def _claims(client: Client, namespace: str, names: Sequence[str]) -> dict[str, Obj | None]:
    found = await asyncio.gather(*(_there(client, PVCS, Key(namespace, name)) for name in names))
    return dict(zip(names, found, strict=True))


async def _allowed(reading: Awaitable[T]) -> T | None:
    """What is read; None where that is forbidden or there is no such thing."""
    try:
        return await reading
    except (errors.Forbidden, errors.NotFound):
        return None


async def _all(client: Client, resource: Resource, namespace: str = "") -> list[Obj] | None:
    listed = await _allowed(client.list(resource, namespace=namespace))
    return None if listed is None else list(listed.items)


async def _pods(client: Client, vmi: Obj | None) -> list[Obj]:
    """The VMI's, by owner: a label may lie."""
    if vmi is None:
        return []
    metadata = vmi["metadata"]
    selector = f"kubevirt.io/created-by={metadata['uid']}"
    listed = await _allowed(client.list(PODS, namespace=metadata["namespace"], labels=selector))
    pods = list(listed.items) if listed else []
    return [pod for pod in pods if (owner_of(pod) or {}).get("uid") == metadata["uid"]]


async def _events(client: Client, namespace: str, names: Sequence[str]) -> list[Obj]:
    asked = (
        _allowed(client.list(EVENTS, namespace=namespace, fields=f"involvedObject.name={name}"))
        for name in dict.fromkeys(names)
    )
    return [event for listed in await asyncio.gather(*asked) if listed for event in listed.items]


async def _nodes(client: Client, pods: Sequence[Obj]) -> list[Node] | None:
    """With what is used on each, where that may be the question: it takes all the cluster's pods"""
    nodes = await _all(client, NODES)
    if nodes is None:
        return None
    short = any("Insufficient" in _unplaced(pod) for pod in pods)
    others = await _all(client, PODS) if short else None
    return [Node.of(node, others) for node in nodes]


def _unplaced(pod: Obj) -> str:
    found = (pod.get("status") or {}).get("conditions") or []
    return " ".join(str(each.get("message") or "") for each in found if each["status"] == "False")


async def _log(client: Client, vmi: Obj | None, pods: Sequence[Obj]) -> str:
    """The launcher's last words, where there is no guest."""
    if not pods or ((vmi or {}).get("status") or {}).get("phase") == "Running":
        return ""
    metadata = pods[-1]["metadata"]
    path = PODS.path(metadata["namespace"], metadata["name"], "log")
    query = {"container": "compute", "tailLines": str(LINES), "limitBytes": "65536"}
    try:
        reply = await client.request("GET", path, query)
    except errors.ApiError:
        return ""  # no container yet, or one that is gone: there is no log to read
    return reply.body.decode(errors="replace")
