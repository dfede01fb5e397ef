"""The guest's memory, and the resources that its pod asks for.

https://libvirt.org/formatdomain.html#memory-allocation
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from virtpod.api import traits
from virtpod.api.base import Quantity
from virtpod.api.machine import Memory
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.paths import LOCKS_MEMORY
from virtpod.domain.quantity import binary, bytes_of
from virtpod.domain.xml import E, Element
from virtpod.features.contract import (
    REQUIRED,
    UNSUPPORTED,
    Cause,
    Feature,
    Json,
    PodPart,
    always,
)
from virtpod.wire.messages import DomainChanged

SMALLEST = 10**6
MOST = 2**43
"""8 TiB: what a guest of QEMU can address without further settings."""


LOCK_GATE = "ReservedOverheadMemlock"
LOCKS = ("Required", "NotRequired")
MEMFD = "kubevirt.io/memfd"
"""Annotation that, "false", keeps huge pages from being opened by a memory file: the kernel's
accounts of those pages are then the mount's."""


def guest(vmi: VMI) -> int:
    """Bytes of memory the guest starts with; 0 where nothing is said."""
    domain = vmi.spec.domain
    if domain.memory and domain.memory.guest is not None:
        return bytes_of(domain.memory.guest)
    resources = domain.resources
    for given in (resources and resources.requests, resources and resources.limits):
        if given and "memory" in given:
            return bytes_of(given["memory"])
    return 0


def defaults(part: VMI, vmi: VMI, cluster: Cluster) -> None:
    domain = vmi.spec.domain
    try:
        size = guest(vmi)
    except ValueError:
        return  # validate() says so
    if size:
        memory = domain.memory = domain.memory or Memory()
        if memory.guest is None:
            memory.guest = binary(size)


