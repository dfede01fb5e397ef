"""Metrics of the guests of this node, under the names that dashboards know.

The launchers are asked when somebody asks us: nothing is counted that nobody wants to know, and
a launcher that does not answer in time is left out. Names and labels:
https://kubevirt.io/monitoring/metrics.html; what libvirt's numbers mean:
https://libvirt.org/html/libvirt-libvirt-domain.html#virConnectGetAllDomainStats
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from virtpod.wire.messages import GuestFileSystem, Measured

WITHIN = 5.0
"""Seconds for a launcher to tell."""
FRESH = 1.0
"""Seconds for which what was told is good enough: who asks all the time costs no more."""
MEMBERS, LETTERS, LARGEST = 512, 256, 2**64
"""The most that is believed of a launcher: members of a list, letters of a label, and a number."""
LABELS = ("node", "namespace", "name")
KIBI, NANO = 1024.0, 1e-9
Counted: TypeAlias = Mapping[str, int | str | bool]
Table: TypeAlias = tuple[tuple[str, str, float, str], ...]
"""Metric without its prefix, libvirt's name, ours of its unit, text."""

DOMAIN: Table = (
    ("cpu_usage_seconds_total", "cpu.time", NANO, "CPU time of the guest and its hypervisor."),
    ("cpu_user_usage_seconds_total", "cpu.user", NANO, "CPU time in user mode."),
    ("cpu_system_usage_seconds_total", "cpu.system", NANO, "CPU time in the kernel."),
    ("memory_actual_balloon_bytes", "balloon.current", KIBI, "What the balloon leaves the guest."),
    ("memory_domain_bytes", "balloon.maximum", KIBI, "What the machine has."),
    ("memory_available_bytes", "balloon.available", KIBI, "What the guest sees."),
    ("memory_unused_bytes", "balloon.unused", KIBI, "What the guest has put to no use."),
    ("memory_usable_bytes", "balloon.usable", KIBI, "What the guest can use without swapping."),
    ("memory_cached_bytes", "balloon.disk_caches", KIBI, "What holds the guest's file caches."),
    ("memory_resident_bytes", "balloon.rss", KIBI, "What QEMU holds of the node's memory."),
    ("memory_swap_in_traffic_bytes", "balloon.swap_in", KIBI, "Read from the guest's swap."),
    ("memory_swap_out_traffic_bytes", "balloon.swap_out", KIBI, "Written to the guest's swap."),
    ("memory_pgmajfault_total", "balloon.major_fault", 1, "Page faults that needed a disk."),
    ("memory_pgminfault_total", "balloon.minor_fault", 1, "Page faults that needed none."),
)
VCPU_TIME: Table = (("vcpu_seconds_total", "time", NANO, "Running time of a virtual CPU."),)
VCPU: Table = (
    ("vcpu_wait_seconds_total", "wait", NANO, "Time that a virtual CPU has waited for input."),
    ("vcpu_delay_seconds_total", "delay", NANO, "Time that a virtual CPU has waited for a CPU."),
)
INTERFACE: Table = (
    ("network_receive_bytes_total", "rx.bytes", 1, "Received by the guest."),
    ("network_receive_packets_total", "rx.pkts", 1, "Received by the guest."),
    ("network_receive_errors_total", "rx.errs", 1, "Receptions that failed."),
    ("network_receive_packets_dropped_total", "rx.drop", 1, "Not taken by the guest."),
    ("network_transmit_bytes_total", "tx.bytes", 1, "Sent by the guest."),
    ("network_transmit_packets_total", "tx.pkts", 1, "Sent by the guest."),
    ("network_transmit_errors_total", "tx.errs", 1, "Transmissions that failed."),
    ("network_transmit_packets_dropped_total", "tx.drop", 1, "Not taken from the guest."),
)
TRAFFIC: dict[str, Table] = {
    way: (("network_traffic_bytes_total", f"{way}.bytes", 1, "Received and sent by the guest."),)
    for way in ("rx", "tx")
}
BLOCK: Table = (
    ("storage_iops_read_total", "rd.reqs", 1, "Reads."),
    ("storage_iops_write_total", "wr.reqs", 1, "Writes."),
    ("storage_read_traffic_bytes_total", "rd.bytes", 1, "Read."),
    ("storage_write_traffic_bytes_total", "wr.bytes", 1, "Written."),
    ("storage_read_times_seconds_total", "rd.times", NANO, "Time spent in reads."),
    ("storage_write_times_seconds_total", "wr.times", NANO, "Time spent in writes."),
    ("storage_flush_requests_total", "fl.reqs", 1, "Flushes."),
    ("storage_flush_times_seconds_total", "fl.times", NANO, "Time spent in flushes."),
)
LOADS = ("1m", "5m", "15m")
VCPU_STATES = {0: "offline", 1: "running", 2: "blocked"}


