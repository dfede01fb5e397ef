"""VirtualMachinePool: machines from a template that would be let in alone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from virtpod.api.pool import (
    VirtualMachinePool,
    VirtualMachinePoolSelectionPolicy,
    VirtualMachinePoolSpec,
)
from virtpod.features.contract import REQUIRED, UNSUPPORTED, Cause
from virtpod.render import admit
from virtpod.render.rules import Asked, Rules
from virtpod.render.rules._common import one_of, only_one

TEMPLATE = "spec.virtualMachineTemplate"
PRESERVATIONS = ("Disabled", "Offline", "Online")
ORDERS = ("AscendingOrder", "DescendingOrder", "Newest", "Oldest", "Random")
STRATEGIES = {"unmanaged": "unmanaged", "opportunistic": "opportunistic", "proactive": "proactive"}
NOBODY = "00000000-0000-0000-0000-000000000000"
_PERCENT = re.compile(r"(\d{1,2}|100)%")


def machine(pool: dict[str, Any]) -> dict[str, Any] | None:
    """The first VM that a pool would make, to be judged like any other; None where there is
    none."""
    template = (pool.get("spec") or {}).get("virtualMachineTemplate") or {}
    if not isinstance(template.get("spec"), dict):
        return None
    metadata = {**(template.get("metadata") or {})}
    metadata["name"] = f"{pool['metadata'].get('name') or 'pool'}-0"
    metadata["namespace"] = pool["metadata"].get("namespace")
    return {"metadata": metadata, "spec": template["spec"]}


def _causes(asked: Asked[VirtualMachinePool]) -> Iterable[Cause]:
    spec = asked.new.spec
    wanted = (spec.selector and spec.selector.match_labels) or {}
    metadata = spec.virtual_machine_template.metadata
    if not wanted.items() <= ((metadata and metadata.labels) or {}).items():
        yield Cause("spec.selector", "selector does not match labels.")
    if asked.old is not None and asked.old.spec.selector != spec.selector:
        yield Cause("spec.selector", "selector is immutable after creation.", UNSUPPORTED)
    if (spec.replicas or 0) < 0:
        yield Cause("spec.replicas", "spec.replicas must not be negative")
    yield from _unavailable(spec.max_unavailable)
    yield from _strategies(spec)
    threshold = spec.autohealing.start_up_failure_threshold if spec.autohealing else None
    if threshold is not None and threshold < 1:
        where = "spec.autohealing.startUpFailureThreshold"
        yield Cause(where, f"{where} must be at least 1")
    if spec.virtual_machine_template.spec is None:
        yield Cause(f"{TEMPLATE}.spec", "missing virtual machine template.", REQUIRED)
        return
    same = asked.old and asked.old.spec.virtual_machine_template == spec.virtual_machine_template
    if not same:
        yield from _template(asked)


def _template(asked: Asked[VirtualMachinePool]) -> Iterable[Cause]:
    vm = machine(msgspec.to_builtins(asked.new))
    if vm is None:
        return
    verdict = admit.vm(vm, asked.cluster, uuid=NOBODY, named=asked.named)
    for cause in verdict.causes:
        yield Cause(f"{TEMPLATE}.{cause.field}", cause.message, cause.reason)


def _unavailable(given: int | str | None) -> Iterable[Cause]:
    where = "spec.maxUnavailable"
    if isinstance(given, int) and given < 0:
        yield Cause(where, f"{where} must not be negative")
    if isinstance(given, str) and not _PERCENT.fullmatch(given):
        yield Cause(where, f"{where} {given!r} is neither a number nor a percentage such as 25%")


def _strategies(spec: VirtualMachinePoolSpec) -> Iterable[Cause]:
    shrink, update = spec.scale_in_strategy, spec.update_strategy
    policies: list[tuple[str, VirtualMachinePoolSelectionPolicy | None]] = []
    if shrink:
        where = "spec.scaleInStrategy"
        yield from only_one(where, shrink, STRATEGIES)
        for name in ("opportunistic", "proactive"):
            if chosen := getattr(shrink, name):
                path = f"{where}.{name}.statePreservation"
                yield from one_of(path, chosen.state_preservation, PRESERVATIONS)
        policies.append((where, shrink.proactive.selection_policy if shrink.proactive else None))
    if update:
        where = "spec.updateStrategy"
        yield from only_one(where, update, STRATEGIES)
        policies.append((where, update.proactive.selection_policy if update.proactive else None))
    for where, policy in policies:
        if policy:
            path = f"{where}.proactive.selectionPolicy.sortPolicy"
            yield from one_of(path, policy.sort_policy, ORDERS)


RULES = Rules(VirtualMachinePool, _causes)
