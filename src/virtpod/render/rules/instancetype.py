"""Instance types and preferences, a namespace's or the cluster's: what makes a machine."""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.instancetype import VirtualMachineClusterInstancetype, VirtualMachineInstancetype
from virtpod.api.preference import (
    CPUPreferences,
    VirtualMachineClusterPreference,
    VirtualMachinePreference,
)
from virtpod.domain.quantity import bytes_of
from virtpod.features.contract import Cause
from virtpod.render.expand import ACROSS, ALIASES, TOPOLOGIES
from virtpod.render.rules import Asked, Rules
from virtpod.render.rules._common import one_of

Instancetype = VirtualMachineInstancetype | VirtualMachineClusterInstancetype
Preference = VirtualMachinePreference | VirtualMachineClusterPreference


def _instancetype(asked: Asked[Instancetype]) -> Iterable[Cause]:
    spec = asked.new.spec
    cpu, memory = spec.cpu, spec.memory
    if cpu.guest < 1:
        yield Cause("spec.cpu.guest", "spec.cpu.guest must be at least 1")
    if cpu.max_sockets is not None and cpu.max_sockets < cpu.guest:
        where = "spec.cpu.maxSockets"
        yield Cause(where, f"{where} must not be smaller than spec.cpu.guest")
    sizes = {}
    for name, value in (("guest", memory.guest), ("maxGuest", memory.max_guest)):
        where = f"spec.memory.{name}"
        if value is None:
            continue
        try:
            sizes[name] = bytes_of(value)
        except ValueError as error:
            yield Cause(where, f"{where}: {error}")
        else:
            if sizes[name] <= 0:
                yield Cause(where, f"{where} '{value}': must be greater than 0.")
    if sizes.get("maxGuest", sizes.get("guest", 0)) < sizes.get("guest", 0):
        where = "spec.memory.maxGuest"
        yield Cause(where, f"{where} must not be smaller than spec.memory.guest")
    percent = memory.overcommit_percent
    if percent is not None:
        where = "spec.memory.overcommitPercent"
        if not 0 <= percent <= 100:
            yield Cause(where, f"{where} must be from 0 to 100")
        if percent and memory.hugepages:
            yield Cause(
                where,
                "spec.memory.overcommitPercent and spec.memory.hugepages should not be requested "
                "together.",
            )


def _instancetype_warnings(asked: Asked[Instancetype]) -> Iterable[str]:
    if asked.new.spec.launch_security is not None:
        yield (
            "spec.launchSecurity of an instance type is deprecated: "
            "set preferredLaunchSecurity of a preference"
        )


def _preference(asked: Asked[Preference]) -> Iterable[Cause]:
    spec = asked.new.spec
    if spec.cpu is not None:
        yield from _cpu(spec.cpu)
    ratio = spec.prefer_spread_socket_to_core_ratio
    if ratio is not None and ratio < 0:
        where = "spec.preferSpreadSocketToCoreRatio"
        yield Cause(where, f"{where} must not be negative")
    grace = spec.preferred_termination_grace_period_seconds
    if grace is not None and grace < 0:
        where = "spec.preferredTerminationGracePeriodSeconds"
        yield Cause(where, f"{where} must not be negative")


def _cpu(cpu: CPUPreferences) -> Iterable[Cause]:
    where = "spec.cpu.preferredCPUTopology"
    yield from one_of(where, cpu.preferred_cpu_topology, (*TOPOLOGIES, *ALIASES))
    options = cpu.spread_options
    if options is None:
        return
    yield from one_of("spec.cpu.spreadOptions.across", options.across, ACROSS)
    if options.ratio is not None and options.ratio < 1:
        where = "spec.cpu.spreadOptions.ratio"
        yield Cause(where, f"{where} must be at least 1")


def _preference_warnings(asked: Asked[Preference]) -> Iterable[str]:
    spec = asked.new.spec
    word = spec.cpu and spec.cpu.preferred_cpu_topology
    if word in ALIASES:
        yield f"spec.cpu.preferredCPUTopology {word} is deprecated: use {ALIASES[word]}"
    firmware = spec.firmware
    for name, given in (
        ("preferredUseEfi", firmware and firmware.preferred_use_efi),
        ("preferredUseSecureBoot", firmware and firmware.preferred_use_secure_boot),
    ):
        if given is not None:
            yield f"spec.firmware.{name} is deprecated: use spec.firmware.preferredEfi"
    if spec.prefer_spread_socket_to_core_ratio is not None:
        yield ("spec.preferSpreadSocketToCoreRatio is deprecated: use spec.cpu.spreadOptions.ratio")


INSTANCETYPES = Rules(VirtualMachineInstancetype, _instancetype, warnings=_instancetype_warnings)
CLUSTER_INSTANCETYPES = Rules(
    VirtualMachineClusterInstancetype, _instancetype, warnings=_instancetype_warnings
)
PREFERENCES = Rules(VirtualMachinePreference, _preference, warnings=_preference_warnings)
CLUSTER_PREFERENCES = Rules(
    VirtualMachineClusterPreference, _preference, warnings=_preference_warnings
)
