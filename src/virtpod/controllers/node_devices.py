"""Devices of the node that a guest has and that are not well: what its VMI says of them.

virt-handler finds which devices ail and which pods have them; here that becomes the condition
HostDevicesHealthy, and an event each time it changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from virtpod.api.traits import own_devices
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.controllers import conditions
from virtpod.controllers.conditions import Condition

HEALTHY = "HostDevicesHealthy"


@dataclass(frozen=True, order=True)
class Ailing:
    """A device that a pod has and that is not well."""

    resource: str
    """Of a device plugin, or the driver of a claim."""
    addresses: tuple[str, ...]
    """As the launcher was told: PCI addresses, uuids, USB bus:device."""
    reason: str
    message: str


def condition(
    vmi: VirtualMachineInstance,
    ailing: Sequence[Ailing],
    addresses: Mapping[str, str],
) -> Condition | None:
    """None where the guest has no such devices. `addresses`: of each device, as the guest's domain
    has them (`DomainChanged`)."""
    if not own_devices(vmi):
        return None
    if not ailing:
        return conditions.new(HEALTHY, "True")
    reasons = {each.reason for each in ailing}
    message = "; ".join(
        f"{_named(vmi, each, addresses)} ({', '.join(each.addresses)}): {each.message}"
        for each in sorted(ailing)
    )
    reason = reasons.pop() if len(reasons) == 1 else "SeveralFaults"
    return conditions.new(HEALTHY, "False", reason, message)


def _named(vmi: VirtualMachineInstance, ailing: Ailing, addresses: Mapping[str, str]) -> str:
    """The device's name in the spec; where the domain does not tell, those of its resource."""
    devices = vmi.spec.domain.devices
    asked = {
        each.name: each.device_name
        for each in (*(devices.gpus or ()), *(devices.host_devices or ()))
    }
    # Which resource a network's function is of its NetworkAttachmentDefinition says.
    asked |= {nic.name: None for nic in devices.interfaces or () if nic.sriov}
    found = {
        name if name in asked else name.rpartition("-")[0]
        for name, address in addresses.items()
        if address in ailing.addresses
    }
    found = found or {name for name, resource in asked.items() if resource == ailing.resource}
    return " or ".join(sorted(found)) or ailing.resource
