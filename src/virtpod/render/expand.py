"""Instance types and preferences: from the VMI spec that a VM's user wrote to the whole one.

An instance type decides (what the VM says against it is a conflict), a preference fills in what is
left open. The rules: https://kubevirt.io/user-guide/user_workloads/instancetypes/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from virtpod.api.instancetype import VirtualMachineInstancetypeSpec
from virtpod.api.machine import CPU, Memory, ResourceRequirements
from virtpod.api.preference import VirtualMachinePreferenceSpec
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster
from virtpod.domain.quantity import binary, bytes_of
from virtpod.features.contract import Cause
from virtpod.features.disks import disk
from virtpod.features.network import interface
from virtpod.render import prefer

ALIASES = {
    "preferSockets": "sockets",
    "preferCores": "cores",
    "preferThreads": "threads",
    "preferSpread": "spread",
    "preferAny": "any",
}
"""Deprecated words for topologies."""
TOPOLOGIES = ("sockets", "cores", "threads", "spread", "any")
ACROSS = ("SocketsCores", "SocketsCoresThreads", "CoresThreads")
DEFAULT_RATIO = 2
THREADS = 2
"""Of each core, where a topology spreads over threads: no processor of today has another number."""

Topology = tuple[int, int, int]
"""Sockets, cores, threads."""


@dataclass(frozen=True)
class Choice:
    """What a VM refers to, as it was found."""

    instancetype: VirtualMachineInstancetypeSpec | None = None
    preference: VirtualMachinePreferenceSpec | None = None

    def __bool__(self) -> bool:
        return self.instancetype is not None or self.preference is not None


@dataclass(frozen=True)
class Named:
    """What virt-api has found out about the instance type and the preference that a VM names."""

    choice: Choice = field(default_factory=Choice)
    matchers: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)
    """`spec.instancetype` and `spec.preference` as they shall be: with their kinds, inferred from
    a volume, or None where the volume says nothing and need not."""
    causes: tuple[Cause, ...] = ()
    frees_memory: bool = False
    """The template's memory was for the case that a volume names no instance type; one does."""


def expand(choice: Choice, vmi: VMI, cluster: Cluster) -> None:
    """Fills the spec and the annotations of a VMI in which nothing conflicts, in place.

    Raises ValueError where the CPUs cannot be spread as the preference wants.
    """
    if (given := choice.instancetype) is not None:
        _take(given, vmi)
    _shape(choice, vmi)
    if choice.preference is not None:
        disk.attach(vmi)
        interface.attach(vmi, cluster)
        prefer.fill(choice.preference, vmi)


def problems(choice: Choice, vmi: VMI) -> list[Cause]:
    """Why a VMI cannot take both: conflicts, CPUs that cannot be spread, needs that are not met.

    Fields are relative to the VMI, or `instancetype` and `preference` where those are at fault.
    """
    causes = [
        Cause(path, f"VM field(s) spec.template.{path} conflicts with selected instance type")
        for path in (_conflicts(choice.instancetype, vmi) if choice.instancetype else ())
    ]
    try:
        _cpus(choice, vmi)
    except ValueError as error:
        causes.append(Cause("instancetype" if choice.instancetype else "preference", str(error)))
    return [*causes, *_unmet(choice, vmi)]


# What the instance type decides.


def _conflicts(given: VirtualMachineInstancetypeSpec, vmi: VMI) -> Iterator[str]:
    """Paths of what both say."""
    spec, domain = vmi.spec, vmi.spec.domain
    cpu, memory = domain.cpu or CPU(), domain.memory or Memory()
    pairs: list[tuple[str, Any, Any]] = [
        *((f"spec.domain.cpu.{name}", True, getattr(cpu, name)) for name in _SHAPE),
        *(
            (f"spec.domain.cpu.{path}", getattr(given.cpu, theirs), getattr(cpu, ours))
            for path, theirs, ours in _CPU
        ),
        ("spec.domain.memory.guest", True, memory.guest),
        ("spec.domain.memory.hugepages", given.memory.hugepages, memory.hugepages),
        ("spec.domain.memory.maxGuest", given.memory.max_guest, memory.max_guest),
        *_resources(given, domain.resources or ResourceRequirements()),
        ("spec.domain.ioThreadsPolicy", given.io_threads_policy, domain.io_threads_policy),
        ("spec.domain.ioThreads", given.io_threads, domain.io_threads),
        ("spec.domain.launchSecurity", given.launch_security, domain.launch_security),
        ("spec.domain.devices.gpus", given.gpus, domain.devices.gpus),
        ("spec.domain.devices.hostDevices", given.host_devices, domain.devices.host_devices),
        ("spec.nodeSelector", given.node_selector, spec.node_selector),
        ("spec.schedulerName", given.scheduler_name, spec.scheduler_name),
    ]
    yield from (path for path, theirs, ours in pairs if theirs and ours)
    said = vmi.metadata.annotations or {}
    for name, value in (given.annotations or {}).items():
        if said.get(name, value) != value:
            yield f"metadata.annotations.{name}"


_SHAPE = ("sockets", "cores", "threads")
_CPU = (
    ("model", "model", "model"),
    ("dedicatedCpuPlacement", "dedicated_cpu_placement", "dedicated_cpu_placement"),
    ("isolateEmulatorThread", "isolate_emulator_thread", "isolate_emulator_thread"),
    ("numa", "numa", "numa"),
    ("realtime", "realtime", "realtime"),
    ("maxSockets", "max_sockets", "max_sockets"),
)
"""The path below `domain.cpu`, and the field of either side."""


