"""Network binding plugins: bindings that others supply, by what the KubeVirt object registers.

Three parts, each may be missing: a CNI plugin, that Multus calls (`multus.py`); a side-car, that
changes the domain (`guest/hooks.py`); and a way of ours to join the guest: `tap`, a device that the
CNI plugin made, or `managedTap`, a bridge and a tap device that virt-handler makes.

https://kubevirt.io/user-guide/network/network_binding_plugins/
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.network import Interface, Network
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain import paths, quantity
from virtpod.domain.facts import Cluster, Guest, Host, PodLink
from virtpod.domain.steps import Bridge, HostStep, Sysctl, TakeOver, Tap
from virtpod.domain.xml import Element
from virtpod.features.contract import NOT_FOUND, Cause, Feature, Json, PodPart
from virtpod.features.network import MANAGED_TAP, at, ethernet, joined, names, queues, seen_as
from virtpod.features.network._plugins import (
    INFO_ANNOTATION,
    INFO_FILE,
    INFO_VOLUME,
    registered,
    used,
)
from virtpod.wire.messages import DomainChanged

Part = list[tuple[int, Interface, Network]]


def asked(vmi: VMI) -> Part:
    return [(index, nic, net) for index, nic, net in joined(vmi) if nic.binding]


def validate(part: Part, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    known = registered(cluster)
    for index, nic, _ in part:
        name = nic.binding.name if nic.binding else ""
        if name not in known:
            where = f"spec.domain.devices.interfaces[{index}].binding.name"
            yield Cause(
                where,
                f"{where}: network binding plugin {name!r} is not registered; the KubeVirt object "
                f"has {', '.join(sorted(known)) or 'none'} in spec.configuration.network.binding",
                NOT_FOUND,
            )


def pod(part: Part, vmi: VMI, cluster: Cluster) -> PodPart:
    plugins = {id(plugin): plugin for _, _, plugin in used(vmi, cluster)}.values()
    wanted = [plugin.compute_resource_overhead for plugin in plugins]
    memory = [(each.requests or each.limits or {}).get("memory", 0) for each in wanted if each]
    informed = any(plugin.downward_api == "device-info" for plugin in plugins)
    return PodPart(
        volumes=(_info(),) if informed else (),
        overhead=sum(int(quantity.parse(each)) for each in memory),
    )


def _info() -> Json:
    field = {"fieldPath": f"metadata.annotations['{INFO_ANNOTATION}']"}
    items = [{"path": INFO_FILE, "fieldRef": field}]
    return {"name": INFO_VOLUME, "downwardAPI": {"items": items}}


def host(part: Part, vmi: VMI, facts: Host) -> Iterable[HostStep]:
    managed = [each for each in part if _way(each[1], facts) == MANAGED_TAP]
    if managed:
        yield Sysctl("net.ipv4.conf.all.arp_ignore", "1")
    for _, _, network in managed:
        own = names(network)
        link = facts.links.get(network.name, PodLink(own.pod))
        yield Bridge(own.bridge, "", link.mtu)
        yield TakeOver(link, own.kept, own.bridge)
        yield Tap(own.tap, own.bridge, link.mtu, paths.QEMU_UID, queues(vmi))


def _way(nic: Interface, facts: Host) -> str:
    """Raises ValueError where the plugin is not known (any more)."""
    name = nic.binding.name if nic.binding else ""
    if name not in facts.bindings:
        raise ValueError(f"network binding plugin {name!r} is not registered")
    return facts.bindings[name]


def devices(part: Part, vmi: VMI, facts: Guest) -> Iterable[Element]:
    """Where neither way of ours was asked for, the plugin's side-car draws the interface."""
    for _, nic, network in part:
        if nic.name in facts.links:
            yield ethernet(vmi, nic, at(facts, network))


def observe(part: Part, vmi: VMI, domain: DomainChanged) -> Json:
    return {"interfaces": [seen_as(nic, vmi, domain, names(net).pod) for _, nic, net in part]}


def blocks_migration(part: Part, vmi: VMI, domain: DomainChanged) -> str | None:
    names = ", ".join(nic.name for _, nic, _ in part)
    return f"InterfaceNotLiveMigratable: it has interfaces of network binding plugins: {names}"


FEATURE = Feature(
    name="binding",
    owns=("domain.devices.interfaces.binding",),
    asked=asked,
    validate=validate,
    pod=pod,
    host=host,
    devices=devices,
    observe=observe,
    blocks_migration=blocks_migration,
)
