"""Metrics of the devices of this node that guests may have, as the last look has shown them.

What QAT's telemetry counts, and its units: https://docs.kernel.org/admin-guide/abi-testing.html
(debugfs-driver-qat_telemetry)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from virtpod.node.devices import health
from virtpod.node.devices.look import Look, PodName

Owner = Callable[[str, str], str]
"""The VMI of a pod by namespace and name; empty: the pod is no guest's."""


class Devices(Collector):
    """`owner` is asked of each pod that has a device."""

    def __init__(self, look: Callable[[], Look], owner: Owner) -> None:
        self._look = look
        self._owner = owner

    def collect(self) -> Iterable[Metric]:
        return families(self._look(), self._owner)


def families(look: Look, owner: Owner) -> list[Metric]:
    return [
        *_of_resources(look),
        *_of_devices(look, owner),
        *_of_engines(look),
        *_of_ring_pairs(look),
    ]


def _of_resources(look: Look) -> Iterator[Metric]:
    counts = GaugeMetricFamily(
        "virtpod_host_devices",
        "Devices that this node offers to guests: what VFIO can give away alone.",
        labels=("resource", "health"),
    )
    found: Counter[tuple[str, str]] = Counter()
    for resource in look.offers.by_resource:
        found[resource, "healthy"] = found[resource, "unhealthy"] = 0
    for resource, piece in look.pieces:
        found[resource, "unhealthy" if piece.fault else "healthy"] += 1
    for labels, count in sorted(found.items()):
        counts.add_metric(labels, count)
    yield counts


def _of_devices(look: Look, owner: Owner) -> Iterator[Metric]:
    info = GaugeMetricFamily(
        "virtpod_host_device_info",
        "A device that this node offers to guests, or that one has of others, and whose it is.",
        labels=("device", "resource", "driver", "numa", "parent", "namespace", "name"),
    )
    healthy = GaugeMetricFamily(
        "virtpod_host_device_healthy",
        "Whether a device works; reason says what ails it.",
        labels=("device", "resource", "reason"),
    )
    holders = look.holders
    for resource, piece in look.pieces:
        first = piece.addresses[0]
        function = look.inventory.functions.get(first)
        namespace, name = _named(holders.get(first), owner)
        numa = "" if piece.unit.numa is None else str(piece.unit.numa)
        driver = function.driver if function else ""
        info.add_metric((first, resource, driver, numa, piece.parent, namespace, name), 1)
        reason = piece.fault.reason if piece.fault else ""
        healthy.add_metric((first, resource, reason), float(not reason))
    # What somebody has and is not offered, or not by us.
    offered = look.offered
    unwell = {
        address for those in look.ailing.values() for each in those for address in each.addresses
    }
    for address, each in sorted({held.address: held for held in look.held or ()}.items()):
        function = look.inventory.functions.get(address)
        namespace, name = _named((each.namespace, each.pod), owner)
        if function is None or address in offered or not name:
            continue
        numa = "" if function.numa is None else str(function.numa)
        driver, parent = function.driver, function.parent
        info.add_metric((address, each.resource, driver, numa, parent, namespace, name), 1)
        if address not in unwell:
            healthy.add_metric((address, each.resource, ""), 1.0)
    failing = {
        (ailing.addresses[0], ailing.resource, ailing.reason)
        for those in look.ailing.values()  # pods may share one, by a claim
        for ailing in those
        if not offered & set(ailing.addresses)
    }
    for labels in sorted(failing):
        healthy.add_metric(labels, 0.0)
    yield from (info, healthy)


def _named(pod: PodName | None, owner: Owner) -> tuple[str, str]:
    if pod is None:
        return "", ""
    vmi = owner(*pod)
    return (pod[0], vmi) if vmi else ("", "")


def _of_engines(look: Look) -> Iterator[Metric]:
    info = GaugeMetricFamily(
        "virtpod_qat_info",
        "A QAT device of this node.",
        labels=("device", "model", "driver", "services", "numa", "policy"),
    )
    healthy = GaugeMetricFamily(
        "virtpod_qat_healthy", "Whether a QAT device is up and has a heartbeat.", labels=("device",)
    )
    configured = GaugeMetricFamily(
        "virtpod_qat_configured",
        "Whether a QAT device is as its QATNodePolicy says; reason says why not.",
        labels=("device", "policy", "reason"),
    )
    functions = GaugeMetricFamily(
        "virtpod_qat_virtual_functions", "Virtual functions of a QAT device.", labels=("device",)
    )
    failed = CounterMetricFamily(
        "virtpod_qat_heartbeat_failures",
        "Heartbeat queries that a QAT device's firmware did not answer.",
        labels=("device",),
    )
    errors = CounterMetricFamily(
        "virtpod_qat_aer_errors",
        "PCI Express errors of a QAT device, as Advanced Error Reporting counts them.",
        labels=("device", "severity"),
    )
    telemetry = GaugeMetricFamily(
        "virtpod_qat_telemetry",
        "What a QAT device's driver counts, where its telemetry is turned on; names and units are "
        "the kernel's.",
        labels=("device", "counter"),
    )
    for address, engine in sorted(look.inventory.engines.items()):
        function = engine.function
        numa = "" if function.numa is None else str(function.numa)
        policy = look.policies.get(address, "")
        services = ";".join(engine.services)
        labels = (address, engine.model.name, function.driver, services, numa, policy)
        info.add_metric(labels, 1)
        ails = health.of_engine(engine) or look.inventory.faults.get(address)
        healthy.add_metric((address,), float(ails is None))
        functions.add_metric((address,), len(function.children))
        if round := look.rounds.get(address):
            reason = "" if round.done else round.reason
            configured.add_metric((address, policy, reason), float(round.done))
        if engine.failed is not None:
            failed.add_metric((address,), engine.failed)
        for severity in ("correctable", "nonfatal", "fatal"):
            if (count := getattr(engine.errors, severity)) is not None:
                errors.add_metric((address, severity), count)
        for name, value in engine.telemetry.items():
            telemetry.add_metric((address, name), value)
    yield from (info, healthy, configured, functions, failed, errors, telemetry)


def _of_ring_pairs(look: Look) -> Iterator[Metric]:
    pairs = GaugeMetricFamily(
        "virtpod_qat_ring_pairs", "Ring pairs of a QAT device.", labels=("device",)
    )
    own = GaugeMetricFamily(
        "virtpod_qat_function_ring_pairs",
        "Ring pairs of a virtual function of a QAT device, by what they do.",
        labels=("device", "parent", "service"),
    )
    limits = GaugeMetricFamily(
        "virtpod_qat_rate_limit",
        "Rate limit of a virtual function, in permille of what its QAT device can do for the "
        "service; rate: committed, which it is assured of, or peak.",
        labels=("device", "parent", "service", "rate"),
    )
    spare = GaugeMetricFamily(
        "virtpod_qat_rate_spare",
        "What limits of a QAT device's virtual functions may yet assure them of, in permille.",
        labels=("device", "service"),
    )
    for address, engine in sorted(look.inventory.engines.items()):
        if engine.ring_pairs is not None:
            pairs.add_metric((address,), engine.ring_pairs)
        for service, left in sorted(engine.spare.items()):
            spare.add_metric((address, service), left)
        for number, child in enumerate(engine.function.children):
            for service, count in sorted(Counter(filter(None, engine.rings)).items()):
                own.add_metric((child, address, service), count)
            for each in engine.limits_of(number):
                labels = (child, address, each.service)
                limits.add_metric((*labels, "committed"), each.committed)
                limits.add_metric((*labels, "peak"), each.peak)
    yield from (pairs, own, limits, spare)
