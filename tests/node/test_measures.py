"""Guests' metrics, out of what libvirt has counted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from prometheus_client import CollectorRegistry

from virtpod.kube.resources import Key
from virtpod.node.counts import Counts
from virtpod.node.measures import MEMBERS, Guest, Measures
from virtpod.wire.messages import GuestFileSystem, Measured

COUNTED: Mapping[str, int | str | bool] = {
    "cpu.time": 2_500_000_000,
    "balloon.current": 1024,
    "balloon.available": 1000,
    "balloon.usable": 600,
    "balloon.major_fault": 7,
    "vcpu.current": 2,
    "vcpu.maximum": 2,
    "vcpu.0.state": 1,
    "vcpu.0.time": 1_000_000_000,
    "vcpu.0.wait": 500_000_000,
    "vcpu.0.halted": True,
    "net.count": 1,
    "net.0.name": "tap0",
    "net.0.rx.bytes": 11,
    "net.0.tx.bytes": 12,
    "block.count": 2,
    "block.0.name": "vda",
    "block.0.path": "/disk.img",
    "block.0.rd.reqs": 3,
    "block.0.fl.times": 4_000_000_000,
    "block.1.name": "vdb",
    "block.1.rd.reqs": 5,
}
MEASURED = Measured(
    id=1,
    counted=dict(COUNTED),
    interfaces={"tap0": "default"},
    drives={"vda": "root"},
    affinity=8,
)


async def scraped(*guests: Guest | None) -> dict[str, float]:
    """The samples of virt-handler's metrics, as Prometheus reads them."""

    async def told(guest: Guest | None) -> Guest | None:
        await asyncio.sleep(0)
        return guest

    measures = Measures("node-1", lambda: [told(guest) for guest in guests])
    registry = CollectorRegistry()
    registry.register(measures)
    await measures.refresh()
    found = {}
    for sample in (sample for family in registry.collect() for sample in family.samples):
        assert [sample.labels.pop(each) for each in ("node", "namespace", "name")] == WHOSE
        labels = " ".join(f"{name}={value}" for name, value in sample.labels.items())
        found[f"{sample.name} {labels}".removeprefix("kubevirt_vmi_").strip()] = sample.value
    return found


WHOSE = ["node-1", "default", "demo"]


async def test_what_is_counted_is_told_in_base_units() -> None:
    disk = GuestFileSystem(name="vda1", mount_point="/", type="ext4", used=1, total=2)
    root = "drive=root file_interface=/disk.img"
    other = "drive=vdb file_interface="
    mounted = "disk_name=vda1 mount_point=/ file_system_type=ext4"
    assert await scraped(Guest("default", "demo", MEASURED, (disk,), (0.25, 1, 2))) == {
        "cpu_usage_seconds_total": 2.5,
        "memory_actual_balloon_bytes": 2**20,
        "memory_available_bytes": 1000 * 1024,
        "memory_usable_bytes": 600 * 1024,
        "memory_used_bytes": 400 * 1024,
        "memory_pgmajfault_total": 7,
        "node_cpu_affinity": 8,
        "guest_load_1m": 0.25,
        "guest_load_5m": 1,
        "guest_load_15m": 2,
        "vcpu id=0 state=running": 1,
        "vcpu_seconds_total id=0 state=running": 1,
        "vcpu_wait_seconds_total id=0": 0.5,
        "network_receive_bytes_total interface=default": 11,
        "network_transmit_bytes_total interface=default": 12,
        "network_traffic_bytes_total interface=default type=rx": 11,
        "network_traffic_bytes_total interface=default type=tx": 12,
        f"storage_iops_read_total {root}": 3,
        f"storage_flush_times_seconds_total {root}": 4,
        f"storage_iops_read_total {other}": 5,
        f"filesystem_capacity_bytes {mounted}": 2,
        f"filesystem_used_bytes {mounted}": 1,
    }


async def test_who_does_not_answer_is_left_out() -> None:
    assert await scraped(None) == {}
    bare = Measured(id=1, counted={"cpu.time": "nonsense", "vcpu.x.time": 1})
    assert await scraped(None, Guest("default", "demo", bare)) == {}


async def test_a_launcher_that_lies_spoils_nothing() -> None:
    many = {f"vcpu.{number}.time": 1 for number in range(2000)}
    mad = {"cpu.time": 10**400, "net.0.name": "x" * 10_000, "net.0.rx.bytes": 1}
    measured = Measured(id=1, counted={**many, **mad, "vcpu.\u0663.time": 1}, affinity=10**400)
    disks = [GuestFileSystem(name=f"vd{number}", total=number) for number in range(2000)]
    disks[0] = GuestFileSystem(name="vda", used=10**400, total=1)
    load = (float("nan"), float("inf"), 1.0)
    found = await scraped(Guest("default", "demo", measured, tuple(disks), load))
    assert "node_cpu_affinity" not in found
    assert [name for name in found if name.startswith("guest_load")] == ["guest_load_15m"]
    sizes = [name for name in found if name.startswith("filesystem_")]
    assert len(sizes) == 2 * MEMBERS - 1
    assert "cpu_usage_seconds_total" not in found
    assert sum(name.startswith("vcpu_seconds_total") for name in found) == MEMBERS
    assert max(map(len, found)) < 400


async def test_who_asks_all_the_time_is_told_what_is_known() -> None:
    asked = 0

    async def told() -> Guest | None:
        nonlocal asked
        asked += 1
        return None

    measures = Measures("node-1", lambda: [told()])
    await asyncio.gather(*(measures.refresh() for _ in range(5)))
    assert asked == 1


def test_looks_and_panics_are_counted_while_the_instance_is_there() -> None:
    registry = CollectorRegistry()
    counts, demo = Counts(registry), Key("team", "demo")
    whose = {"namespace": "team", "name": "demo"}
    counts.forget(demo)
    for _ in range(2):
        counts.synced({"metadata": whose})
    counts.panicked(demo)
    counts.deprecated("node1", ["pc-q35-4.1"])
    old = {"machine_type": "pc-q35-4.1", "node": "node1"}
    assert registry.get_sample_value("kubevirt_node_deprecated_machine_types", old) == 1
    told = {"type": "", "bugcheck_code": ""}
    assert registry.get_sample_value("kubevirt_vmi_sync_total", whose) == 2
    assert registry.get_sample_value("kubevirt_vmi_guest_os_panic_total", whose | told) == 1
    counts.forget(demo)
    assert registry.get_sample_value("kubevirt_vmi_sync_total", whose) is None
    assert registry.get_sample_value("kubevirt_vmi_guest_os_panic_total", whose | told) is None
