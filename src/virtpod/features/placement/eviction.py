"""What becomes of the guest when its node is drained.

https://kubevirt.io/user-guide/cluster_admin/node_maintenance/#evict-all-vms-from-a-node
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster
from virtpod.features.contract import UNSUPPORTED, Cause, Feature, always

STRATEGIES = ("None", "LiveMigrate", "LiveMigrateIfPossible", "External")


def defaults(part: VMI, vmi: VMI, cluster: Cluster) -> None:
    if vmi.spec.eviction_strategy is None:
        vmi.spec.eviction_strategy = cluster.config.eviction_strategy


def validate(part: VMI, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    strategy = vmi.spec.eviction_strategy
    if strategy is not None and strategy not in STRATEGIES:
        yield Cause(
            "spec.evictionStrategy",
            f"spec.evictionStrategy is set with an unrecognized option: {strategy}; "
            f"one of {', '.join(STRATEGIES)}",
            UNSUPPORTED,
        )


FEATURE = Feature(
    name="eviction",
    owns=("evictionStrategy",),
    asked=always,
    defaults=defaults,
    validate=validate,
)
