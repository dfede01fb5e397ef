"""Which node the guest gets: passed on to the pod as it is.

https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from virtpod.api.core import Affinity, NodeSelectorTerm, PodAffinity, PodAntiAffinity
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster
from virtpod.features.contract import REQUIRED, UNSUPPORTED, Cause, Feature, PodPart, always

REQUIRED_FIELD = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED_FIELD = "preferredDuringSchedulingIgnoredDuringExecution"
OPERATORS = {
    "In": lambda count: count > 0,
    "NotIn": lambda count: count > 0,
    "Exists": lambda count: count == 0,
    "DoesNotExist": lambda count: count == 0,
    "Gt": lambda count: count == 1,
    "Lt": lambda count: count == 1,
}
"""By operator: how many values go with it."""
UNSATISFIABLE = ("DoNotSchedule", "ScheduleAnyway")


def validate(part: VMI, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    """What the API server would refuse of the pod: said here, where its author hears it."""
    affinity = vmi.spec.affinity or Affinity()
    where = "spec.affinity"
    if nodes := affinity.node_affinity:
        here = f"{where}.nodeAffinity"
        required = nodes.required_during_scheduling_ignored_during_execution
        yield from _node_terms(
            f"{here}.{REQUIRED_FIELD}.nodeSelectorTerms",
            required.node_selector_terms if required else (),
        )
        for index, preferred in enumerate(
            nodes.preferred_during_scheduling_ignored_during_execution or ()
        ):
            yield from _weight(f"{here}.{PREFERRED_FIELD}[{index}]", preferred.weight)
            path = f"{here}.{PREFERRED_FIELD}[{index}].preference"
            yield from _node_terms(path, [preferred.preference])
    for name, pods in (
        ("podAffinity", affinity.pod_affinity),
        ("podAntiAffinity", affinity.pod_anti_affinity),
    ):
        if pods:
            yield from _pod_terms(f"{where}.{name}", pods)
    for index, spread in enumerate(vmi.spec.topology_spread_constraints or ()):
        here = f"spec.topologySpreadConstraints[{index}]"
        if spread.max_skew < 1:
            yield Cause(f"{here}.maxSkew", f"{here}.maxSkew must be greater than zero")
        if not spread.topology_key:
            yield Cause(f"{here}.topologyKey", f"{here}.topologyKey must be given", REQUIRED)
        if spread.when_unsatisfiable not in UNSATISFIABLE:
            yield Cause(
                f"{here}.whenUnsatisfiable",
                f"{here}.whenUnsatisfiable must be one of {', '.join(UNSATISFIABLE)}",
                UNSUPPORTED,
            )


def _node_terms(where: str, terms: Iterable[NodeSelectorTerm]) -> Iterator[Cause]:
    for number, term in enumerate(terms):
        for name, wants in (("Expressions", term.match_expressions), ("Fields", term.match_fields)):
            for index, want in enumerate(wants or ()):
                here = f"{where}[{number}].match{name}[{index}]"
                values = want.values or []
                if want.operator not in OPERATORS:
                    yield Cause(
                        f"{here}.operator",
                        f"{here}.operator {want.operator!r} is not known; "
                        f"one of {', '.join(OPERATORS)}",
                        UNSUPPORTED,
                    )
                elif not OPERATORS[want.operator](len(values)):
                    yield Cause(
                        f"{here}.values",
                        f"{here}.values: {len(values)} of them do not go with {want.operator}",
                    )


def _pod_terms(where: str, pods: PodAffinity | PodAntiAffinity) -> Iterator[Cause]:
    terms = [
        (f"{where}.{REQUIRED_FIELD}[{index}]", term)
        for index, term in enumerate(pods.required_during_scheduling_ignored_during_execution or ())
    ]
    for index, each in enumerate(pods.preferred_during_scheduling_ignored_during_execution or ()):
        here = f"{where}.{PREFERRED_FIELD}[{index}]"
        yield from _weight(here, each.weight)
        terms.append((f"{here}.podAffinityTerm", each.pod_affinity_term))
    for here, term in terms:
        if not term.topology_key:
            yield Cause(f"{here}.topologyKey", f"{here}.topologyKey must be given", REQUIRED)


def _weight(where: str, weight: int) -> Iterator[Cause]:
    if not 1 <= weight <= 100:
        yield Cause(f"{where}.weight", f"{where}.weight must be from 1 to 100")


def pod(part: VMI, vmi: VMI, cluster: Cluster) -> PodPart:
    spec = vmi.spec
    passed: dict[str, Any] = {
        "affinity": spec.affinity,
        "tolerations": spec.tolerations,
        "topologySpreadConstraints": spec.topology_spread_constraints,
        "schedulerName": spec.scheduler_name,
        "priorityClassName": spec.priority_class_name,
        "runtimeClassName": cluster.config.default_runtime_class,
    }
    selector = {**_cluster_wide(cluster), **(spec.node_selector or {})}
    return PodPart(
        node_selector=selector,
        spec={name: msgspec.to_builtins(value) for name, value in passed.items() if value},
    )


def _cluster_wide(cluster: Cluster) -> dict[str, str]:
    developer = cluster.config.developer_configuration
    return (developer and developer.node_selectors) or {}


FEATURE = Feature(
    name="scheduling",
    owns=(
        "affinity",
        "nodeSelector",
        "priorityClassName",
        "schedulerName",
        "tolerations",
        "topologySpreadConstraints",
    ),
    asked=always,
    validate=validate,
    pod=pod,
)
