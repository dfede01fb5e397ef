"""The admission webhooks: Kubernetes' AdmissionReview in, `render.admit`'s verdict out.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/

`review` is pure: bytes to an answer. Whatever the body holds (no JSON, a thousand nested lists,
a number where the spec should be), it is answered; only a defect of ours is a 500 inside an
otherwise well-formed review, and then the object is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from virtpod.apiserver import restrictions
from virtpod.apiserver.status import Refusal, bad_request, failure
from virtpod.domain.facts import Cluster
from virtpod.features.contract import REQUIRED, UNSUPPORTED, Cause
from virtpod.render.expand import Named

log = logging.getLogger(__name__)

LIMIT = 2 * 3 * 1024 * 1024 + 256 * 1024
"""Bytes: the object and the old object, 3 MiB each at most in Kubernetes, and the envelope."""

Json = dict[str, Any]


class Verdict(Protocol):
    """What `render.admit` says of an object."""

    @property
    def patch(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def causes(self) -> Sequence[Cause]: ...
    @property
    def warnings(self) -> Sequence[str]: ...


class Rules(Protocol):
    """`virtpod.render.admit`."""

    def vmi(self, raw: Json, cluster: Cluster, *, now: str, uuid: str) -> Verdict: ...
    def vm(self, raw: Json, cluster: Cluster, *, uuid: str, named: Named) -> Verdict: ...
    def replicaset(self, raw: Json, cluster: Cluster) -> Verdict: ...


@dataclass(frozen=True)
class Facts:
    """What a review rests on beside the object."""

    cluster: Cluster
    now: str
    """RFC 3339."""
    uuid: str
    """For a machine that has none yet."""
    named: Named = field(default_factory=Named)
    """The instance type and the preference of a VM."""


class _Wire(msgspec.Struct, kw_only=True, omit_defaults=True, rename="camel"):
    pass


class _UserInfo(_Wire):
    username: str = ""


class _Kind(_Wire):
    kind: str = ""


class _Request(_Wire):
    uid: str
    operation: str = ""
    kind: _Kind = msgspec.field(default_factory=_Kind)
    user_info: _UserInfo = msgspec.field(default_factory=_UserInfo)
    object: msgspec.Raw = msgspec.Raw(b"null")
    old_object: msgspec.Raw = msgspec.Raw(b"null")


class _Review(_Wire):
    api_version: str
    kind: str
    request: _Request


@dataclass(frozen=True)
class _Asked:
    """A request, decoded."""

    create: bool
    component: bool
    new: Json
    old: Json
    facts: Facts
    rules: Rules

    def vmi(self) -> Verdict:
        facts = self.facts
        return self.rules.vmi(self.new, facts.cluster, now=facts.now, uuid=facts.uuid)

    def vm(self) -> Verdict:
        facts = self.facts
        return self.rules.vm(self.new, facts.cluster, uuid=facts.uuid, named=facts.named)


@dataclass(frozen=True)
class _Answer:
    patch: Sequence[Mapping[str, Any]] = ()
    causes: Sequence[Cause] = ()
    warnings: Sequence[str] = ()


_reviews = msgspec.json.Decoder(_Review)


def review(path: str, body: bytes, facts: Facts, rules: Rules) -> Json:
    """Answers the review that was sent to `path`, one of `PATHS`. Raises Refusal (400) where the
    body is no review at all."""
    try:
        envelope = _reviews.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(f"the body is not an AdmissionReview: {error}") from error
    if envelope.kind != "AdmissionReview" or envelope.api_version != "admission.k8s.io/v1":
        raise bad_request("expected an admission.k8s.io/v1 AdmissionReview")
    request = envelope.request
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": request.uid, **_respond(path, request, facts, rules)},
    }


def _respond(path: str, request: _Request, facts: Facts, rules: Rules) -> Json:
    kind, decide = PATHS[path]
    if request.operation not in ("CREATE", "UPDATE"):
        return {"allowed": True}
    if kind and request.kind.kind and request.kind.kind != kind:
        return _denied_by(bad_request(f"expected a {kind}, got a {request.kind.kind}"))
    try:
        asked = _Asked(
            create=request.operation == "CREATE",
            component=restrictions.is_component(
                request.user_info.username, facts.cluster.namespace
            ),
            new=_object(request.object),
            old=_object(request.old_object) if request.operation == "UPDATE" else {},
            facts=facts,
            rules=rules,
        )
        answer = decide(asked)
    except Refusal as refusal:
        return _denied_by(refusal)
    except msgspec.ValidationError as error:
        return _denied([_wrong_type(error)])
    except RecursionError:
        return _denied_by(Refusal(422, "the object is nested too deeply"))
    except Exception:
        # A defect of ours must not become an unchecked object, nor a webhook that "failed to
        # call" without a word.
        log.exception("admission failed", extra={"path": path, "uid": request.uid})
        return _denied_by(Refusal(500, f"internal error while checking this {kind}"))
    if answer.causes:
        return _denied(answer.causes, answer.warnings)
    allowed: Json = {"allowed": True}
    if answer.warnings:
        allowed["warnings"] = list(answer.warnings)
    if answer.patch:
        allowed["patchType"] = "JSONPatch"
        # msgspec writes bytes as base64, which is what the API wants here.
        allowed["patch"] = msgspec.json.encode(list(answer.patch))
    return allowed


def _object(raw: msgspec.Raw) -> Json:
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise bad_request(f"the object is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise bad_request("the review holds no object")
    if not isinstance(value.get("metadata", {}), dict):
        raise bad_request("metadata is not an object")
    return value


def _wrong_type(error: msgspec.ValidationError) -> Cause:
    """msgspec says `Expected `int`, got `str` - at `$.spec.domain.cpu.cores``."""
    message, _, place = str(error).partition(" - at `$")
    return Cause(field=place.strip("`").lstrip("."), message=message)


def _denied(causes: Sequence[Cause], warnings: Sequence[str] = ()) -> Json:
    denial: Json = {
        "allowed": False,
        "status": {
            "metadata": {},
            "status": "Failure",
            "code": 422,
            "reason": "Invalid",
            "message": ", ".join(cause.message for cause in causes),
            "details": {
                "causes": [
                    {"reason": cause.reason, "message": cause.message, "field": cause.field}
                    for cause in causes
                ]
            },
        },
    }
    if warnings:
        denial["warnings"] = list(warnings)
    return denial


def _denied_by(refusal: Refusal) -> Json:
    return {"allowed": False, "status": failure(refusal)}


def _on_its_way_out(asked: _Asked) -> bool:
    """An object being deleted is not held back by rules: its finalizers must come off."""
    return not asked.create and bool(asked.new.get("metadata", {}).get("deletionTimestamp"))


def _same_spec(asked: _Asked) -> bool:
    """A label or finalizer changes: a spec that older rules let in is not judged again by it, and
    gets no new defaults."""
    return not asked.create and asked.old.get("spec") == asked.new.get("spec")


def _allow(asked: _Asked) -> _Answer:
    return _Answer()


def _mutate_vm(asked: _Asked) -> _Answer:
    if _on_its_way_out(asked) or _same_spec(asked):
        return _Answer()
    return _Answer(patch=asked.vm().patch)


def _validate_vm(asked: _Asked) -> _Answer:
    if _on_its_way_out(asked) or _same_spec(asked):
        return _Answer()
    verdict = asked.vm()
    return _Answer(causes=verdict.causes, warnings=verdict.warnings)


def _mutate_vmi(asked: _Asked) -> _Answer:
    if asked.create:
        return _Answer(patch=asked.vmi().patch)
    if asked.component:
        return _Answer()
    return _Answer(patch=restrictions.keep_status(asked.old, asked.new))


def _validate_new_vmi(asked: _Asked) -> _Answer:
    verdict = asked.vmi()
    return _Answer(causes=verdict.causes, warnings=verdict.warnings)


def _validate_changed_vmi(asked: _Asked) -> _Answer:
    if asked.component:
        return _Answer()
    return _Answer(causes=restrictions.update(asked.old, asked.new))


def _validate_replicaset(asked: _Asked) -> _Answer:
    if _on_its_way_out(asked):
        return _Answer()
    verdict = asked.rules.replicaset(asked.new, asked.facts.cluster)
    return _Answer(causes=verdict.causes, warnings=verdict.warnings)


def _vmi_name(migration: Json) -> str:
    spec = migration.get("spec")
    name = spec.get("vmiName") if isinstance(spec, dict) else None
    return name if isinstance(name, str) else ""


def _mutate_migration(asked: _Asked) -> _Answer:
    """The label that it is found by. A finalizer waits for somebody who would take it away."""
    name = _vmi_name(asked.new)
    if not asked.create or not name:
        return _Answer()
    metadata = asked.new.get("metadata", {})
    labels = {**(metadata.get("labels") or {}), "kubevirt.io/vmi-name": name}
    return _Answer(patch=[{"op": "add", "path": "/metadata/labels", "value": labels}])


def _validate_new_migration(asked: _Asked) -> _Answer:
    if _vmi_name(asked.new):
        return _Answer()
    return _Answer(
        causes=[Cause(field="spec.vmiName", message="vmiName is missing", reason=REQUIRED)]
    )


def _validate_changed_migration(asked: _Asked) -> _Answer:
    if _same_spec(asked):
        return _Answer()
    return _Answer(
        causes=[
            Cause(
                field="spec",
                message="update of Migration object's spec is restricted",
                reason=UNSUPPORTED,
            )
        ]
    )


VM = "VirtualMachine"
VMI = "VirtualMachineInstance"
REPLICA_SET = "VirtualMachineInstanceReplicaSet"
MIGRATION = "VirtualMachineInstanceMigration"

PATHS: Mapping[str, tuple[str, Callable[[_Asked], _Answer]]] = {
    "/virtualmachines-mutate": (VM, _mutate_vm),
    "/virtualmachines-validate": (VM, _validate_vm),
    "/virtualmachineinstances-mutate": (VMI, _mutate_vmi),
    "/virtualmachineinstances-validate-create": (VMI, _validate_new_vmi),
    "/virtualmachineinstances-validate-update": (VMI, _validate_changed_vmi),
    "/virtualmachinereplicaset-validate": (REPLICA_SET, _validate_replicaset),
    "/migration-mutate-create": (MIGRATION, _mutate_migration),
    "/migration-validate-create": (MIGRATION, _validate_new_migration),
    "/migration-validate-update": (MIGRATION, _validate_changed_migration),
    "/status-validate": ("", _allow),
}
"""Path to the kind it is for (empty: any), and what decides."""
