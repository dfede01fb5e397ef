"""Threads that serve virtio disks apart from QEMU's main loop.

https://libvirt.org/formatdomain.html#iothreads-allocation
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import cycle

from virtpod.api.disks import Disk
from virtpod.api.traits import emulator_cpus, vcpus
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.xml import E, Element
from virtpod.features.contract import UNSUPPORTED, Cause, Feature

POLICIES = ("shared", "auto", "supplementalPool")


def asked(vmi: VMI) -> list[Disk]:
    """The virtio disks that threads serve."""
    disks = vmi.spec.domain.devices.disks or []
    if not vmi.spec.domain.io_threads_policy:
        disks = [disk for disk in disks if disk.dedicated_io_thread]
    return [disk for disk in disks if disk.disk and disk.disk.bus == "virtio"]


def unusable(vmi: VMI) -> Iterator[tuple[int, str]]:
    """Index and bus of disks that ask for a thread and cannot have one."""
    for index, disk in enumerate(vmi.spec.domain.devices.disks or ()):
        target = disk.disk or disk.cdrom or disk.lun
        bus = (target and target.bus) or "sata"
        if disk.dedicated_io_thread and bus != "virtio":
            yield index, bus


def wanted(vmi: VMI) -> bool:
    domain = vmi.spec.domain
    dedicated = any(disk.dedicated_io_thread for disk in domain.devices.disks or ())
    return bool(domain.io_threads_policy or domain.io_threads or dedicated)


def validate(part: bool, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    domain = vmi.spec.domain
    policy = domain.io_threads_policy
    if policy and policy not in POLICIES:
        yield Cause(
            "spec.domain.ioThreadsPolicy",
            f"Invalid IOThreadsPolicy ({policy}); one of {', '.join(POLICIES)}",
            UNSUPPORTED,
        )
    count = domain.io_threads and domain.io_threads.supplemental_pool_thread_count
    if policy == "supplementalPool" and not (count and count > 0):
        yield Cause(
            "spec.domain.ioThreads.supplementalPoolThreadCount",
            "the number of IOThreads must be more than 0 with policy supplementalPool",
        )
    if count and policy != "supplementalPool":
        yield Cause(
            "spec.domain.ioThreads.supplementalPoolThreadCount",
            "supplementalPoolThreadCount needs ioThreadsPolicy supplementalPool",
        )
    for index, bus in unusable(vmi):
        yield Cause(
            f"spec.domain.devices.disks[{index}]",
            f"IOThreads are not supported for disks on a {bus} bus",
            UNSUPPORTED,
        )


def _pool(vmi: VMI) -> int:
    """Threads that several disks have together."""
    domain = vmi.spec.domain
    if domain.io_threads_policy == "supplementalPool":
        return (domain.io_threads and domain.io_threads.supplemental_pool_thread_count) or 1
    others = sum(not disk.dedicated_io_thread for disk in asked(vmi))
    if domain.io_threads_policy == "auto":
        most = 1 if emulator_cpus(vmi) else 2 * vcpus(vmi)
        own = sum(bool(disk.dedicated_io_thread) for disk in asked(vmi))
        return max(1, min(others, most - own)) if others else 0
    return 1 if others else 0


def threads(vmi: VMI) -> tuple[int, dict[str, list[int]]]:
    """How many threads there are, and which serve each disk, by the disk's name."""
    pool = _pool(vmi)
    every = list(range(1, pool + 1))
    turns = cycle(every or [1])
    several = vmi.spec.domain.io_threads_policy == "supplementalPool"
    count, serving = pool, {}
    for disk in asked(vmi):
        if several:
            serving[disk.name] = every
        elif disk.dedicated_io_thread:
            count += 1
            serving[disk.name] = [count]
        else:
            serving[disk.name] = [next(turns)]
    return count, serving


def devices(part: bool, vmi: VMI, facts: Guest) -> Iterable[Element]:
    count, _ = threads(vmi)
    if count:
        yield E("iothreads", str(count))


def tune(part: bool, vmi: VMI, facts: Guest, domain: Element) -> None:
    _, serving = threads(vmi)
    for disk in domain.iterfind("devices/disk"):
        driver, alias = disk.find("driver"), disk.find("alias")
        name = "" if alias is None else alias.get("name", "").removeprefix("ua-")
        if driver is None or name not in serving:
            continue
        if vmi.spec.domain.io_threads_policy == "supplementalPool":
            driver.append(E("iothreads", *(E("iothread", id=each) for each in serving[name])))
            driver.set("queues", str(max(vcpus(vmi), len(serving[name]))))
        else:
            driver.set("iothread", str(serving[name][0]))


FEATURE = Feature(
    name="io_threads",
    owns=(
        "domain.ioThreads",
        "domain.ioThreadsPolicy",
        "domain.devices.disks.dedicatedIOThread",
    ),
    asked=wanted,
    validate=validate,
    devices=devices,
    tune=tune,
)
