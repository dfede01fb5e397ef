"""Many manifests at once: make the cluster so, or take them all away, in an order that works.

An object that is as it should be is not written: applying the same thing again costs one read.
"As it should be" is two claims: the manifest is the one applied last (its hash is an annotation),
so that nothing has to be removed; and all it names is there, so that nobody has changed it since.

Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, TypeVar

import msgspec

from virtpod.kube import errors
from virtpod.kube.client import AnyKey, Client, lingers
from virtpod.kube.resources import CRDS, Key, Obj, Resource, key_of, of

T = TypeVar("T")

HASH = "virtpod.io/manifest-hash"
AT_ONCE = 8
ESTABLISHED_WITHIN = 60.0  # seconds for a CRD to be served
TOUCHED = "virtpod.io/deletion-awaited"
TOUCHED_AFTER = 5.0
"""Seconds after which a CRD that is being deleted is touched, so that the API server looks at it.

It empties a kind before it lets go of the CRD. What nobody has asked for yet it cannot list at
once ("storage is (re)initializing"); where it tries again before its cache shows its own word of
that, the conflict makes it forget the CRD until it looks at all of them, every five minutes. Any
change but that of its own condition makes it look, see updateCustomResourceDefinition in
https://github.com/kubernetes/apiextensions-apiserver/blob/master/pkg/controller/finalizer/crd_finalizer.go
"""

# What others need comes first; what sends requests elsewhere comes last, when that is up.
ORDER = (
    ("Namespace",),
    ("CustomResourceDefinition", "PriorityClass"),
    ("ServiceAccount", "Secret", "ConfigMap", "ClusterRole", "Role"),
    ("ClusterRoleBinding", "RoleBinding"),
    ("Service", "PodDisruptionBudget"),
    ("Deployment", "DaemonSet", "StatefulSet", "Job"),
    (
        "APIService",
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
        "ValidatingAdmissionPolicy",
    ),
    ("ValidatingAdmissionPolicyBinding",),
)
RANK = {kind: rank for rank, kinds in enumerate(ORDER) for kind in kinds}


@dataclass(frozen=True)
class Applied:
    resource: Resource
    key: Key
    changed: bool
    generation: int
    """Of the object as it is now; 0 where its kind has none."""


def rank(obj: Mapping[str, Any]) -> int:
    """Its place in the order; kinds of no known place go last."""
    return RANK.get(obj["kind"], len(ORDER))


async def all(client: Client, manifests: Iterable[Obj], manager: str) -> list[Applied]:
    """Apply them, rank by rank, those of one rank side by side; CRDs are waited for."""
    applied: list[Applied] = []
    for _, group in groupby(sorted(manifests, key=rank), key=rank):
        applied += await _side_by_side([partial(_one, client, obj, manager) for obj in group])
    return applied


async def one(client: Client, manifest: Obj, manager: str) -> Applied:
    """Apply one manifest, if it is not so already."""
    return await _one(client, manifest, manager)


async def delete_all(client: Client, objects: Iterable[Obj], timeout: float = 120.0) -> None:
    """Delete them in reverse order, each rank being gone before the next one's turn. One that has a
    `uid` goes by that; what goes at once costs one request.

    TimeoutError where something, say a finalizer, keeps one.
    """
    async with asyncio.timeout(timeout):
        ordered = sorted(objects, key=rank, reverse=True)
        for _, group in groupby(ordered, key=rank):
            await _side_by_side([partial(_delete, client, obj) for obj in group])


async def wait_for(
    client: Client,
    resource: Resource,
    key: AnyKey,
    so: Callable[[Obj | None], object],
    timeout: float | None = 60.0,
) -> Obj | None:
    """The object once `so(object)` is true; `so(None)` is asked where there is none. TimeoutError
    after so many seconds."""
    only = f"metadata.name={key[1]}"
    async with asyncio.timeout(timeout):
        while True:
            found = await client.list(resource, namespace=key[0], fields=only)
            obj = found.items[0] if found.items else None
            if so(obj):
                return obj
            watch = client.watch(
                resource,
                resource_version=found.resource_version,
                namespace=key[0],
                fields=only,
            )
            try:
                async with contextlib.aclosing(watch):
                    async for event in watch:
                        if event.type == "BOOKMARK":
                            continue
                        obj = None if event.type == "DELETED" else event.object
                        if so(obj):
                            return obj
            except errors.Expired:
                continue


def hash_of(manifest: Obj) -> str:
    return hashlib.sha256(msgspec.json.encode(manifest, order="sorted")).hexdigest()[:32]


def holds(live: Any, wanted: Any) -> bool:
    """Whether all that is wanted is there; what the server or others added does not matter."""
    if isinstance(wanted, Mapping):
        if not wanted:
            return live in (None, {}) or isinstance(live, Mapping)
        return isinstance(live, Mapping) and builtins.all(
            holds(live.get(name), value) for name, value in wanted.items()
        )
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        if not wanted:
            return not live
        if not isinstance(live, Sequence) or isinstance(live, str):
            return False
        return builtins.all(any(holds(there, value) for there in live) for value in wanted)
    return bool(live == wanted) or (wanted in (None, "", False, 0) and not live)


async def _one(client: Client, manifest: Obj, manager: str) -> Applied:
    resource, key = of(manifest), key_of(manifest)
    digest = hash_of(manifest)
    metadata = manifest["metadata"]
    annotations = {**(metadata.get("annotations") or {}), HASH: digest}
    wanted = {**manifest, "metadata": {**metadata, "annotations": annotations}}
    try:
        live = await client.get(resource, key)
    except errors.NotFound:
        live = {}
    visible = {
        name: value for name, value in wanted.items() if name not in ("status", "stringData")
    }
    changed = not holds(live, visible)
    if changed:
        live = await client.apply(resource, wanted, manager=manager, force=True)
    if resource == CRDS and not _established(live):
        await wait_for(client, CRDS, key, _established, ESTABLISHED_WITHIN)
    return Applied(resource, key, changed, live["metadata"].get("generation") or 0)


def _established(crd: Obj | None) -> bool:
    conditions = ((crd or {}).get("status") or {}).get("conditions") or []
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


async def _delete(client: Client, obj: Obj) -> None:
    resource, key = of(obj), key_of(obj)
    known = obj["metadata"].get("uid") or ""
    try:
        left = await client.delete(resource, key, uid=known, propagation="Background")
        if not lingers(left):
            return
        uid, touches = left["metadata"]["uid"], 0
        while not await _gone(client, resource, key, uid):
            touches += 1
            body = {"metadata": {"annotations": {TOUCHED: str(touches)}}}
            await client.patch(resource, key, body)
    except errors.NotFound:  # gone, or its kind is
        return


async def _gone(client: Client, resource: Resource, key: Key, uid: str) -> bool:
    """Once it is; False where it is to be touched first."""
    try:
        await wait_for(
            client,
            resource,
            key,
            lambda obj: obj is None or obj["metadata"]["uid"] != uid,
            TOUCHED_AFTER if resource == CRDS else None,
        )
    except TimeoutError:
        return False
    return True


async def _side_by_side(works: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Their results, a few at once; the first error is raised as it is, the rest cancelled."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def gated(work: Callable[[], Awaitable[T]]) -> T:
        async with gate:
            return await work()

    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(gated(work)) for work in works]
    except* errors.Problem as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
    return [task.result() for task in running]
