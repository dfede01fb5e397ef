"""What virt-handler knows of a pod before it prepares it: one probe, in the pod's namespace."""

from __future__ import annotations

from virtpod.api.vmi import VirtualMachineInstance
from virtpod.domain.facts import Host
from virtpod.features.network import KEPT, POD_LINK
from virtpod.node.steps.links import pod_link


def probe(node: str, vmi: VirtualMachineInstance) -> Host:
    """Blocks; the calling thread must be in the pod's network namespace."""
    link = pod_link(POD_LINK, KEPT)
    wanted = [network.name for network in vmi.spec.networks or () if network.pod]
    return Host(node=node, links=dict.fromkeys(wanted, link) if link else {})
