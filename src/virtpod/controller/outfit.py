"""Metrics of what machines have: sizes, networks, addresses; and of what nodes offer them.

Names and labels: https://kubevirt.io/monitoring/metrics.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import TypeAlias

from prometheus_client.core import GaugeMetricFamily

from virtpod.api.base import Quantity
from virtpod.api.domain import DomainSpec
from virtpod.api.network import Interface
from virtpod.api.vm import VirtualMachine
from virtpod.api.vmi import VirtualMachineInstance, VirtualMachineInstanceSpec
from virtpod.controller.held import HeldNode
from virtpod.controllers import node
from virtpod.controllers.updating import OUTDATED
from virtpod.domain import quantity
from virtpod.features.disks import claim
from virtpod.kube.resources import Key, Obj

VM_LABELS = ("name", "namespace")
VMI_LABELS = ("node", "namespace", "name")
SIZE_LABELS = ("resource", "unit")
NIC_LABELS = ("vnic_name", "binding_type", "network", "binding_name", "model")
UNITS = {"cpu": "cores", "memory": "bytes"}
BINDINGS = ("masquerade", "bridge", "sriov", "passt_binding")
KVM = "devices.kubevirt.io/kvm"
Size: TypeAlias = tuple[str, str, str, float]
"""Resource, unit, where it is said, how much."""


def _unknown(claim: Key) -> Obj | None:
    return None


def of_vms(
    vms: Iterable[VirtualMachine], claims: Callable[[Key], Obj | None] = _unknown
) -> Iterator[GaugeMetricFamily]:
    """`claims`: what is known of one, as a VMI's status has it."""
    created = GaugeMetricFamily(
        "kubevirt_vm_create_date_timestamp_seconds", "When it was made.", labels=VM_LABELS
    )
    requests = GaugeMetricFamily(
        "kubevirt_vm_resource_requests",
        "What a virtual machine asks for, and where it says so.",
        labels=(*VM_LABELS, *SIZE_LABELS, "source"),
    )
    limits = GaugeMetricFamily(
        "kubevirt_vm_resource_limits", "The most it may use.", labels=(*VM_LABELS, *SIZE_LABELS)
    )
    nics = GaugeMetricFamily(
        "kubevirt_vm_vnic_info", "A network interface.", labels=(*VM_LABELS, *NIC_LABELS)
    )
    disks = GaugeMetricFamily(
        "kubevirt_vm_disk_allocated_size_bytes",
        "What the claim behind a disk asks for.",
        labels=(*VM_LABELS, "persistentvolumeclaim", "volume_mode", "device"),
    )
    for vm in vms:
        metadata, spec = vm.metadata, vm.spec.template.spec
        whose = (metadata.name or "", metadata.namespace or "")
        if metadata.creation_timestamp:
            born = datetime.fromisoformat(str(metadata.creation_timestamp))
            created.add_metric(whose, born.timestamp())
        if spec is None:
            continue
        for resource, unit, source, size in _requests(spec.domain):
            requests.add_metric((*whose, resource, unit, source), size)
        given = spec.domain.resources
        for resource, unit, _, size in _amounts((given and given.limits) or {}, ""):
            limits.add_metric((*whose, resource, unit), size)
        for nic in _interfaces(spec):
            nics.add_metric((*whose, *nic), 1)
        for *disk, size in _disks(spec, metadata.namespace or "", claims):
            disks.add_metric((*whose, *disk), size)
    yield from (created, requests, limits, nics, disks)


def _disks(
    spec: VirtualMachineInstanceSpec, namespace: str, claims: Callable[[Key], Obj | None]
) -> Iterator[tuple[str, str, str, float]]:
    """Claim, volume mode, disk and bytes of each volume whose claim is there."""
    for volume in spec.volumes or ():
        name = claim(volume)
        known = claims(Key(namespace, name)) if name else None
        if known is None:
            continue
        size = ((known.get("requests") or known.get("capacity")) or {}).get("storage")
        with suppress(ValueError):
            if size is not None:
                mode, bytes_ = known.get("volumeMode") or "", float(quantity.parse(size))
                yield name, mode, volume.name, bytes_


