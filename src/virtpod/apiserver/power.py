"""Deciding start, stop and restart of a VirtualMachine. Pure.

What a request does depends on the run strategy: `Always`, `Halted` and `Once` are changed in the
spec; `Manual` and `RerunOnFailure` leave the spec alone and record the wish in the status, where
virt-controller carries it out. https://kubevirt.io/user-guide/compute/run_strategies/
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from virtpod.api.vm import VirtualMachine
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.controllers.lifecycle import FINAL

Json = dict[str, Any]


class NotNow(Exception):
    """The VM's state does not allow it (409)."""


@dataclass(frozen=True)
class Change:
    """Merge patches to apply, in the order of the fields; empty ones are left out. The first one
    of the VM carries the version that the decision rests on."""

    vmi: Json = field(default_factory=dict)
    vm: Json = field(default_factory=dict)
    status: Json = field(default_factory=dict)


def strategy(vm: VirtualMachine) -> str:
    """The run strategy, also where the deprecated `running` says it."""
    if vm.spec.run_strategy:
        return vm.spec.run_strategy
    return "Always" if vm.spec.running else "Halted"


def alive(vmi: VirtualMachineInstance | None) -> bool:
    """Whether the VMI is there and not at its end."""
    return vmi is not None and vmi.status.phase not in FINAL


def start(vm: VirtualMachine, vmi: VirtualMachineInstance | None, *, paused: bool) -> Change:
    """Raises NotNow."""
    if alive(vmi):
        raise NotNow("VM is already running")
    if _recovery_needed(vm):
        raise NotNow("VM recovery required: a volume migration has failed")
    current = strategy(vm)
    match current:
        case "Halted" if not paused:
            return Change(vm=_turned(vm, on=True), status=_forget_failure(vm))
        case "Halted":
            return Change(status=_requests(vm, [_wish_start(paused)]))
        case "Manual" | "RerunOnFailure":
            if vmi is None:
                wishes = [_wish_start(paused)]
            elif current == "RerunOnFailure" and vmi.status.phase == "Failed":
                raise NotNow("RerunOnFailure does not support starting VM from failed state")
            else:
                wishes = [_wish_stop(vmi), _wish_start(paused)]
            return Change(status=_requests(vm, wishes))
        case _:
            raise NotNow(f"{current} does not support manual start requests")


def stop(vm: VirtualMachine, vmi: VirtualMachineInstance | None, *, grace: int | None) -> Change:
    """`grace`: seconds the guest is given instead of what its spec says. Raises NotNow."""
    shorter = _with_grace(vmi, grace) if alive(vmi) and grace is not None else {}
    current = strategy(vm)
    match current:
        case "Always" | "Once":
            return Change(vmi=shorter, vm=_turned(vm, on=False))
        case "Manual" | "RerunOnFailure":
            if vmi is None or not alive(vmi):
                raise NotNow("VM is not running")
            return Change(vmi=shorter, status=_requests(vm, [_wish_stop(vmi)], replace=True))
        case _:
            if vmi is None or not alive(vmi):
                raise NotNow("VM is not running")
            # The VM is on its way down already: the only thing left to ask for is haste.
            given = vmi.spec.termination_grace_period_seconds
            if grace is None or (given is not None and grace >= given):
                raise NotNow(
                    f"{current} only supports manual stop requests with a shorter graceperiod"
                )
            return Change(vmi=shorter, status=_requests(vm, [_wish_stop(vmi)], replace=True))


def restart(vm: VirtualMachine, vmi: VirtualMachineInstance | None, *, force: bool) -> Change:
    """`force`: the guest is given one second. Raises NotNow."""
    current = strategy(vm)
    if current in ("Halted", "Once"):
        raise NotNow(f"RunStategy {current} does not support manual restart requests")
    if vmi is None or not alive(vmi):
        raise NotNow("VM is not running: Halted")
    return Change(
        vmi=_with_grace(vmi, 1) if force else {},
        status=_requests(vm, [_wish_stop(vmi), _wish_start(False)], replace=True),
    )


def _wish_start(paused: bool) -> Json:
    return {"action": "Start", "data": {"paused": "true"}} if paused else {"action": "Start"}


def _wish_stop(vmi: VirtualMachineInstance) -> Json:
    return {"action": "Stop", "uid": vmi.metadata.uid}


def _requests(vm: VirtualMachine, wishes: list[Json], *, replace: bool = False) -> Json:
    if vm.status.state_change_requests and not replace:
        raise NotNow("unable to complete request: stop/start already underway")
    return _same_version(vm, {"status": {"stateChangeRequests": wishes, **_no_failure(vm)}})


def _forget_failure(vm: VirtualMachine) -> Json:
    failure = _no_failure(vm)
    # Without the version: the spec's patch, which goes before, has made it an old one.
    return {"status": failure} if failure else {}


def _no_failure(vm: VirtualMachine) -> Json:
    return {"startFailure": None} if vm.status.start_failure else {}


def _turned(vm: VirtualMachine, *, on: bool) -> Json:
    if vm.spec.run_strategy is None:
        return _same_version(vm, {"spec": {"running": on}})
    return _same_version(vm, {"spec": {"runStrategy": "Always" if on else "Halted"}})


def _with_grace(vmi: VirtualMachineInstance | None, grace: int) -> Json:
    assert vmi is not None
    # The uid pins the instance: a successor of the same name keeps its own grace period.
    return {
        "metadata": {"uid": vmi.metadata.uid},
        "spec": {"terminationGracePeriodSeconds": grace},
    }


def _same_version(vm: VirtualMachine, patch: Json) -> Json:
    return {"metadata": {"resourceVersion": vm.metadata.resource_version}, **patch}


def _recovery_needed(vm: VirtualMachine) -> bool:
    return any(
        condition.type == "ManualRecoveryRequired" and condition.status == "True"
        for condition in vm.status.conditions or ()
    )
