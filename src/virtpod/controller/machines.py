"""Metrics of the machines themselves, from the caches, under the names that dashboards know.

Made when they are asked for, and by the replica that leads: summed over replicas they count once.
Labels: https://kubevirt.io/monitoring/metrics.html
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from virtpod.api.vm import VirtualMachine
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.controller import outfit
from virtpod.controller.held import Held, HeldNode
from virtpod.controllers.updating import OUTDATED
from virtpod.kube.resources import Key, Obj
from virtpod.kube.store import Informer

T = TypeVar("T")

NONE = "<none>"
NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_]")
OVERHEAD = "kubevirt.io/memory-overhead-bytes"
"""Annotation of launchers' pods."""
STATES = {
    "Running": "running",
    "Paused": "running",
    "Starting": "starting",
    "Provisioning": "starting",
    "WaitingForVolumeBinding": "starting",
    "Migrating": "migrating",
    "Stopped": "non_running",
    "Stopping": "non_running",
    "Terminating": "non_running",
}
"""By printable status: KubeVirt's group of states; what is not here is an error."""
GROUPS = ("error", "migrating", "non_running", "running", "starting")
VM_LABELS = (
    *("name", "namespace", "os", "workload", "flavor", "machine_type"),
    *("instance_type", "preference", "status", "status_group"),
)
PHASE_LABELS = ("phase", "os", "workload", "flavor", "instance_type", "preference")
VMI_LABELS = (
    *("node", "namespace", "name", "phase", "os", "workload", "flavor"),
    *("instance_type", "preference"),
    *("guest_os_kernel_release", "guest_os_machine", "guest_os_arch"),
    *("guest_os_name", "guest_os_version_id"),
    *("evictable", "outdated", "vmi_pod"),
)


class _Metadata(msgspec.Struct, rename="camel"):
    name: str
    namespace: str
    annotations: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class _Condition(msgspec.Struct, rename="camel"):
    type: str
    status: str
    last_transition_time: str | None = None


class _OS(msgspec.Struct, rename="camel"):
    kernel_release: str = ""
    machine: str = ""
    name: str = ""
    version_id: str = ""


class _Machine(msgspec.Struct, rename="camel"):
    type: str = ""


class _VMIStatus(msgspec.Struct, rename="camel"):
    phase: str = ""
    node_name: str = ""
    conditions: list[_Condition] | None = None
    guest_os_info: _OS | None = msgspec.field(default=None, name="guestOSInfo")
    machine: _Machine | None = None


class _VMISpec(msgspec.Struct, rename="camel"):
    eviction_strategy: str | None = None


class _VMI(msgspec.Struct):
    metadata: _Metadata
    spec: _VMISpec
    status: _VMIStatus = msgspec.field(default_factory=_VMIStatus)


class _Matcher(msgspec.Struct):
    name: str = ""


class _VMSpec(msgspec.Struct):
    instancetype: _Matcher | None = None
    preference: _Matcher | None = None


class _VMStatus(msgspec.Struct, rename="camel"):
    printable_status: str = ""
    conditions: list[_Condition] | None = None


class _VM(msgspec.Struct):
    metadata: _Metadata
    spec: _VMSpec
    status: _VMStatus = msgspec.field(default_factory=_VMStatus)


class _PodMetadata(msgspec.Struct):
    annotations: dict[str, str] | None = None


class _Pod(msgspec.Struct):
    metadata: _PodMetadata


_pod = msgspec.json.Decoder(_Pod)
_vm, _vmi = msgspec.json.Decoder(_VM), msgspec.json.Decoder(_VMI)


class Machines(Collector):
    """Register it; nothing is told while `leading` says no."""

    def __init__(
        self,
        vms: Informer[Held],
        vmis: Informer[Held],
        pods: Informer[Held],
        nodes: Informer[HeldNode],
        leading: Callable[[], bool],
        claims: Callable[[Key], Obj | None] = lambda _key: None,
    ) -> None:
        """`pods` can be found by their `owner`'s uid; `claims`: what is known of one."""
        self._vms, self._vmis, self._pods, self._nodes = vms, vmis, pods, nodes
        self._leading = leading
        self._claims = claims

    def describe(self) -> Iterable[Any]:
        return ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        if not self._leading():
            return
        yield from of_vms([_vm.decode(held.raw) for held in self._vms.values()])
        yield from of_vmis(
            [(_vmi.decode(held.raw), self._pod_of(held.uid)) for held in self._vmis.values()]
        )
        yield of_launchers(
            (key.namespace, key.name, _overhead(pod))
            for key, held in self._vmis.items()
            for pod in self._pods.by("owner", held.uid)[:1]
        )
        yield from outfit.of_vms(_whole(self._vms, VirtualMachine), self._claims)
        yield from outfit.of_vmis(_whole(self._vmis, VirtualMachineInstance))
        yield from outfit.of_nodes(self._nodes.values())

    def _pod_of(self, uid: str) -> str:
        return next((key.name for key in self._pods.keys_by("owner", uid)), "")


def _whole(store: Informer[Held], kind: type[T]) -> Iterator[T]:
    """One after the other: thousands of trees at once would be hundreds of MiB. What cannot be read
    is from before our rules, and has no metrics."""
    for held in store.values():
        with suppress(msgspec.ValidationError):
            yield msgspec.json.decode(held.raw, type=kind)


