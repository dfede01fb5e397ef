"""Deciding whether a claim may take a dump of a guest's memory. Pure."""

from __future__ import annotations

import re
from typing import Any

from virtpod.api.vm import VirtualMachine, VirtualMachineMemoryDumpRequest
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.apiserver.power import Change, NotNow
from virtpod.controllers.memory_dump import (
    ASSOCIATING,
    DISSOCIATING,
    OVER,
)
from virtpod.domain.quantity import binary, bytes_of
from virtpod.features.disks import claim as claim_of
from virtpod.features.machine.memory import guest
from virtpod.kube.resources import Obj

REST = 100 * 2**20
"""Bytes beside the guest's memory: the file's own records, and what its devices have of memory."""
NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""Of a volume: the claim becomes one of its own name."""
FORGOTTEN = ("startTimestamp", "endTimestamp", "fileName", "message", "remove")


def take(vm: VirtualMachine, vmi: VirtualMachineInstance | None, claim: str, found: Obj) -> Change:
    """`found`: the claim. Raises NotNow."""
    if vmi is None or vmi.status.phase != "Running":
        raise NotNow("VMI is not running")
    _check_claim(vmi, claim, found)
    template = vm.spec.template and vm.spec.template.spec
    for volume in (template and template.volumes) or ():
        if claim_of(volume) == claim or (volume.name == claim and not volume.memory_dump):
            raise NotNow(f"pvc [{claim}] cannot take a memory dump: volume {volume.name} has it")
    before = vm.status.memory_dump_request
    if before is not None:
        _check_association(before, claim)
    return _requested(vm, claim, ASSOCIATING)


def _check_claim(vmi: VirtualMachineInstance, claim: str, found: Obj) -> None:
    spec = found.get("spec") or {}
    if not NAME.fullmatch(claim):
        raise NotNow(f"pvc name [{claim}] must be a DNS label to be a volume's name too")
    if spec.get("volumeMode") == "Block":
        raise NotNow("pvc should be filesystem pvc")
    modes = spec.get("accessModes") or []
    if modes and set(modes) <= {"ReadOnlyMany"}:
        raise NotNow("pvc access mode can't be read only")
    capacity = (found.get("status") or {}).get("capacity") or {}
    requests = (spec.get("resources") or {}).get("requests") or {}
    size = capacity.get("storage") or requests.get("storage") or "0"
    wanted = needed(vmi)
    if bytes_of(size) < wanted:
        raise NotNow(f"pvc size [{size}] should be bigger then [{binary(wanted)}]")


def needed(vmi: VirtualMachineInstance) -> int:
    """Bytes that a dump can have."""
    return guest(vmi) + REST


def _check_association(before: VirtualMachineMemoryDumpRequest, claim: str) -> None:
    if before.claim_name != claim:
        raise NotNow(
            f"can't request memory dump for pvc [{claim}] while pvc [{before.claim_name}] is "
            "still associated as the memory dump pvc"
        )
    if before.phase not in OVER:
        raise NotNow(f"memory dump request for pvc [{claim}] already in progress")


def forget(vm: VirtualMachine) -> Change:
    """Raises NotNow."""
    before = vm.status.memory_dump_request
    if before is None:
        raise NotNow(
            f"can't remove memory dump association for vm {vm.metadata.name}, no association found"
        )
    return _requested(vm, before.claim_name, DISSOCIATING, remove=True)


def _requested(vm: VirtualMachine, claim: str, phase: str, **more: Any) -> Change:
    request = {**dict.fromkeys(FORGOTTEN), "claimName": claim, "phase": phase, **more}
    version = {"resourceVersion": vm.metadata.resource_version}
    return Change(status={"metadata": version, "status": {"memoryDumpRequest": request}})
