"""What virt-handler knows of a pod before it prepares it: one probe, in the pod's namespace."""

from __future__ import annotations

from dataclasses import replace

from virtpod.api.vmi import VirtualMachineInstance
from virtpod.domain.facts import Host
from virtpod.features.network import PRIMARY, joined, names
from virtpod.node.steps.links import pod_link


def probe(known: Host, vmi: VirtualMachineInstance) -> Host:
    """Blocks; the calling thread must be in the pod's network namespace."""
    found = {}
    for _, _, network in joined(vmi):
        own = names(network)
        link = pod_link(own.pod, own.kept, primary=own == PRIMARY)
        if link is not None:
            found[network.name] = link
    return replace(known, links=found)