def of_vms(vms: Iterable[_VM]) -> Iterator[GaugeMetricFamily]:
    info = GaugeMetricFamily("kubevirt_vm_info", "A virtual machine.", labels=VM_LABELS)
    count = GaugeMetricFamily(
        "kubevirt_number_of_vms", "Virtual machines, by namespace.", labels=("namespace",)
    )
    since = {
        group: GaugeMetricFamily(
            f"kubevirt_vm_{group}_status_last_transition_timestamp_seconds",
            f"Since when a virtual machine's state is of the group {group}; 0: it is not.",
            labels=("name", "namespace"),
        )
        for group in GROUPS
    }
    numbers: Counter[str] = Counter()
    known = list(vms)
    for vm in known:
        name, namespace = vm.metadata.name, vm.metadata.namespace
        status = vm.status.printable_status
        group = STATES.get(status, "error")
        numbers[namespace] += 1
        annotations = vm.metadata.annotations or {}
        info.add_metric(
            [
                *(name, namespace, *_kind(annotations), NONE),
                vm.spec.instancetype.name if vm.spec.instancetype else NONE,
                vm.spec.preference.name if vm.spec.preference else NONE,
                *(status.lower(), group),
            ],
            1,
        )
        for each, family in since.items():
            family.add_metric((name, namespace), _last(vm.status) if each == group else 0)
    for namespace, number in numbers.items():
        count.add_metric((namespace,), number)
    yield from (info, count, *since.values(), of_labels(known))


def of_labels(vms: Iterable[_VM]) -> GaugeMetricFamily:
    """Each machine's labels, as kube-state-metrics shows those of pods: `label_`, and `_` for what
    a name must not have. Where two become one, the later get a number."""
    family = GaugeMetricFamily("kubevirt_vm_labels", "A virtual machine's labels.")
    for vm in vms:
        said = {"name": vm.metadata.name, "namespace": vm.metadata.namespace}
        for name, value in sorted((vm.metadata.labels or {}).items()):
            label = wanted = f"label_{NOT_IN_NAMES.sub('_', name)}"
            number = 0
            while label in said:
                number += 1
                label = f"{wanted}_conflict{number}"
            said[label] = value
        family.add_sample(family.name, said, 1)
    return family


def of_launchers(pods: Iterable[tuple[str, str, float | None]]) -> GaugeMetricFamily:
    """By namespace and name of the instance: what its pod was made with."""
    family = GaugeMetricFamily(
        "kubevirt_vmi_launcher_memory_overhead_bytes",
        "What the pod asks for beside the guest's memory.",
        labels=("namespace", "name"),
    )
    for namespace, name, overhead in pods:
        if overhead is not None:
            family.add_metric((namespace, name), overhead)
    return family


def _overhead(pod: Held) -> float | None:
    """Bytes; None of a pod that does not say it."""
    with suppress(msgspec.DecodeError, ValueError):
        said = (_pod.decode(pod.raw).metadata.annotations or {}).get(OVERHEAD)
        return float(said) if said else None
    return None


def of_vmis(vmis: Iterable[tuple[_VMI, str]]) -> Iterator[GaugeMetricFamily]:
    """Each with its pod's name."""
    info = GaugeMetricFamily("kubevirt_vmi_info", "An instance that is there.", labels=VMI_LABELS)
    phases = GaugeMetricFamily(
        "kubevirt_vmi_phase_count",
        "Instances, by node and phase.",
        labels=("node", *PHASE_LABELS),
    )
    each_phase = GaugeMetricFamily(
        "kubevirt_vmi_phase",
        "The phase that an instance is in.",
        labels=("node", "namespace", "name", *PHASE_LABELS),
    )
    stuck = GaugeMetricFamily(
        "kubevirt_vmi_non_evictable",
        "1: the instance shall migrate when its node is drained, and cannot.",
        labels=("node", "namespace", "name"),
    )
    numbers: Counter[tuple[str, ...]] = Counter()
    for vmi, pod in vmis:
        annotations, status = vmi.metadata.annotations or {}, vmi.status
        guest = status.guest_os_info or _OS()
        phase = status.phase.lower()
        movable = any(
            each.type == "LiveMigratable" and each.status == "True"
            for each in status.conditions or ()
        )
        taken = tuple(
            annotations.get(f"kubevirt.io/{which}-name")
            or annotations.get(f"kubevirt.io/cluster-{which}-name")
            or NONE
            for which in ("instancetype", "preference")
        )
        kind = _kind(annotations)
        info.add_metric(
            [
                *(status.node_name, vmi.metadata.namespace, vmi.metadata.name, phase),
                *kind,
                *taken,
                *(guest.kernel_release, guest.machine, guest.machine, guest.name),
                guest.version_id,
                str(movable).lower(),
                str(OUTDATED in (vmi.metadata.labels or {})).lower(),
                pod or NONE,
            ],
            1,
        )
        numbers[status.node_name, phase, *kind, *taken] += 1
        whose = (status.node_name, vmi.metadata.namespace, vmi.metadata.name)
        each_phase.add_metric((*whose, phase, *kind, *taken), 1)
        held = vmi.spec.eviction_strategy == "LiveMigrate" and not movable
        stuck.add_metric(whose, float(held))
    for labels, number in numbers.items():
        phases.add_metric(labels, number)
    yield from (info, each_phase, phases, stuck)


def _kind(annotations: dict[str, str]) -> tuple[str, str, str]:
    """Operating system, workload and flavour, as templates have noted them."""
    found = (annotations.get(f"vm.kubevirt.io/{name}") for name in ("os", "workload", "flavor"))
    first, second, third = (each or NONE for each in found)
    return first, second, third


def _last(status: _VMStatus) -> float:
    """Seconds since 1970 of the latest change of a condition."""
    times = [each.last_transition_time for each in status.conditions or ()]
    seconds = [datetime.fromisoformat(each).timestamp() for each in times if each]
    return max(seconds, default=0)
