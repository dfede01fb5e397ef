"""The eviction of a launcher's pod: let it go, or keep it and say why.

A drain that is told 429 tries again: so the guest is kept until it has moved, or until somebody
shuts it down. Asked through a validating webhook on pods/eviction; a plain deletion is not asked.

https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from virtpod.apiserver.status import Refusal, bad_request, failure
from virtpod.controllers import conditions
from virtpod.controllers.lifecycle import FINAL, phase_of
from virtpod.kube.errors import ApiError
from virtpod.kube.resources import PODS, VMIS, owner_of

log = logging.getLogger(__name__)

PATH = "/launcher-eviction-validate"
TOO_MANY = 429

Json = dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """`refusal`: why the pod stays; empty: it may go. `mark`: the node that the guest is to leave.
    `remedy`: for the event that tells the VMI's user; empty: none is needed."""

    refusal: str = ""
    mark: str = ""
    remedy: str = ""


def judge(vmi: Mapping[str, Any], pod: Mapping[str, Any], default: str | None) -> Verdict:
    """`default`: the cluster's strategy, for a VMI that has none of its own."""
    name = f'"{vmi["metadata"]["namespace"]}/{vmi["metadata"]["name"]}"'
    node = pod["spec"].get("nodeName") or ""
    if phase_of(vmi) in FINAL or vmi["metadata"].get("deletionTimestamp"):
        return Verdict()
    strategy = vmi["spec"].get("evictionStrategy") or default or "None"
    movable = conditions.status(conditions.of(vmi), "LiveMigratable") == "True"
    if strategy == "LiveMigrate" and not movable:
        return Verdict(
            f"VMI {name} is configured with an eviction strategy but is not live-migratable",
            remedy="Shut it down to let its node be drained, or give it evictionStrategy None.",
        )
    if strategy == "External" or (strategy.startswith("LiveMigrate") and movable):
        asked = (vmi.get("status") or {}).get("evacuationNodeName")
        triggered = f"Eviction triggered evacuation of VMI {name}"
        if asked:
            return Verdict(f"Evacuation in progress: {triggered}")
        return Verdict(triggered, mark=node)
    return Verdict()


def holds(vmi: Mapping[str, Any]) -> Verdict:
    """Of a pod that holds volumes which came while the guest ran."""
    if phase_of(vmi) in FINAL:
        return Verdict()
    metadata = vmi["metadata"]
    name = f'"{metadata["namespace"]}/{metadata["name"]}"'
    return Verdict(f"the pod holds volumes of VMI {name} and goes with it")


class Objects(Protocol):
    """What the judgement rests on, and where it is noted."""

    async def pod(self, namespace: str, name: str) -> Json | None: ...
    async def instance(self, namespace: str, name: str) -> Json | None: ...
    async def evacuate(self, vmi: Json, node: str) -> None: ...
    def warn(self, vmi: Json, reason: str, what: str, remedy: str) -> None: ...


class _Options(msgspec.Struct, rename="camel"):
    dry_run: list[str] | None = None


class _Eviction(msgspec.Struct, rename="camel"):
    delete_options: _Options | None = None


class _Request(msgspec.Struct, rename="camel"):
    uid: str
    name: str = ""
    namespace: str = ""
    dry_run: bool | None = None
    object: _Eviction | None = None


class _Review(msgspec.Struct):
    request: _Request


_reviews = msgspec.json.Decoder(_Review)


async def review(body: bytes, objects: Objects, default: str | None) -> Json:
    """Answers the AdmissionReview of an eviction. Raises Refusal (400) where it is none."""
    try:
        request = _reviews.decode(body).request
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(f"the body is not the review of an eviction: {error}") from error
    options = request.object and request.object.delete_options
    dry_run = bool(request.dry_run or (options and options.dry_run))
    verdict = await _verdict(request, objects, default, dry_run=dry_run)
    response: Json = {"uid": request.uid, "allowed": not verdict.refusal}
    if verdict.refusal:
        response["status"] = failure(Refusal(TOO_MANY, verdict.refusal))
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": response,
    }


async def _owner(
    obj: Json | None, kind: str, read: Callable[[str, str], Awaitable[Json | None]]
) -> Json | None:
    """Who controls it, if it is one of this kind. By uid: labels and names can be forged, and a
    name can be had again."""
    owner = owner_of(obj) if obj else None
    if obj is None or owner is None or owner["kind"] != kind:
        return None
    found = await read(obj["metadata"]["namespace"], owner["name"])
    return found if found and found["metadata"]["uid"] == owner["uid"] else None


async def _verdict(
    request: _Request, objects: Objects, default: str | None, *, dry_run: bool
) -> Verdict:
    try:
        pod = await objects.pod(request.namespace, request.name)
        launcher = await _owner(pod, PODS.kind, objects.pod)
        vmi = await _owner(launcher or pod, VMIS.kind, objects.instance)
        if pod is None or vmi is None:
            return Verdict()
        verdict = holds(vmi) if launcher else judge(vmi, pod, default)
        if verdict.mark and not dry_run:
            await objects.evacuate(vmi, verdict.mark)
        if verdict.remedy and not dry_run:
            objects.warn(vmi, "EvictionRefused", verdict.refusal, verdict.remedy)
    except ApiError as error:
        # Not knowing is no leave to end a guest: the drain tries again.
        log.warning("cannot judge an eviction", extra={"pod": request.name, "error": str(error)})
        return Verdict(f"cannot tell whether the guest may go: {error.message}; try again")
    return verdict
