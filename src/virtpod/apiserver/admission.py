"""The admission webhooks: Kubernetes' AdmissionReview in, `render.admit`'s verdict out.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/

`review` is pure: bytes to an answer. Whatever the body holds (no JSON, a thousand nested lists,
a number where the spec should be), it is answered; only a defect of ours is a 500 inside an
otherwise well-formed review, and then the object is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import msgspec

from virtpod.api.base import decode
from virtpod.apiserver import restrictions
from virtpod.apiserver.status import Refusal, bad_request, failure
from virtpod.domain.facts import Cluster
from virtpod.domain.jsonpatch import diff
from virtpod.features.contract import Cause
from virtpod.kube import review as reviews
from virtpod.kube.plan import Event, Reference
from virtpod.kube.resources import VMIS
from virtpod.render import preset as presets
from virtpod.render.expand import Named
from virtpod.render.rules import Asked as KindAsked
from virtpod.render.rules import Rules as Kind
from virtpod.render.rules import (
    Seen,
    backup,
    clone,
    export,
    instancetype,
    migration,
    plugin,
    policy,
    pool,
    preset,
    qat,
    snapshot,
)

log = logging.getLogger(__name__)

LIMIT = reviews.LIMIT
NEW_VMS = "/virtualmachines-validate"
"""The last word on a VM."""
NEW_VMIS = "/virtualmachineinstances-mutate"
"""The first word on a VMI."""

Json = dict[str, Any]

VM = "VirtualMachine"
VMI = "VirtualMachineInstance"
REPLICA_SET = "VirtualMachineInstanceReplicaSet"
MIGRATION = "VirtualMachineInstanceMigration"
POOL = "VirtualMachinePool"
CLONE = "VirtualMachineClone"


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
    def vm(self, raw: Json, cluster: Cluster, *, uuid: str, named: Named, new: bool) -> Verdict: ...
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
    seen: Seen = field(default_factory=dict)
    """Other objects that the rules of its kind must know."""
    presets: Sequence[presets.Preset] = ()
    """Those of a new VMI's namespace."""


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
        return self.rules.vm(
            self.new, facts.cluster, uuid=facts.uuid, named=facts.named, new=self.create
        )


@dataclass(frozen=True)
class _Answer:
    patch: Sequence[Mapping[str, Any]] = ()
    causes: Sequence[Cause] = ()
    warnings: Sequence[str] = ()


def review(path: str, body: bytes, facts: Facts, rules: Rules) -> Json:
    """Answers the review that was sent to `path`, one of `PATHS`. Raises Refusal (400) where the
    body is no review at all."""
    try:
        request = reviews.asked(body)
    except reviews.NotAReview as error:
        raise bad_request(str(error)) from error
    return reviews.answer(request, _respond(path, request, facts, rules))


def news(request: reviews.Request, known: Sequence[presets.Preset]) -> list[Event]:
    """What is told of a new VMI beside the answer: of presets that it did not get, or not whole."""
    try:
        vmi = reviews.decoded(request.object)
    except (reviews.NotAnObject, RecursionError):
        return []
    name = vmi.get("metadata", {}).get("name")
    if request.operation != "CREATE" or request.dry_run or not isinstance(name, str):
        return []
    merged = presets.merge(vmi, known)
    about = Reference(VMIS.api_version, VMIS.kind, request.namespace, name)
    return [
        *(Event(about, "Warning", "PresetFailed", cause.message) for cause in merged.causes),
        *(Event(about, "Warning", "Override", text) for text in merged.overridden),
    ]


def _respond(path: str, request: reviews.Request, facts: Facts, rules: Rules) -> Json:
    kind, decide = PATHS[path]
    if request.operation not in ("CREATE", "UPDATE"):
        return reviews.allowed()
    if kind and request.kind.kind and request.kind.kind != kind:
        return _denied_by(bad_request(f"expected a {kind}, got a {request.kind.kind}"))
    try:
        asked = _Asked(
            create=request.operation == "CREATE",
            component=restrictions.is_component(
                request.user_info.username, facts.cluster.namespace
            ),
            new=reviews.decoded(request.object),
            old=reviews.decoded(request.old_object) if request.operation == "UPDATE" else {},
            facts=facts,
            rules=rules,
        )
        answer = decide(asked)
    except Refusal as refusal:
        return _denied_by(refusal)
    except reviews.NotAnObject as error:
        return _denied_by(bad_request(str(error)))
    except msgspec.ValidationError as error:
        return reviews.denied([_wrong_type(error)])
    except RecursionError:
        return _denied_by(Refusal(422, "the object is nested too deeply"))
    except Exception:
        # A defect of ours must not become an unchecked object, nor a webhook that "failed to
        # call" without a word.
        log.exception("admission failed", extra={"path": path, "uid": request.uid})
        return _denied_by(Refusal(500, f"internal error while checking this {kind}"))
    if answer.causes:
        return reviews.denied(answer.causes, answer.warnings)
    return reviews.allowed(answer.patch, answer.warnings)


def _wrong_type(error: msgspec.ValidationError) -> Cause:
    """msgspec says `Expected `int`, got `str` - at `$.spec.domain.cpu.cores``."""
    message, _, place = str(error).partition(" - at `$")
    return Cause(field=place.strip("`").lstrip("."), message=message)