def validate(part: VMI, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    domain = vmi.spec.domain
    resources = domain.resources
    sizes: dict[str, int] = {}
    given: dict[str, Quantity | None] = {
        "spec.domain.memory.guest": domain.memory.guest if domain.memory else None,
        "spec.domain.resources.requests.memory": ((resources and resources.requests) or {}).get(
            "memory"
        ),
        "spec.domain.resources.limits.memory": ((resources and resources.limits) or {}).get(
            "memory"
        ),
    }
    for field, value in given.items():
        if value is None:
            continue
        try:
            sizes[field] = bytes_of(value)
        except ValueError as error:
            yield Cause(field, f"{field}: {error}")
            return
        if sizes[field] <= 0:
            yield Cause(field, f"{field} '{value}': must be greater than 0.")
        elif sizes[field] > MOST:
            yield Cause(field, f"{field} '{value}': more than 8Ti does not work.")
    requested = sizes.get("spec.domain.resources.requests.memory")
    limit = sizes.get("spec.domain.resources.limits.memory")
    if not sizes:
        yield Cause(
            "spec.domain.memory.guest",
            "no memory requested, at least one of 'spec.domain.memory.guest', "
            "'spec.domain.memory.hugepages.size' or 'spec.domain.resources.requests.memory' "
            "must be set",
            REQUIRED,
        )
    for field in ("spec.domain.memory.guest", "spec.domain.resources.requests.memory"):
        if 0 < sizes.get(field, 0) < SMALLEST:
            yield Cause(field, f"{field} '{given[field]}': must be greater than or equal to 1M.")
    if requested is not None and limit is not None and requested > limit:
        yield Cause(
            "spec.domain.resources.requests.memory",
            f"spec.domain.resources.requests.memory "
            f"'{given['spec.domain.resources.requests.memory']}' is greater than "
            f"spec.domain.resources.limits.memory '{given['spec.domain.resources.limits.memory']}'",
        )
    yield from _validate_hugepages(vmi, sizes)
    yield from _validate_overhead(vmi)
    yield from _validate_lock(vmi, cluster)
    wanted = sizes.get("spec.domain.memory.guest")
    if wanted is not None and limit is not None and wanted > limit:
        yield Cause(
            "spec.domain.memory.guest",
            f"spec.domain.memory.guest '{given['spec.domain.memory.guest']}' must be equal to or "
            f"less than the memory limit "
            f"'{given['spec.domain.resources.limits.memory']}'",
        )


def _validate_hugepages(vmi: VMI, sizes: Mapping[str, int]) -> Iterable[Cause]:
    memory = vmi.spec.domain.memory
    page = hugepage(vmi)
    where = "spec.domain.memory.hugepages.pageSize"
    if memory and memory.hugepages and not page:
        yield Cause(where, f"{where} must be given, such as 2Mi or 1Gi", REQUIRED)
    if not page:
        return
    try:
        size = bytes_of(page)
    except ValueError as error:
        yield Cause(where, f"{where}: {error}")
        return
    total = sizes.get("spec.domain.memory.guest") or sizes.get(
        "spec.domain.resources.requests.memory", 0
    )
    if size <= 0 or size & (size - 1):
        yield Cause(where, f"{where} '{page}': must be a power of two, such as 2Mi or 1Gi")
    elif total < size:
        yield Cause(where, f"{where} '{page}' must be equal to or smaller than the guest's memory")
    elif total % size:
        yield Cause(
            where, f"the guest's memory is not a multiple of the page size {where} '{page}'"
        )


def _validate_overhead(vmi: VMI) -> Iterable[Cause]:
    where = "spec.domain.memory.reservedOverhead.addedOverhead"
    try:
        added = _reserved(vmi)
    except ValueError as error:
        yield Cause(where, f"{where}: {error}")
        return
    if added < 0:
        yield Cause(where, f"{where} must be greater than or equal to 0, such as 64Mi")


def _validate_lock(vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    memory = vmi.spec.domain.memory
    given = memory.reserved_overhead.mem_lock if memory and memory.reserved_overhead else None
    where = "spec.domain.memory.reservedOverhead.memLock"
    if given is None:
        return
    if LOCK_GATE not in cluster.gates:
        yield Cause(where, f"{LOCK_GATE} feature gate is not enabled", UNSUPPORTED)
    if given not in LOCKS:
        message = f"{where} {given!r} is not known; one of {', '.join(LOCKS)}"
        yield Cause(where, message, UNSUPPORTED)


def requested(vmi: VMI, cluster: Cluster) -> int:
    """Bytes that the pod asks for on behalf of the guest, without overhead."""
    resources = vmi.spec.domain.resources
    if resources and resources.requests and "memory" in resources.requests:
        return bytes_of(resources.requests["memory"])
    developer = cluster.config.developer_configuration
    overcommit = (developer and developer.memory_overcommit) or 100
    return guest(vmi) * 100 // overcommit


def pod(part: VMI, vmi: VMI, cluster: Cluster) -> PodPart:
    resources = vmi.spec.domain.resources
    limits = (resources and resources.limits) or {}
    asked = requested(vmi, cluster)
    added = _reserved(vmi)
    if page := hugepage(vmi):
        # The guest's memory is pages of their own kind; what is left for the pod is the overhead.
        name = f"hugepages-{page}"
        size = str(guest(vmi))
        return PodPart(
            requests={"memory": "0", name: size},
            limits={"memory": "0", name: size} if traits.dedicated(vmi) else {name: size},
            overhead=asked // 512 + added,
            annotations=_locks(vmi),
        )
    return PodPart(
        requests={"memory": str(asked)},
        limits=_limits(vmi, limits, asked),
        overhead=asked // 512 + added,  # page tables
        annotations=_locks(vmi),
    )


def _limits(vmi: VMI, given: Mapping[str, Quantity], asked: int) -> dict[str, str]:
    """The user's; for dedicated CPUs as much as is asked for: the kubelet gives them to pods alone
    whose limits are their requests."""
    if traits.dedicated(vmi):
        return {"memory": str(asked)}
    return {"memory": str(bytes_of(given["memory"]))} if "memory" in given else {}


def _locks(vmi: VMI) -> dict[str, str]:
    """Tells virt-handler that QEMU may lock memory, before libvirt starts in the pod."""
    cpu, memory = vmi.spec.domain.cpu, vmi.spec.domain.memory
    reserved = memory and memory.reserved_overhead
    locked = bool(cpu and cpu.realtime) or bool(reserved and reserved.mem_lock == LOCKS[0])
    return {LOCKS_MEMORY: "true"} if locked else {}


def devices(part: VMI, vmi: VMI, facts: Guest) -> Iterable[Element]:
    yield E("memory", str(guest(vmi)), unit="b")
    backing = list(_backing(vmi))
    if backing:
        yield E("memoryBacking", *backing)


def hugepage(vmi: VMI) -> str:
    """The size of the pages that the guest's memory is made of; "" for ordinary ones."""
    memory = vmi.spec.domain.memory
    return (memory and memory.hugepages and memory.hugepages.page_size) or ""


def _reserved(vmi: VMI) -> int:
    memory = vmi.spec.domain.memory
    given = memory and memory.reserved_overhead
    return bytes_of(given.added_overhead) if given and given.added_overhead else 0


def _backing(vmi: VMI) -> Iterable[Element]:
    cpu = vmi.spec.domain.cpu
    if page := hugepage(vmi):
        yield E("hugepages", E("page", size=bytes_of(page), unit="b"))
        if (vmi.metadata.annotations or {}).get(MEMFD) != "false":
            yield E("source", type="memfd")
    if cpu and cpu.realtime:
        yield E("nosharepages")
        yield E("locked")


def observe(part: VMI, vmi: VMI, domain: DomainChanged) -> Json:
    size = binary(guest(vmi))
    return {"memory": {"guestAtBoot": size, "guestCurrent": size, "guestRequested": size}}


FEATURE = Feature(
    name="memory",
    owns=(
        "domain.memory.guest",
        "domain.memory.hugepages",
        "domain.memory.reservedOverhead",
        "domain.resources",
    ),
    asked=always,
    defaults=defaults,
    validate=validate,
    pod=pod,
    devices=devices,
    observe=observe,
)
