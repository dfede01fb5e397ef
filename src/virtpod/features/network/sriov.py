"""A virtual function of the node's network card as the guest's own.

The NetworkAttachmentDefinition names a resource, whose device plugin gives the pod a function; the
CNI plugin sets it up, and Multus notes in the pod which it is. Or a resource claim is allotted one,
and its driver sets it up.

https://github.com/k8snetworkplumbingwg/sriov-cni
https://github.com/k8snetworkplumbingwg/device-info-spec
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.network import Interface, Network
from virtpod.api.traits import VFIO_OVERHEAD, brought_devices
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster, DeviceMissing, Guest
from virtpod.domain.xml import E, Element, pci_address
from virtpod.features.contract import UNSUPPORTED, Cause, Feature, Json, PodPart
from virtpod.features.network import at, joined, names, seen_as
from virtpod.wire.messages import DomainChanged

Part = list[tuple[int, Interface, Network]]


def asked(vmi: VMI) -> Part:
    return [(index, nic, net) for index, nic, net in joined(vmi) if nic.sriov]


def validate(part: Part, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    for index, nic, network in part:
        if network.pod:
            where = f"spec.domain.devices.interfaces[{index}].sriov"
            yield Cause(
                where,
                f"{where}: {nic.name} is the pod's network; SR-IOV needs one of kind multus, whose "
                "NetworkAttachmentDefinition names the card's resource, or resourceClaim",
                UNSUPPORTED,
            )


def pod(part: Part, vmi: VMI, cluster: Cluster) -> PodPart:
    # Where there are others, feature host_devices reckons it.
    return PodPart(overhead=0 if brought_devices(vmi) else VFIO_OVERHEAD)


def devices(part: Part, vmi: VMI, facts: Guest) -> Iterable[Element]:
    for _, nic, network in part:
        yield E(
            "hostdev",
            E("source", _source(_function(nic, network, facts))),
            E("boot", order=nic.boot_order) if nic.boot_order else None,
            E("alias", name=f"ua-sriov-{nic.name}"),
            E("acpi", index=nic.acpi_index) if nic.acpi_index else None,
            pci_address(nic.pci_address) if nic.pci_address else None,
            mode="subsystem",
            type="pci",
            managed=False,
        )


def _function(nic: Interface, network: Network, facts: Guest) -> str:
    """Its address on the node. Raises DeviceMissing."""
    if claim := network.resource_claim:
        found = facts.claimed.get(f"{claim.claim_name}/{claim.request_name}") or ()
        if len(found) == 1 and found[0].kind == "pci":
            return found[0].address
        raise DeviceMissing(
            f"{nic.name}: request {claim.request_name} of claim {claim.claim_name} is to be one "
            f"PCI device, but {len(found)} are known; its DRA driver must publish attribute "
            "resource.kubernetes.io/pciBusID"
        )
    if given := at(facts, network).pci:
        return given
    raise DeviceMissing(
        f"{nic.name}: Multus noted no PCI device for network {network.name}; the CNI plugin must "
        "tell device-info, and the NetworkAttachmentDefinition name the resource "
        "(k8s.v1.cni.cncf.io/resourceName)"
    )


def _source(address: str) -> Element:
    domain, bus, rest = address.split(":")
    slot, function = rest.split(".")
    return E(
        "address",
        domain=f"0x{domain}",
        bus=f"0x{bus}",
        slot=f"0x{slot}",
        function=f"0x{function}",
    )


def observe(part: Part, vmi: VMI, domain: DomainChanged) -> Json:
    return {"interfaces": [seen_as(nic, vmi, domain, names(net).pod) for _, nic, net in part]}


def blocks_migration(part: Part, vmi: VMI, domain: DomainChanged) -> str | None:
    own = {each.name: each for each in domain.devices}
    stuck = [nic.name for _, nic, _ in part if nic.name not in own or not own[nic.name].moves]
    if not stuck:
        return None
    return (
        "InterfaceNotLiveMigratable: it has functions of its node's network card whose driver "
        f"does not save their state: {', '.join(stuck)}"
    )


FEATURE = Feature(
    name="sriov",
    owns=("domain.devices.interfaces.sriov", "networks.resourceClaim"),
    asked=asked,
    validate=validate,
    pod=pod,
    devices=devices,
    observe=observe,
    blocks_migration=blocks_migration,
)
