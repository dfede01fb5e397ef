"""What this node knows by itself, without asking a guest's launcher.

Names and labels: https://kubevirt.io/monitoring/metrics.html
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge

from virtpod.kube.resources import Key


class Counts:
    """One process's; a VMI's numbers go when it goes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._syncs = Counter(
            "kubevirt_vmi_sync_total",
            "How often virt-handler has looked at an instance.",
            ("namespace", "name"),
            registry=registry,
        )
        self._panics = Counter(
            "kubevirt_vmi_guest_os_panic_total",
            "Panics of the guest's kernel that its panic device told of.",
            ("namespace", "name", "type", "bugcheck_code"),
            registry=registry,
        )
        self._deprecated = Gauge(
            "kubevirt_node_deprecated_machine_types",
            "A machine type of the node's QEMU that a later one drops.",
            ("machine_type", "node"),
            registry=registry,
        )

    def deprecated(self, node: str, machines: Iterable[str]) -> None:
        for machine in machines:
            self._deprecated.labels(machine, node).set(1)

    def synced(self, vmi: dict[str, Any]) -> None:
        metadata = vmi["metadata"]
        self._syncs.labels(metadata["namespace"], metadata["name"]).inc()

    def panicked(self, vmi: Key) -> None:
        # libvirt's event says neither the device's type nor a code.
        self._panics.labels(*vmi, "", "").inc()

    def forget(self, vmi: Key) -> None:
        for counter, labels in ((self._syncs, tuple(vmi)), (self._panics, (*vmi, "", ""))):
            with suppress(KeyError):
                counter.remove(*labels)
