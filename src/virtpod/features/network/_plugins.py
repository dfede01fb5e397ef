"""Network binding plugins: what the KubeVirt object registers, and which a machine asks for.

https://kubevirt.io/user-guide/network/network_binding_plugins/
"""

from __future__ import annotations

from collections.abc import Iterator

from virtpod.api.kubevirt import InterfaceBindingPlugin
from virtpod.api.network import Interface, Network
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster
from virtpod.features.network import joined

INFO_VOLUME, INFO_FILE, INFO_FOLDER = "network-info-annotation", "network-info", "/etc/podinfo"
"""How a side-car reads the annotation `kubevirt.io/network-info` of its pod."""
INFO_ANNOTATION = "kubevirt.io/network-info"


def registered(cluster: Cluster) -> dict[str, InterfaceBindingPlugin]:
    """By name."""
    network = cluster.config.network
    return (network and network.binding) or {}


def used(vmi: VMI, cluster: Cluster) -> Iterator[tuple[Interface, Network, InterfaceBindingPlugin]]:
    """Each interface of a registered plugin, its network, and the plugin."""
    known = registered(cluster)
    for _, interface, network in joined(vmi):
        if interface.binding and (plugin := known.get(interface.binding.name)):
            yield interface, network, plugin
