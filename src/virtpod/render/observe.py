"""Status fields of a running VMI, from its domain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.network_status import Attached
from virtpod.features import ALL
from virtpod.features.network import PRIMARY, joined, names
from virtpod.wire.messages import DomainChanged, InterfaceSeen


def observe(
    vmi: VMI, domain: DomainChanged, pod_ips: Sequence[str], networks: Sequence[Attached] = ()
) -> dict[str, Any]:
    """The fields to set below `status`, in JSON's names and values.

    The primary interface shows the pod's addresses: they are what reaches the guest. `networks`:
    what Multus noted of the pod.
    """
    status: dict[str, Any] = {}
    interfaces: list[dict[str, Any]] = []
    for feature in ALL:
        if feature.observe and (part := feature.asked(vmi)):
            told = feature.observe(part, vmi, domain)
            interfaces += told.pop("interfaces", ())
            status.update(told)
    places = {nic.name: place for place, nic, _ in joined(vmi)}
    interfaces.sort(key=lambda each: places[each["name"]])
    primary = {network.name for _, _, network in joined(vmi) if names(network) == PRIMARY}
    for each in interfaces:
        if each["name"] in primary and pod_ips:
            each |= {"ipAddress": pod_ips[0], "ipAddresses": list(pod_ips)}
        if any(seen.interface == each["podInterfaceName"] for seen in networks):
            each["infoSource"] += ", multus-status"
    others = [_only_agents(each) for each in domain.interfaces if not each.name]
    return {**status, "interfaces": [*interfaces, *others]}


def _only_agents(seen: InterfaceSeen) -> dict[str, Any]:
    """An interface that the guest made itself."""
    shown: dict[str, Any] = {
        "mac": seen.mac,
        "interfaceName": seen.interface_name,
        "infoSource": seen.source,
    }
    if seen.addresses:
        shown |= {"ipAddress": seen.addresses[0], "ipAddresses": list(seen.addresses)}
    return shown


def blocks_migration(vmi: VMI, domain: DomainChanged) -> list[str]:
    """Why the guest cannot move to another node; empty: it can."""
    return [
        reason
        for feature in ALL
        if feature.blocks_migration and (part := feature.asked(vmi))
        if (reason := feature.blocks_migration(part, vmi, domain))
    ]
