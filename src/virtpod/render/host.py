"""What virt-handler does in the pod's network namespace before the guest starts."""

from __future__ import annotations

from msgspec.structs import replace

from virtpod.api.network import Interface
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Host
from virtpod.domain.steps import Discard, HostStep, Tap
from virtpod.features import ALL
from virtpod.features.network import PLUGIN_TAP, absent, joined, mac, names
from virtpod.wire.messages import Link


def host(vmi: VMI, facts: Host) -> tuple[HostStep, ...]:
    """The steps, in order."""
    return tuple(
        step
        for feature in ALL
        if feature.host and (part := feature.asked(vmi))
        for step in feature.host(part, vmi, facts)
    )


def leftovers(vmi: VMI) -> list[HostStep]:
    """What is to be cleared away of networks that the guest has left."""
    return [
        Discard(link)
        for _, nic, network in joined(vmi)
        if absent(nic)
        for link in (names(network).tap, names(network).bridge, names(network).kept)
    ]


def links(vmi: VMI, facts: Host) -> list[Link]:
    """What the launcher is told about the host side of each guest interface that has one."""
    taps = {step.name: step for step in host(vmi, facts) if isinstance(step, Tap)}
    found = []
    for _, nic, network in joined(vmi):
        own = names(network)
        if own.tap in taps:
            found.append(_link(vmi, facts, nic, taps[own.tap]))
        elif nic.binding and facts.bindings.get(nic.binding.name) == PLUGIN_TAP:
            link = facts.links.get(network.name)
            mtu = link.mtu if link else 1500
            found.append(Link(name=nic.name, tap=own.tap, mtu=mtu, mac=mac(vmi, nic)))
        elif nic.passt_binding:
            link = facts.links.get(network.name)
            if link and link.name != own.pod:
                found.append(Link(name=nic.name, tap="", device=link.name))
        elif nic.sriov and own.pod in facts.devices:
            found.append(Link(name=nic.name, tap="", pci=facts.devices[own.pod]))
    return found


def _link(vmi: VMI, facts: Host, nic: Interface, tap: Tap) -> Link:
    link = Link(name=nic.name, tap=tap.name, bridge=tap.bridge, mtu=tap.mtu, mac=mac(vmi, nic))
    own = facts.links.get(nic.name)
    if own is None:
        return link
    theirs = nic.mac_address or not (nic.bridge or nic.binding)
    return replace(
        link, mac=link.mac if theirs else own.mac, addresses=own.addresses, routes=own.routes
    )