def _resources(
    given: VirtualMachineInstancetypeSpec, said: ResourceRequirements
) -> Iterator[tuple[str, Any, Any]]:
    for name in ("cpu", "memory"):
        for kind, values in (("requests", said.requests), ("limits", said.limits)):
            yield f"spec.domain.resources.{kind}.{name}", True, (values or {}).get(name)


def _take(given: VirtualMachineInstancetypeSpec, vmi: VMI) -> None:
    spec, domain = vmi.spec, vmi.spec.domain
    cpu = domain.cpu = domain.cpu or CPU()
    for _, theirs, ours in _CPU:
        if (value := getattr(given.cpu, theirs)) is not None:
            setattr(cpu, ours, value)
    memory = domain.memory = domain.memory or Memory()
    memory.guest = given.memory.guest
    memory.hugepages = given.memory.hugepages or memory.hugepages
    memory.max_guest = given.memory.max_guest or memory.max_guest
    if percent := given.memory.overcommit_percent:
        resources = domain.resources = domain.resources or ResourceRequirements()
        asked = bytes_of(given.memory.guest) * (100 - percent) // 100
        resources.requests = {**(resources.requests or {}), "memory": binary(asked)}
    domain.io_threads_policy = given.io_threads_policy or domain.io_threads_policy
    domain.io_threads = given.io_threads or domain.io_threads
    domain.launch_security = given.launch_security or domain.launch_security
    domain.devices.gpus = given.gpus or domain.devices.gpus
    domain.devices.host_devices = given.host_devices or domain.devices.host_devices
    spec.node_selector = given.node_selector or spec.node_selector
    spec.scheduler_name = given.scheduler_name or spec.scheduler_name
    if given.annotations:
        vmi.metadata.annotations = {**given.annotations, **(vmi.metadata.annotations or {})}


# What becomes of the CPUs.


def _shape(choice: Choice, vmi: VMI) -> None:
    shape = _cpus(choice, vmi)
    if shape is not None:
        cpu = vmi.spec.domain.cpu = vmi.spec.domain.cpu or CPU()
        cpu.sockets, cpu.cores, cpu.threads = shape


def _cpus(choice: Choice, vmi: VMI) -> Topology | None:
    """The topology; None: what the VM says stands. A preference alone spreads plain sockets."""
    cpu = vmi.spec.domain.cpu or CPU()
    wanted = _topology(choice.preference)
    if choice.instancetype is not None:
        count = choice.instancetype.cpu.guest
    elif wanted == "spread" and not (cpu.cores or 1) * (cpu.threads or 1) > 1:
        count = cpu.sockets or 1
        if count == 1:
            return None
    else:
        return None
    if wanted == "cores":
        return 1, count, 1
    if wanted == "threads":
        return 1, 1, count
    if wanted == "spread" and choice.preference is not None:
        return _spread(count, choice.preference)
    return count, 1, 1


def _topology(preference: VirtualMachinePreferenceSpec | None) -> str:
    said = preference and preference.cpu and preference.cpu.preferred_cpu_topology
    return ALIASES.get(said, said) if said else "sockets"


def _spread(count: int, preference: VirtualMachinePreferenceSpec) -> Topology:
    options = preference.cpu and preference.cpu.spread_options
    across = (options and options.across) or "SocketsCores"
    ratio = (
        (options and options.ratio)
        or preference.prefer_spread_socket_to_core_ratio
        or DEFAULT_RATIO
    )
    cores, threads = {
        "SocketsCores": (ratio, 1),
        "SocketsCoresThreads": (ratio, THREADS),
        "CoresThreads": (count // THREADS, THREADS),
    }[across]
    if count < cores * threads or count % (cores * threads or 1) or not cores:
        raise ValueError(
            f"{count} vCPUs cannot be spread across {across} with {max(cores, 1)} cores and "
            f"{threads} threads: ask for a multiple of {max(cores, 1) * threads}"
        )
    return count // (cores * threads), cores, threads


# What a preference needs.


def _unmet(choice: Choice, vmi: VMI) -> Iterable[Cause]:
    needs = choice.preference and choice.preference.requirements
    if not needs:
        return
    domain = vmi.spec.domain
    chosen = choice.instancetype
    giver = "instance type" if chosen else "VirtualMachine"
    if needs.cpu:
        cpu = domain.cpu or CPU()
        said = (cpu.sockets or 1) * (cpu.cores or 1) * (cpu.threads or 1)
        have = chosen.cpu.guest if chosen else said
        if have < needs.cpu.guest:
            yield Cause(
                "instancetype" if chosen else "spec.domain.cpu",
                f"insufficient CPU resources of {have} vCPU provided by {giver}, "
                f"preference requires {needs.cpu.guest} vCPU",
            )
    if needs.memory:
        guest = chosen.memory.guest if chosen else (domain.memory and domain.memory.guest)
        if bytes_of(guest or 0) < bytes_of(needs.memory.guest):
            yield Cause(
                "instancetype" if chosen else "spec.domain.memory",
                f"insufficient Memory resources of {guest or 0} provided by {giver}, "
                f"preference requires {needs.memory.guest}",
            )
    if needs.architecture and needs.architecture != (vmi.spec.architecture or "amd64"):
        yield Cause(
            "spec.architecture",
            f"preference requires architecture {needs.architecture} but "
            f"{vmi.spec.architecture or 'amd64'} is being requested",
        )
