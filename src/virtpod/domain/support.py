"""What the small containers beside a guest ask for and may use: ours, unless the cluster says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from virtpod.domain.facts import Cluster

CONTAINER_DISK = "container-disk"
HOTPLUG_DISK = "hotplug-disk"
CONSOLE_LOG = "guest-console-log"
SIDE_CAR = "sidecar"
KINDS = (CONTAINER_DISK, HOTPLUG_DISK, CONSOLE_LOG, SIDE_CAR)
ABSENT = ("virtiofs", "vmexport")
"""Kinds of KubeVirt's that are no containers here."""


def resources(kind: str, usual: Mapping[str, Mapping[str, str]], cluster: Cluster) -> Any:
    """`usual`, as Kubernetes' resources, with each amount that the cluster gives for this kind."""
    given = next(
        (e for e in cluster.config.support_container_resources or () if e.type == kind), None
    )
    said = {
        "limits": given.resources.limits if given else None,
        "requests": given.resources.requests if given else None,
    }
    found = {name: {**(usual.get(name) or {}), **(more or {})} for name, more in said.items()}
    return {name: amounts for name, amounts in found.items() if amounts}
