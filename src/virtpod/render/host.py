"""What virt-handler does in the pod's network namespace before the guest starts."""

from __future__ import annotations

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Host
from virtpod.domain.steps import HostStep, Tap
from virtpod.features import ALL
from virtpod.features.network import joined, mac
from virtpod.wire.messages import Link


def host(vmi: VMI, facts: Host) -> tuple[HostStep, ...]:
    """The steps, in order."""
    return tuple(
        step
        for feature in ALL
        if feature.host and (part := feature.asked(vmi))
        for step in feature.host(part, vmi, facts)
    )


def links(vmi: VMI, facts: Host) -> list[Link]:
    """What the launcher is told about each guest interface's host side."""
    taps = [step for step in host(vmi, facts) if isinstance(step, Tap)]
    pairs = [interface for _, interface, _ in joined(vmi)]
    return [
        Link(
            name=interface.name,
            tap=tap.name,
            bridge=tap.bridge,
            mtu=tap.mtu,
            mac=mac(vmi, interface),
        )
        for interface, tap in zip(pairs, taps, strict=True)
    ]
