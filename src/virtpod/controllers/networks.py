"""The NetworkAttachmentDefinitions that a VMI's pod cannot start without: looked for, and named
where they are missing, which the CNI would say after minutes only, and to nobody.

https://github.com/k8snetworkplumbingwg/multi-net-spec
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from virtpod.api.base import decode
from virtpod.api.network import Network
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.domain import network_status
from virtpod.domain.facts import Cluster
from virtpod.features.network import PRIMARY, multus, names
from virtpod.features.network._addresses import GIVEN, Addresses, keeps, read, written
from virtpod.features.network._plugins import INFO_ANNOTATION as INFO
from virtpod.features.network._plugins import registered
from virtpod.kube.resources import Key, Obj

MISSING = "FailedNetworkNotFound"
RESOURCE = "k8s.v1.cni.cncf.io/resourceName"
REMEDY = "Create it, or name one that is there: kubectl get network-attachment-definitions."


def wanted(vmi: Mapping[str, Any], cluster: Cluster) -> list[Key]:
    """Asked of VMIs as read: most have none, and those are not decoded."""
    nics = _nics(vmi)
    networks = vmi["spec"].get("networks") or ()
    if not any("multus" in each for each in networks) and not any("binding" in n for n in nics):
        return []
    typed = decode(vmi, VirtualMachineInstance)
    return [Key(*each) for each in multus.definitions(typed, cluster)]


def _nics(vmi: Mapping[str, Any]) -> list[Any]:
    devices = (vmi["spec"].get("domain") or {}).get("devices") or {}
    return devices.get("interfaces") or []


def problem(vmi: Mapping[str, Any], found: Mapping[Key, Obj | None]) -> str:
    """The first that is missing, in words for users; empty: none."""
    missing = next((key for key, definition in found.items() if definition is None), None)
    if missing is None:
        return ""
    own = vmi["metadata"].get("namespace") or "default"
    named = [
        (network.get("multus") or {}).get("networkName") or ""
        for network in vmi["spec"].get("networks") or ()
    ]
    whole = [name if "/" in name else f"{own}/{name}" for name in named]
    where = "a network binding plugin of the KubeVirt object"
    if str(missing) in whole:
        where = f"spec.networks[{whole.index(str(missing))}].multus.networkName"
    return f"NetworkAttachmentDefinition {missing} does not exist; {where} names it"


def resources(found: Mapping[Key, Obj | None]) -> dict[tuple[str, str], str]:
    """The resource of the node that each definition's links are made from, where it names one."""
    named = {
        (key.namespace, key.name): (obj["metadata"].get("annotations") or {}).get(RESOURCE)
        for key, obj in found.items()
        if obj is not None
    }
    return {key: resource for key, resource in named.items() if resource}


def selection(vmi: Mapping[str, Any], pod: Mapping[str, Any], cluster: Cluster) -> str:
    """What the pod's annotation is to ask of Multus where that has changed since it was made: a
    controller of dynamic networks makes it so. Empty: it asks for the right networks.

    What the guest still has of an interface that is to go, the pod keeps.
    """
    asked = (pod["metadata"].get("annotations") or {}).get(multus.NETWORKS)
    own = (vmi["metadata"].get("annotations") or {}).get(multus.NETWORKS)
    if asked in (None, own) and not wanted(vmi, cluster):
        return ""  # what users ask of Multus by themselves is theirs
    typed = decode(vmi, VirtualMachineInstance)
    shown = {
        each.name for each in typed.status.interfaces or () if "domain" in (each.info_source or "")
    }
    for nic in typed.spec.domain.devices.interfaces or ():
        if nic.state == "absent" and nic.name in shown:
            nic.state = None
    right = multus.selected(typed, cluster)
    try:
        same = msgspec.json.decode(asked or "[]") == right
    except msgspec.DecodeError:
        same = False
    return "" if same else msgspec.json.encode(right).decode()


def info(vmi: Mapping[str, Any], pod: Mapping[str, Any], cluster: Cluster) -> str:
    """What the pod's annotation is to tell of the devices of binding plugins that want to know;
    empty: none does, or Multus has not noted them yet."""
    nics = _nics(vmi)
    plugins = registered(cluster)
    wanting = [
        nic["name"]
        for nic in nics
        if (plugin := plugins.get((nic.get("binding") or {}).get("name", "")))
        and plugin.downward_api == "device-info"
    ]
    noted = (pod["metadata"].get("annotations") or {}).get(network_status.ANNOTATION, "")
    if not wanting or not noted:
        return ""
    devices = network_status.devices(noted)
    networks = msgspec.convert(vmi["spec"].get("networks") or [], list[Network])
    told = [
        {"network": network.name, "deviceInfo": devices[names(network).pod]}
        for network in sorted(networks, key=lambda each: each.name)
        if network.name in wanting and names(network).pod in devices
    ]
    return msgspec.json.encode({"interfaces": told}).decode() if told else ""


def noted(vmi: Mapping[str, Any], pod: Mapping[str, Any]) -> str:
    """What the VMI's annotation is to say of the addresses that its networks gave, where those are
    to be kept; empty: it says so already, or none is known."""
    annotations = vmi["metadata"].get("annotations") or {}
    if not keeps(annotations):
        return ""
    told = (pod["metadata"].get("annotations") or {}).get(network_status.ANNOTATION, "")
    others = {each.interface: list(each.ips) for each in network_status.read(told)}
    own = [each["ip"] for each in (pod.get("status") or {}).get("podIPs") or () if each.get("ip")]
    found: Addresses = {}
    for network in msgspec.convert(vmi["spec"].get("networks") or [], list[Network]):
        place = names(network)
        found[network.name] = own if place == PRIMARY else others.get(place.pod, [])
    found = {network: addresses for network, addresses in found.items() if addresses}
    return written(found) if found and found != read(annotations, GIVEN) else ""


__all__ = [
    "GIVEN",
    "INFO",
    "MISSING",
    "REMEDY",
    "RESOURCE",
    "info",
    "noted",
    "problem",
    "resources",
    "selection",
    "wanted",
]
