"""Which node the guest gets: passed on to the pod as it is.

https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/
"""

from __future__ import annotations

from typing import Any

import msgspec

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster
from virtpod.features.contract import Feature, PodPart, always


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
    pod=pod,
)
