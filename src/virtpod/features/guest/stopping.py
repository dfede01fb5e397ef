"""How long the guest may take to power off before it is ended.

The pod gets 30 seconds more than the guest, so that the launcher, not the kubelet, has the last
word.
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.traits import grace
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster
from virtpod.features.contract import Cause, Feature, PodPart, always

RESERVE = 15
"""Seconds that the launcher has after the guest's time, and the kubelet after the launcher's."""


def validate(part: VMI, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    if grace(vmi) < 0:
        yield Cause(
            "spec.terminationGracePeriodSeconds",
            "spec.terminationGracePeriodSeconds must not be negative",
        )


def pod(part: VMI, vmi: VMI, cluster: Cluster) -> PodPart:
    return PodPart(spec={"terminationGracePeriodSeconds": grace(vmi) + 2 * RESERVE})


FEATURE = Feature(
    name="stopping",
    owns=("terminationGracePeriodSeconds",),
    asked=always,
    validate=validate,
    pod=pod,
)
