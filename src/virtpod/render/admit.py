"""Admission: what is filled in, what is refused and why, what is worth a warning.

A value that says it all: the patch for the mutating webhook, the causes for the validating one.
Both are the same computation, so a spec that passed is one that renders.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

import msgspec

from virtpod.api.base import decode
from virtpod.api.meta import ObjectMeta
from virtpod.api.replicaset import VirtualMachineInstanceReplicaSet
from virtpod.api.vm import VirtualMachine
from virtpod.api.vmi import (
    VirtualMachineInstance,
    VirtualMachineInstancePhaseTransitionTimestamp,
    VirtualMachineInstanceSpec,
    VirtualMachineInstanceTemplateSpec,
)
from virtpod.domain.facts import Cluster
from virtpod.domain.jsonpatch import Operation, diff
from virtpod.features import ALL
from virtpod.features.contract import DUPLICATE, REQUIRED, UNSUPPORTED, Cause
from virtpod.features.machine import board, firmware, pci
from virtpod.render import prefer
from virtpod.render.expand import Choice, Named, expand, problems
from virtpod.render.pod import PLACES
from virtpod.render.rules import vm as vms

FINALIZER = "kubevirt.io/foregroundDeleteVirtualMachine"
RUN_STRATEGIES = ("Always", "Halted", "Manual", "RerunOnFailure", "Once", "WaitAsReceiver")
RESERVED_LABELS = (
    "kubevirt.io/created-by",
    "kubevirt.io/migrationJobUID",
    "kubevirt.io/nodeName",
    "kubevirt.io/migrationTargetNodeName",
    "kubevirt.io/schedulable",
    "kubevirt.io/install-strategy",
)
GATED_ANNOTATIONS = {
    "hooks.kubevirt.io/hookSidecars": "Sidecar",
    "kubevirt.io/ignitiondata": "ExperimentalIgnitionSupport",
}
"""By annotation: the feature gate without which it is refused."""
QEMU_RUNTIME_USER = 107
POD_VOLUME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

NOTHING = Choice()

T = TypeVar("T")


@dataclass(frozen=True)
class Admission:
    """The answer to one request. `patch` is a JSON Patch of the object as it was sent."""

    patch: list[Operation] = field(default_factory=list)
    causes: list[Cause] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def vmi(raw: dict[str, Any], cluster: Cluster, *, now: str, uuid: str) -> Admission:
    """A VMI that is to be created. `now`: RFC 3339; `uuid`: the machine's, if it has none."""
    try:
        given = decode(raw, VirtualMachineInstance)
    except msgspec.ValidationError as error:
        return Admission(causes=[_malformed(error)])
    before = _as_sent(given, raw)
    causes = [*_reserved_labels(given), *_annotations(given, cluster)]
    warnings = _warn(given, cluster, "spec")
    _default(given, cluster, uuid)
    _enter(given, now)
    causes += _validate(given, cluster)
    return Admission(list(diff(before, msgspec.to_builtins(given))), causes, warnings)


def vm(
    raw: dict[str, Any],
    cluster: Cluster,
    *,
    uuid: str,
    named: Named | None = None,
    new: bool = False,
) -> Admission:
    """A VM that is created or updated, and what is `named` in it. `new`: it is created, so that no
    guest knows its machine yet."""
    named = named or Named()
    try:
        given = decode(raw, VirtualMachine)
    except msgspec.ValidationError as error:
        return Admission(causes=[_malformed(error)])
    before = _as_sent(given, raw)
    causes = [*_run_strategy(given), *vms.causes(given)]
    template = given.spec.template
    template_spec = template.spec if template else None
    if template_spec is None:
        missing = Cause("spec.template", "missing virtual machine template.", REQUIRED)
        return Admission(causes=[*causes, missing])
    instance = VirtualMachineInstance(spec=template_spec)
    instance.metadata.namespace, instance.metadata.name = (
        given.metadata.namespace,
        given.metadata.name,
    )
    causes += named.causes
    for which, matcher in named.matchers.items():
        _match(given, which, matcher)
    if named.frees_memory:
        template_spec.domain.memory = None
    # What must stay the same over restarts is filled in here; the rest when a VMI is made, by the
    # rules of that day.
    if named.choice.preference:
        prefer.machine(named.choice.preference, instance)
        prefer.storage(named.choice.preference, given)
    board.defaults(instance, instance, cluster)
    firmware.identify(instance, uuid)
    if new:
        _make_room(template, named.choice)
    instance.metadata.annotations = annotations = _annotated(template)
    after = msgspec.to_builtins(given)
    causes += [
        Cause(_in_vm(cause.field), cause.message, cause.reason)
        for cause in _tried(template_spec, annotations, cluster, given, named.choice)
    ]
    warnings = _warn(instance, cluster, "spec.template.spec")
    if given.spec.running is not None:
        warnings.append("spec.running is deprecated, please use spec.runStrategy instead.")
    return Admission(list(diff(before, after)), causes, warnings)