def _denied_by(refusal: Refusal) -> Json:
    return {"allowed": False, "status": failure(refusal)}


def _on_its_way_out(asked: _Asked) -> bool:
    """An object being deleted is not held back by rules: its finalizers must come off."""
    return not asked.create and bool(asked.new.get("metadata", {}).get("deletionTimestamp"))


def _same_spec(asked: _Asked) -> bool:
    """A label or finalizer changes: a spec that older rules let in is not judged again by it, and
    gets no new defaults."""
    return not asked.create and asked.old.get("spec") == asked.new.get("spec")


def _mutate_vm(asked: _Asked) -> _Answer:
    if _on_its_way_out(asked) or _same_spec(asked):
        return _Answer()
    return _Answer(patch=asked.vm().patch)


def _validate_vm(asked: _Asked) -> _Answer:
    if _on_its_way_out(asked) or _same_spec(asked):
        return _Answer()
    verdict = asked.vm()
    causes = [*verdict.causes, *restrictions.busy(asked.old, asked.new)]
    return _Answer(causes=causes, warnings=verdict.warnings)


def _mutate_vmi(asked: _Asked) -> _Answer:
    if asked.create:
        merged = presets.merge(asked.new, asked.facts.presets)
        if merged.causes:
            return _Answer(causes=merged.causes)
        verdict = replace(asked, new=merged.vmi).vmi()
        patch = [*diff(asked.new, merged.vmi), *verdict.patch]
        return _Answer(patch=patch, warnings=merged.overridden)
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


def _validate(kind: Kind[Any]) -> Callable[[_Asked], _Answer]:
    """By the rules of a kind that is no machine."""

    def decide(asked: _Asked) -> _Answer:
        if _on_its_way_out(asked):
            return _Answer()
        whole = KindAsked(
            decode(asked.new, kind.kind),
            None if asked.create else decode(asked.old, kind.kind),
            asked.facts.cluster,
            asked.facts.seen,
            asked.facts.named,
        )
        return _Answer(causes=list(kind.causes(whole)), warnings=list(kind.warnings(whole)))

    return decide


KINDS: Mapping[str, tuple[str, Kind[Any]]] = {
    "/migration-validate-create": (MIGRATION, migration.RULES),
    "/migration-validate-update": (MIGRATION, migration.RULES),
    "/virtualmachinepool-validate": (POOL, pool.RULES),
    "/vmipreset-validate": ("VirtualMachineInstancePreset", preset.RULES),
    "/virtualmachinesnapshots-validate": ("VirtualMachineSnapshot", snapshot.SNAPSHOTS),
    "/virtualmachinerestores-validate": ("VirtualMachineRestore", snapshot.RULES),
    "/virtualmachineexports-validate": ("VirtualMachineExport", export.RULES),
    "/virtualmachinebackups-validate": ("VirtualMachineBackup", backup.RULES),
    "/virtualmachinebackuptrackers-validate": ("VirtualMachineBackupTracker", backup.TRACKERS),
    "/virtualmachineinstancetypes-validate": (
        "VirtualMachineInstancetype",
        instancetype.INSTANCETYPES,
    ),
    "/virtualmachineclusterinstancetypes-validate": (
        "VirtualMachineClusterInstancetype",
        instancetype.CLUSTER_INSTANCETYPES,
    ),
    "/virtualmachinepreferences-validate": ("VirtualMachinePreference", instancetype.PREFERENCES),
    "/virtualmachineclusterpreferences-validate": (
        "VirtualMachineClusterPreference",
        instancetype.CLUSTER_PREFERENCES,
    ),
    "/migration-policy-validate-create": ("MigrationPolicy", policy.RULES),
    "/vm-clone-validate-create": (CLONE, clone.RULES),
    "/plugin-validate": ("Plugin", plugin.RULES),
    "/qatnodepolicies-validate": ("QATNodePolicy", qat.RULES),
}
"""Paths of kinds that are no machines."""


def _mutate_clone(asked: _Asked) -> _Answer:
    """A name for the target that has none."""
    patch = clone.named(asked.new, asked.facts.uuid) if asked.create else []
    return _Answer(patch=patch)


def _validate_status(asked: _Asked) -> _Answer:
    if asked.create or asked.component:
        return _Answer()
    return _Answer(causes=restrictions.requests(asked.new))


PATHS: Mapping[str, tuple[str, Callable[[_Asked], _Answer]]] = {
    "/virtualmachines-mutate": (VM, _mutate_vm),
    NEW_VMS: (VM, _validate_vm),
    NEW_VMIS: (VMI, _mutate_vmi),
    "/virtualmachineinstances-validate-create": (VMI, _validate_new_vmi),
    "/virtualmachineinstances-validate-update": (VMI, _validate_changed_vmi),
    "/virtualmachinereplicaset-validate": (REPLICA_SET, _validate_replicaset),
    "/migration-mutate-create": (MIGRATION, _mutate_migration),
    "/vm-clone-mutate-create": (CLONE, _mutate_clone),
    "/status-validate": (VM, _validate_status),
    **{path: (name, _validate(kind)) for path, (name, kind) in KINDS.items()},
}
"""Path to the kind it is for (empty: any), and what decides."""