class Sample(NamedTuple):
    """One number of one guest."""

    metric: str
    text: str
    value: float
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Guest:
    """One guest as it was found."""

    namespace: str
    name: str
    measured: Measured
    filesystems: tuple[GuestFileSystem, ...] = ()
    load: tuple[float, float, float] | None = None
    """Both as the guest's agent tells them."""


class Measures(Collector):
    """Register it; `refresh` before each collection. `ask` is given what a launcher may take."""

    def __init__(self, node: str, ask: Callable[[], Iterable[Awaitable[Guest | None]]]) -> None:
        self._node = node
        self._ask = ask
        self._guests: list[Guest] = []
        self._asking = asyncio.Lock()
        self._asked = float("-inf")

    async def refresh(self) -> None:
        """Asks all launchers at once."""
        async with self._asking:
            now = asyncio.get_running_loop().time()
            if now < self._asked + FRESH:
                return
            self._asked = now
            answers = await asyncio.gather(*self._ask())
            self._guests = [guest for guest in answers if guest is not None]

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        yield from families(self._node, self._guests)


def families(node: str, guests: Iterable[Guest]) -> Iterator[Metric]:
    """What is known of the guests; what a guest does not tell has no sample."""
    made: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
    for guest in guests:
        whose = (node, guest.namespace, guest.name)
        for metric, text, value, labels in _samples(guest):
            if metric not in made:
                kind = CounterMetricFamily if metric.endswith("_total") else GaugeMetricFamily
                made[metric] = kind(f"kubevirt_vmi_{metric}", text, labels=(*LABELS, *labels))
            named = (label[:LETTERS] for label in labels.values())
            made[metric].add_metric((*whose, *named), value)
    yield from made.values()


def _samples(guest: Guest) -> Iterator[Sample]:
    told = guest.measured
    counted = told.counted
    yield from _of(counted, "", DOMAIN, {})
    available, usable = (_number(counted, f"balloon.{each}") for each in ("available", "usable"))
    if available is not None and usable is not None:
        text = "What the guest uses and cannot do without."
        yield Sample("memory_used_bytes", text, (available - usable) * KIBI, {})
    for cpu in _numbers(counted, "vcpu"):
        place = f"vcpu.{cpu}."
        number = _number(counted, f"{place}state")
        state = VCPU_STATES.get(int(number or 0), "unknown")
        if number is not None:
            yield Sample("vcpu", "The state of a virtual CPU.", 1, {"id": cpu, "state": state})
        yield from _of(counted, place, VCPU, {"id": cpu})
        yield from _of(counted, place, VCPU_TIME, {"id": cpu, "state": state})
    for index in _numbers(counted, "net"):
        place = f"net.{index}."
        device = str(counted.get(f"{place}name", ""))
        interface = told.interfaces.get(device, device)
        yield from _of(counted, place, INTERFACE, {"interface": interface})
        for way, table in TRAFFIC.items():
            yield from _of(counted, place, table, {"interface": interface, "type": way})
    for index in _numbers(counted, "block"):
        place = f"block.{index}."
        target = str(counted.get(f"{place}name", ""))
        file = str(counted.get(f"{place}path", ""))
        labels = {"drive": told.drives.get(target, target), "file_interface": file}
        yield from _of(counted, place, BLOCK, labels)
    if _believed(told.affinity) and told.affinity:
        text = "CPUs of the node that virtual CPUs may run on, summed over these."
        yield Sample("node_cpu_affinity", text, told.affinity, {})
    yield from _of_agent(guest)


def _of_agent(guest: Guest) -> Iterator[Sample]:
    for each in guest.filesystems[:MEMBERS]:
        where = {
            "disk_name": each.name,
            "mount_point": each.mount_point,
            "file_system_type": each.type,
        }
        for metric, text, size in (
            ("filesystem_capacity_bytes", "Size of a file system.", each.total),
            ("filesystem_used_bytes", "What is taken of it.", each.used),
        ):
            if _believed(size):
                yield Sample(metric, text, size, where)
    for span, load in zip(LOADS, guest.load or (), strict=False):
        if _believed(load):
            text = "Load of the guest: what runs, wants to, or waits for a disk."
            yield Sample(f"guest_load_{span}", text, load, {})


def _of(counted: Counted, place: str, table: Table, labels: Mapping[str, str]) -> Iterator[Sample]:
    for metric, key, unit, text in table:
        if (number := _number(counted, place + key)) is not None:
            yield Sample(metric, text, number * unit, labels)


def _number(counted: Counted, key: str) -> float | None:
    value = counted.get(key)
    return float(value) if isinstance(value, int) and _believed(value) else None


def _believed(value: float) -> bool:
    """What is no number at all is not either."""
    return abs(value) < LARGEST


def _numbers(counted: Counted, what: str) -> list[str]:
    """The members of a list, by their numbers: `vcpu.2.time` is of "2"."""
    found = {key.split(".")[1] for key in counted if key.startswith(f"{what}.")}
    numbers = (each for each in found if each.isdecimal() and len(each) <= len(str(MEMBERS)))
    return sorted(numbers, key=int)[:MEMBERS]
