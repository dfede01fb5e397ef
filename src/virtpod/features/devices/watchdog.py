"""A watchdog that acts when the guest stops feeding it.

https://libvirt.org/formatdomain.html#watchdog-devices
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.devices import Diag288Watchdog, I6300ESBWatchdog, Watchdog
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.xml import E, Element, alias
from virtpod.features.contract import UNSUPPORTED, Cause, Feature

ACTIONS = ("poweroff", "reset", "shutdown")


def asked(vmi: VMI) -> Watchdog | None:
    return vmi.spec.domain.devices.watchdog


def defaults(watchdog: Watchdog, vmi: VMI, cluster: Cluster) -> None:
    if watchdog.i6300esb is None and watchdog.diag288 is None:
        if vmi.spec.architecture == "s390x":
            watchdog.diag288 = Diag288Watchdog()
        else:
            watchdog.i6300esb = I6300ESBWatchdog()
    for model in (watchdog.i6300esb, watchdog.diag288):
        if model is not None:
            model.action = model.action or "reset"


def validate(watchdog: Watchdog, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    where = "spec.domain.devices.watchdog"
    fits = {"amd64": "i6300esb", "s390x": "diag288"}.get(vmi.spec.architecture or "")
    for name, model in (("i6300esb", watchdog.i6300esb), ("diag288", watchdog.diag288)):
        if model is None:
            continue
        if name != fits:
            yield Cause(
                f"{where}.{name}", f"{name} does not exist on {vmi.spec.architecture}", UNSUPPORTED
            )
        if model.action and model.action not in ACTIONS:
            yield Cause(
                f"{where}.{name}.action",
                f"action {model.action!r} is not known; one of {', '.join(ACTIONS)}",
                UNSUPPORTED,
            )


def devices(watchdog: Watchdog, vmi: VMI, facts: Guest) -> Iterable[Element]:
    model = "diag288" if watchdog.diag288 else "i6300esb"
    given = watchdog.diag288 or watchdog.i6300esb
    yield E(
        "watchdog",
        alias(watchdog.name),
        model=model,
        action=(given and given.action) or "reset",
    )


FEATURE = Feature(
    name="watchdog",
    owns=("domain.devices.watchdog",),
    asked=asked,
    defaults=defaults,
    validate=validate,
    devices=devices,
)
