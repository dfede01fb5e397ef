"""A launcher's pod, and one that holds a device for its guest, as far as virt-handler wants to know
them: small values out of their JSON."""

from __future__ import annotations

import signal
from typing import Any

import msgspec

from virtpod.controllers.lifecycle import FINAL
from virtpod.controllers.node_plug import Holder
from virtpod.controllers.node_seen import Pod
from virtpod.domain import network_status
from virtpod.domain.paths import LOCKS_MEMORY
from virtpod.features.guest.stopping import RESERVE
from virtpod.render import attachment

KIND = "VirtualMachineInstance"
GROUP = "kubevirt.io/"
KVM = "devices.kubevirt.io/kvm"
COMPUTE = "compute"
WORDS = 600
"""Characters of a container's last words that go into an event."""
BY_KUBELET = "TerminationByKubelet"
KILLED = 128
"""Exit codes above it: by the signal of that number more."""


class _Wire(msgspec.Struct, rename="camel"):
    pass


class _Owner(_Wire):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False


class _Metadata(_Wire):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    deletion_timestamp: str | None = None
    owner_references: list[_Owner] = []
    annotations: dict[str, str] = {}


class _Resources(_Wire):
    limits: dict[str, str | int | float] = {}


class _Container(_Wire):
    name: str
    resources: _Resources = msgspec.field(default_factory=_Resources)


class _Spec(_Wire):
    containers: list[_Container] = []
    termination_grace_period_seconds: int | None = None


class _Terminated(_Wire):
    exit_code: int = 0
    reason: str = ""
    message: str = ""


class _Waiting(_Wire):
    reason: str = ""
    message: str = ""


class _State(_Wire):
    running: Any = None
    terminated: _Terminated | None = None
    waiting: _Waiting | None = None


class _ContainerStatus(_Wire):
    name: str
    state: _State = msgspec.field(default_factory=_State)


class _Condition(_Wire):
    type: str
    status: str
    reason: str = ""
    message: str = ""


class _Address(_Wire):
    ip: str = ""


class _Claim(_Wire):
    name: str = ""
    resource_claim_name: str | None = None


class _Status(_Wire):
    phase: str = ""
    reason: str = ""
    message: str = ""
    pod_ips: list[_Address] = msgspec.field(default_factory=list, name="podIPs")
    conditions: list[_Condition] = []
    container_statuses: list[_ContainerStatus] = []
    resource_claim_statuses: list[_Claim] = []


class _Pod(_Wire):
    metadata: _Metadata
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)


_decoder = msgspec.json.Decoder(_Pod)


def project(raw: bytes) -> Pod:
    """For the informer. `vmi_uid` is empty where no VMI owns the pod: labels prove nothing."""
    pod = _decoder.decode(raw)
    owner = next(
        (
            each
            for each in pod.metadata.owner_references
            if each.controller and each.kind == KIND and each.api_version.startswith(GROUP)
        ),
        _Owner(),
    )
    compute = next((each for each in pod.spec.containers if each.name == COMPUTE), None)
    state = next(
        (each.state for each in pod.status.container_statuses if each.name == COMPUTE), _State()
    )
    return Pod(
        uid=pod.metadata.uid,
        name=pod.metadata.name,
        namespace=pod.metadata.namespace,
        vmi_name=owner.name,
        vmi_uid=owner.uid,
        ips=tuple(address.ip for address in pod.status.pod_ips if address.ip),
        ready=any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions),
        running=state.running is not None,
        ended=_ended(pod.status.phase, state),
        deleting=pod.metadata.deletion_timestamp is not None,
        locks=pod.metadata.annotations.get(LOCKS_MEMORY) == "true",
        kvm=compute is not None and KVM in compute.resources.limits,
        grace=max((pod.spec.termination_grace_period_seconds or 0) - 2 * RESERVE, 0),
        end=_end(pod.status, state),
        final=pod.status.phase in FINAL,
        ousted=bool(_ousted(pod.status)),
        claims={
            each.name: each.resource_claim_name
            for each in pod.status.resource_claim_statuses
            if each.resource_claim_name
        },
        networks=network_status.read(pod.metadata.annotations.get(network_status.ANNOTATION, "")),
    )


def project_holder(raw: bytes) -> Holder:
    """For the informer. `launcher` is empty where no pod owns it: labels prove nothing, and an
    owner little; what it was given, the kubelet tells."""
    pod = _decoder.decode(raw)
    owner = next((e for e in pod.metadata.owner_references if e.controller), _Owner())
    state = next((each.state for each in pod.status.container_statuses), _State())
    return Holder(
        uid=pod.metadata.uid,
        name=pod.metadata.name,
        namespace=pod.metadata.namespace,
        launcher=owner.uid if owner.kind == "Pod" else "",
        device=pod.metadata.annotations.get(attachment.DEVICE, ""),
        running=state.running is not None and pod.status.phase not in FINAL,
        going=pod.metadata.deletion_timestamp is not None,
        why=_delay(pod.status, state),
    )


def _delay(status: _Status, state: _State) -> str:
    """Why a pod does not run."""
    for each in status.conditions:
        if (each.type, each.status) == ("PodScheduled", "False"):
            return _line(each.message)[:WORDS]
    waiting = state.waiting or _Waiting()
    return _line(status.reason, status.message, waiting.message or waiting.reason)[:WORDS]


def _end(status: _Status, state: _State) -> str:
    """In one line; an evicted pod says why itself, a container by its exit."""
    if ousted := _ousted(status):  # what its containers said last is not why
        return ousted
    over = state.terminated or _Terminated()
    if over.exit_code > KILLED:  # the words are then the log's last, which know nothing of it
        said = f"virt-launcher was ended by {_signal(over.exit_code - KILLED)}"
    else:
        said = over.message if over.exit_code else ""
    reason = "" if over.reason in ("Completed", "Error") else over.reason
    return _line(reason, status.message, said[-WORDS:])


def _ousted(status: _Status) -> str:
    """Why the kubelet took the pod off its node, or did not let it stay; empty: it did not.

    https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions
    """
    for each in status.conditions:
        if (each.type, each.status, each.reason) == ("DisruptionTarget", "True", BY_KUBELET):
            return _line(each.message)[:WORDS]
    return _line(status.reason, status.message)[:WORDS] if status.reason else ""


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _line(*told: str) -> str:
    return "; ".join(" ".join(each.split()) for each in told if each)


def _ended(phase: str, state: _State) -> int | None:
    """The launcher's exit code, None while it may live."""
    if state.terminated is not None:
        return state.terminated.exit_code
    return {"Succeeded": 0, "Failed": 1}.get(phase)
