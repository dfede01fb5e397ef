"""A guest that is started with its processors stopped, until somebody unpauses it.

Its firmware waits at a boot menu, so that who unpauses it can also choose where it boots from.
https://libvirt.org/formatdomain.html#bios-bootloader
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.xml import E, Element
from virtpod.features.contract import UNSUPPORTED, Cause, Feature

PAUSED = "Paused"
MENU_TIMEOUT = 10_000
"""Milliseconds that the boot menu is shown."""


def asked(vmi: VMI) -> str | None:
    return vmi.spec.start_strategy


def validate(strategy: str, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    if strategy != PAUSED:
        yield Cause(
            "spec.startStrategy",
            f"spec.startStrategy {strategy!r} is not known; only {PAUSED} is, or leave it out",
            UNSUPPORTED,
        )


def devices(strategy: str, vmi: VMI, facts: Guest) -> Iterable[Element]:
    yield E("bootmenu", enable="yes", timeout=MENU_TIMEOUT)


FEATURE = Feature(
    name="start_strategy",
    owns=("startStrategy",),
    asked=asked,
    validate=validate,
    devices=devices,
)