def of_vmis(vmis: Iterable[VirtualMachineInstance]) -> Iterator[GaugeMetricFamily]:
    nics = GaugeMetricFamily(
        "kubevirt_vmi_vnic_info", "A network interface.", labels=(*VMI_LABELS, *NIC_LABELS)
    )
    addresses = GaugeMetricFamily(
        "kubevirt_vmi_status_addresses",
        "An address of an instance.",
        labels=(*VMI_LABELS, "vnic_name", "interface_name", "address", "type"),
    )
    outdated = 0
    for vmi in vmis:
        metadata, status = vmi.metadata, vmi.status
        whose = (status.node_name or "", metadata.namespace or "", metadata.name or "")
        outdated += OUTDATED in (metadata.labels or {})
        for nic in _interfaces(vmi.spec):
            nics.add_metric((*whose, *nic), 1)
        for interface in status.interfaces or ():
            place = (interface.name or "", interface.interface_name or "")
            for address in interface.ip_addresses or ():
                addresses.add_metric((*whose, *place, address, "InternalIP"), 1)
    number = GaugeMetricFamily(
        "kubevirt_vmi_number_of_outdated", "Instances in pods of an older version."
    )
    number.add_metric((), outdated)
    yield from (nics, addresses, number)


def of_nodes(nodes: Iterable[HeldNode]) -> Iterator[GaugeMetricFamily]:
    known = list(nodes)
    for name, text, number in (
        (
            "kubevirt_allocatable_nodes",
            "Nodes that guests may come to.",
            sum(each.metadata.labels.get(node.SCHEDULABLE) == "true" for each in known),
        ),
        (
            "kubevirt_nodes_allocatable",
            "The same, by its newer name.",
            sum(each.metadata.labels.get(node.SCHEDULABLE) == "true" for each in known),
        ),
        (
            "kubevirt_non_schedulable_nodes",
            "Nodes with a virt-handler that guests may not come to.",
            sum(each.metadata.labels.get(node.SCHEDULABLE) == "false" for each in known),
        ),
        (
            "kubevirt_nodes_with_kvm",
            "Nodes that offer KVM.",
            sum(str(each.status.allocatable.get(KVM, "0")) != "0" for each in known),
        ),
    ):
        family = GaugeMetricFamily(name, text)
        family.add_metric((), number)
        yield family


def _requests(domain: DomainSpec) -> Iterator[Size]:
    given, memory, cpu = domain.resources, domain.memory, domain.cpu
    for resource, unit, _, size in _amounts((given and given.requests) or {}, ""):
        yield resource, unit, "requests" if resource == "cpu" else "domain", size
    if memory and memory.guest is not None:
        yield from _amounts({"memory": memory.guest}, "guest")
    counts = {each: getattr(cpu, each, None) for each in ("cores", "sockets", "threads")}
    for unit, count in counts.items():
        if count:
            yield "cpu", unit, "domain", count
    if not any(counts.values()) and not (given and (given.requests or {}).get("cpu")):
        yield "cpu", "cores", "default", 1


def _amounts(given: dict[str, Quantity], source: str) -> Iterator[Size]:
    for resource, unit in UNITS.items():
        # Objects from before our rules may hold anything.
        with suppress(KeyError, ValueError):
            yield resource, unit, source, float(quantity.parse(given[resource]))


def _interfaces(spec: VirtualMachineInstanceSpec) -> Iterator[tuple[str, ...]]:
    networks = {each.name: each for each in spec.networks or ()}
    for interface in spec.domain.devices.interfaces or ():
        network = networks.get(interface.name)
        multus = network and network.multus
        name = multus.network_name if multus else "pod networking"
        yield interface.name, *_binding(interface, name), interface.model or "<none>"


def _binding(interface: Interface, network: str) -> tuple[str, str, str]:
    if interface.binding is not None:
        return "plugin", network, interface.binding.name
    core = next((each for each in BINDINGS if getattr(interface, each) is not None), "")
    return "core", network, core.removesuffix("_binding") or "<none>"