def replicaset(raw: dict[str, Any], cluster: Cluster) -> Admission:
    """A VirtualMachineInstanceReplicaSet that is created or updated."""
    try:
        given = decode(raw, VirtualMachineInstanceReplicaSet)
    except msgspec.ValidationError as error:
        return Admission(causes=[_malformed(error)])
    causes = []
    template = given.spec.template
    if template is None or template.spec is None:
        return Admission(causes=[Cause("spec.template", "missing template.", REQUIRED)])
    if (given.spec.replicas or 0) < 0:
        causes.append(Cause("spec.replicas", "spec.replicas must not be negative"))
    wanted = (given.spec.selector and given.spec.selector.match_labels) or {}
    labels = (template.metadata and template.metadata.labels) or {}
    if not wanted.items() <= labels.items():
        causes.append(Cause("spec.selector", "selector does not match labels."))
    causes += [
        Cause(f"spec.template.{cause.field}", cause.message, cause.reason)
        for cause in _tried(template.spec, _annotated(template), cluster, given)
    ]
    return Admission([], causes, [])


def _as_sent(given: Any, raw: dict[str, Any]) -> Any:
    """The object in our types, without the parts that decoding made up."""
    return {name: value for name, value in msgspec.to_builtins(given).items() if name in raw}


def _in_vm(path: str) -> str:
    """A path in the VMI, or one of the VM's own choices, as a path in the VM."""
    return f"spec.{path}" if path in ("instancetype", "preference") else f"spec.template.{path}"


def _match(vm: VirtualMachine, which: str, matcher: Mapping[str, Any] | None) -> None:
    """Says in the spec what was found out. A guest's memory that was given in case that a volume
    says nothing makes way for the instance type that it does name."""
    said = getattr(vm.spec, which)
    if matcher is not None and said.infer_from_volume_failure_policy == "Ignore":
        domain = vm.spec.template and vm.spec.template.spec and vm.spec.template.spec.domain
        if which == "instancetype" and domain and domain.memory:
            domain.memory.guest = None
    setattr(vm.spec, which, msgspec.convert(matcher, type(said)) if matcher else None)


def _make_room(template: VirtualMachineInstanceTemplateSpec, choice: Choice) -> None:
    """On the bus of a VM's machine, for what is plugged in later. An existing machine keeps its
    bus, so this is said in the VM, not found out at each start."""
    said = _annotated(template)
    for given in (choice.instancetype, choice.preference):
        said |= (given and given.annotations) or {}
    architecture = template.spec.architecture if template.spec else None
    if room := pci.topology(said, architecture):
        metadata = template.metadata = template.metadata or ObjectMeta()
        metadata.annotations = {**(metadata.annotations or {}), **room}


def _annotated(template: Any) -> dict[str, str]:
    """The annotations that a VMI of this template has."""
    return dict((template and template.metadata and template.metadata.annotations) or {})


def _tried(
    spec: VirtualMachineInstanceSpec,
    annotations: dict[str, str],
    cluster: Cluster,
    owner: Any,
    choice: Choice = NOTHING,
) -> list[Cause]:
    """What would be wrong with a VMI of this template."""
    instance = VirtualMachineInstance(spec=_copy(spec))
    instance.metadata.annotations = dict(annotations)
    instance.metadata.namespace = owner.metadata.namespace
    instance.metadata.name = owner.metadata.name or "vm"
    if choice:
        if causes := problems(choice, instance):
            return causes
        expand(choice, instance, cluster)
    _default(instance, cluster, "00000000-0000-0000-0000-000000000000")
    return _validate(instance, cluster)


def _copy(value: T) -> T:
    return msgspec.convert(msgspec.to_builtins(value), type(value))


def _default(given: VirtualMachineInstance, cluster: Cluster, uuid: str) -> None:
    firmware.identify(given, uuid)
    for feature in ALL:
        if feature.defaults and (part := feature.asked(given)):
            feature.defaults(part, given, cluster)


def _enter(given: VirtualMachineInstance, now: str) -> None:
    """The first state: Pending, held by a finalizer until its pod is gone."""
    finalizers = given.metadata.finalizers = list(given.metadata.finalizers or ())
    if FINALIZER not in finalizers:
        finalizers.append(FINALIZER)
    status = given.status
    status.phase = "Pending"
    status.runtime_user = QEMU_RUNTIME_USER
    status.phase_transition_timestamps = [
        VirtualMachineInstancePhaseTransitionTimestamp(
            phase="Pending", phase_transition_timestamp=now
        )
    ]


