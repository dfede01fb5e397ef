"""Networks beside the pod's own, and in place of it: Multus attaches them, as
NetworkAttachmentDefinitions say.

The pod's annotation asks for them; the CNI plugin makes the link, and the interface's binding
joins the guest to it.

https://github.com/k8snetworkplumbingwg/multus-cni/blob/master/docs/how-to-use.md
https://github.com/k8snetworkplumbingwg/multi-net-spec
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import msgspec

from virtpod.api.network import Interface, Network
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster
from virtpod.features.contract import REQUIRED, Cause, Feature, Json, PodPart
from virtpod.features.network import joined, mac, names
from virtpod.features.network._addresses import read
from virtpod.features.network._plugins import used

NETWORKS = "k8s.v1.cni.cncf.io/networks"
DEFAULT = "v1.multus-cni.io/default-network"
_NAME = re.compile(r"([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/)?[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")

Part = list[tuple[Interface, Network]]


def asked(vmi: VMI) -> Part:
    """A binding plugin may have a definition of its own, on whatever network."""
    return [(nic, net) for _, nic, net in joined(vmi) if net.multus or nic.binding]


def is_name(given: str) -> bool:
    """Of a definition, with its namespace or without."""
    return _NAME.fullmatch(given) is not None


def definition(name: str, vmi: VMI) -> tuple[str, str]:
    """Namespace and name of a definition, as a VMI's network or a binding names it."""
    namespace, slash, rest = name.partition("/")
    return (namespace, rest) if slash else (vmi.metadata.namespace or "default", name)


def definitions(vmi: VMI, cluster: Cluster) -> list[tuple[str, str]]:
    """All that must be there before the pod can start, each once."""
    named = [net.multus.network_name for _, net in asked(vmi) if net.multus]
    named += [
        plugin.network_attachment_definition
        for _, _, plugin in used(vmi, cluster)
        if plugin.network_attachment_definition
    ]
    return list(dict.fromkeys(definition(name, vmi) for name in named if name))


def validate(part: Part, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    networks = vmi.spec.networks or []
    for index, network in enumerate(networks):
        if network.multus is None:
            continue
        where = f"spec.networks[{index}].multus.networkName"
        name = network.multus.network_name
        if not name:
            yield Cause(where, "CNI delegating plugin must have a networkName", REQUIRED)
        elif not is_name(name):
            yield Cause(
                where,
                f"{where} {name!r} is not the name of a NetworkAttachmentDefinition, "
                "like name or namespace/name",
            )
    defaults = [net for net in networks if net.multus and net.multus.default]
    if len(defaults) > 1:
        yield Cause("spec.networks", "Multus CNI should only have one default network")
    if defaults and any(net.pod for net in networks):
        yield Cause(
            "spec.networks", "Pod network cannot be defined when Multus default network is defined"
        )


def pod(part: Part, vmi: VMI, cluster: Cluster) -> PodPart:
    annotations = {}
    if wanted := selected(vmi, cluster):
        annotations[NETWORKS] = msgspec.json.encode(wanted).decode()
    for nic, network in part:
        if network.multus and network.multus.default:
            annotations[DEFAULT] = _in_place(nic, network, vmi)
    counted = Counter(
        resource
        for _, network in part
        if network.multus
        if (resource := cluster.networks.get(definition(network.multus.network_name, vmi)))
    )
    limits = {resource: str(count) for resource, count in counted.items()}
    return PodPart(annotations=annotations, limits=limits)


def _in_place(nic: Interface, network: Network, vmi: VMI) -> str:
    """The short form, where there is no more to say than the definition's name."""
    namespace, name = definition(network.multus.network_name if network.multus else "", vmi)
    if not (wished := _wished(nic, network, vmi)):
        return f"{namespace}/{name}"
    return msgspec.json.encode([{"name": name, "namespace": namespace, **wished}]).decode()


def _wished(nic: Interface, network: Network, vmi: VMI) -> Json:
    """Addresses of the link: the MAC address that a bridged guest is to have from it, and what is
    to stay the same. CNI plugins take the first, and IPAMs the others where the definition has
    `capabilities: {ips: true}`; the others do what they do."""
    own = mac(vmi, nic) if nic.bridge else nic.mac_address
    ips = read(vmi.metadata.annotations).get(network.name)
    return {**({"mac": own} if own else {}), **({"ips": ips} if ips else {})}


def selected(vmi: VMI, cluster: Cluster) -> list[Json]:
    """What the pod asks for beside its own network, in Multus' words."""
    return list(_selected(asked(vmi), vmi, cluster))


def _selected(part: Part, vmi: VMI, cluster: Cluster) -> Iterable[Json]:
    plugins = {nic.name: plugin for nic, _, plugin in used(vmi, cluster)}
    for nic, network in part:
        if network.multus and not network.multus.default and nic.state != "absent":
            namespace, name = definition(network.multus.network_name, vmi)
            yield {
                "name": name,
                "namespace": namespace,
                **_wished(nic, network, vmi),
                "interface": names(network).pod,
            }
        plugin = plugins.get(nic.name)
        if plugin and plugin.network_attachment_definition:
            namespace, name = definition(plugin.network_attachment_definition, vmi)
            yield {
                "name": name,
                "namespace": namespace,
                "cni-args": {"logicNetworkName": network.name},
            }


FEATURE = Feature(
    name="multus",
    owns=("networks.multus",),
    asked=asked,
    validate=validate,
    pod=pod,
)
