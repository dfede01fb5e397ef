"""What the launcher does before the domain can start."""

from __future__ import annotations

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Guest
from virtpod.domain.steps import BootStep
from virtpod.features import ALL


def boot(vmi: VMI, facts: Guest) -> tuple[BootStep, ...]:
    """The steps, each independent of the others."""
    return tuple(
        step
        for feature in ALL
        if feature.boot and (part := feature.asked(vmi))
        for step in feature.boot(part, vmi, facts)
    )