def _validate(given: VirtualMachineInstance, cluster: Cluster) -> list[Cause]:
    causes: list[Cause] = []
    spec = msgspec.to_builtins(given.spec)
    causes += [
        Cause(f"spec.{path}", f"{gate} feature gate is not enabled", UNSUPPORTED)
        for path, gate in not_yet().items()
        if gate and gate not in cluster.gates and _present(spec, path.split("."))
    ]
    for feature in ALL:
        part = feature.asked(given)
        if not part:
            continue
        if feature.gate and feature.gate not in cluster.gates:
            causes += [
                Cause(f"spec.{path}", f"{feature.gate} feature gate is not enabled", UNSUPPORTED)
                for path in feature.owns
            ]
        elif feature.validate:
            causes += feature.validate(part, given, cluster)
    return causes or list(_volumes_of_the_pod(given, cluster))


def _volumes_of_the_pod(given: VirtualMachineInstance, cluster: Cluster) -> Iterator[Cause]:
    """What the API server would refuse in the pod, said where a user can mend it."""
    seen: dict[str, Any] = {name: None for name, _ in PLACES}
    for feature in ALL:
        if not feature.pod or not (part := feature.asked(given)):
            continue
        for volume in feature.pod(part, given, cluster).volumes:
            name = volume["name"]
            if not POD_VOLUME.fullmatch(name):
                yield Cause(
                    "spec.volumes",
                    f"spec.volumes: {name!r} cannot be the name of a volume of a pod: it must have "
                    "at most 63 small letters, digits and hyphens, with no hyphen at its ends",
                )
            elif seen.get(name, volume) != volume:
                yield Cause(
                    "spec.volumes",
                    f"spec.volumes: the launcher's pod has a volume {name!r} already; take "
                    "another name",
                    DUPLICATE,
                )
            seen.setdefault(name, volume)


def _reserved_labels(given: VirtualMachineInstance) -> list[Cause]:
    found = [name for name in given.metadata.labels or {} if name in RESERVED_LABELS]
    message = (
        "creation of the following reserved kubevirt.io/ labels on a VMI object is prohibited: "
    )
    return [Cause("metadata.labels", message + ", ".join(found), UNSUPPORTED)] if found else []


def _annotations(given: VirtualMachineInstance, cluster: Cluster) -> list[Cause]:
    return [
        Cause(
            "metadata.annotations",
            f"annotation {name}: {gate} feature gate is not enabled",
            UNSUPPORTED,
        )
        for name, gate in GATED_ANNOTATIONS.items()
        if name in (given.metadata.annotations or {}) and gate not in cluster.gates
    ]


def _run_strategy(given: VirtualMachine) -> list[Cause]:
    running, strategy = given.spec.running, given.spec.run_strategy
    if running is not None and strategy is not None:
        return [
            Cause(
                "spec.running",
                "Running and RunStrategy are mutually exclusive. Note that Running is deprecated, "
                "please use RunStrategy instead",
            )
        ]
    if running is None and strategy is None:
        return [Cause("spec.runStrategy", "RunStrategy must be specified", REQUIRED)]
    if strategy is not None and strategy not in RUN_STRATEGIES:
        return [
            Cause(
                "spec.runStrategy",
                f"Invalid RunStrategy ({strategy}); one of {', '.join(RUN_STRATEGIES)}",
                UNSUPPORTED,
            )
        ]
    return []


def _malformed(error: msgspec.ValidationError) -> Cause:
    message, _, path = str(error).partition(" - at `$")
    return Cause(path.rstrip("`").lstrip(".") or "spec", message, "FieldValueTypeInvalid")


@cache
def not_yet() -> dict[str, str]:
    """Paths of the VMI spec that no feature owns yet: accepted, but without effect. By path: the
    feature gate without which it is refused, if there is one."""
    lines = files("virtpod.features").joinpath("not_yet.txt").read_text("utf-8").splitlines()
    entries = [line.partition("#")[0].split() for line in lines]
    return {entry[0]: "".join(entry[1:]) for entry in entries if entry}


def _warn(given: VirtualMachineInstance, cluster: Cluster, prefix: str) -> list[str]:
    spec = msgspec.to_builtins(given.spec)
    warnings = [
        f"{prefix}.{path} is accepted but has no effect in this version"
        for path in not_yet()
        if _present(spec, path.split("."))
    ]
    for feature in ALL:
        if feature.warn and (part := feature.asked(given)):
            warnings += [prefix + text for text in feature.warn(part, given, cluster)]
    return warnings


def _present(value: Any, path: list[str]) -> bool:
    """Whether the path is set anywhere; lists are looked through."""
    if isinstance(value, list):
        return any(_present(item, path) for item in value)
    if not path:
        return value is not None
    return isinstance(value, dict) and path[0] in value and _present(value[path[0]], path[1:])
