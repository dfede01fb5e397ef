"""Network cards that come and go while a guest runs, and their cables, virt-handler's part.

What the spec wants and the pod has links for is compared with what the domain shows; nothing is
remembered.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from virtpod.api.vmi import VirtualMachineInstance
from virtpod.features.network import PRIMARY, absent, joined, names
from virtpod.wire.messages import InterfaceSeen


@dataclass(frozen=True)
class Rewire:
    """Make ready what new cards want in the pod, have the guest get and lose cards and cables, take
    away what is left of those that went."""

    pod_uid: str


def ready(vmi: VirtualMachineInstance, pod_links: Collection[str]) -> VirtualMachineInstance:
    """The VMI without the interfaces that the pod has no link for (yet)."""
    waiting = {
        nic.name
        for _, nic, network in joined(vmi)
        if names(network) != PRIMARY and names(network).pod not in pod_links
    }
    devices = vmi.spec.domain.devices
    there = [nic for nic in devices.interfaces or () if nic.name not in waiting]
    domain = replace(vmi.spec.domain, devices=replace(devices, interfaces=there))
    return replace(vmi, spec=replace(vmi.spec, domain=domain))


def work(
    vmi: VirtualMachineInstance,
    pod_uid: str,
    pod_links: Collection[str],
    guest: Sequence[InterfaceSeen],
) -> Rewire | None:
    """None where all is as it should be. `pod_links`: the secondary links of the pod."""
    have = {seen.name: seen for seen in guest}
    for _, nic, network in joined(vmi):
        seen = have.get(nic.name)
        own = names(network)
        if absent(nic):
            wrong = seen is not None
        elif seen is None:
            wrong = bool(nic.bridge) and own != PRIMARY and own.pod in pod_links
        else:
            wrong = seen.down != (nic.state == "down")
        if wrong:
            return Rewire(pod_uid)
    return None
