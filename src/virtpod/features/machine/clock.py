"""The guest's clock and timers.

https://libvirt.org/formatdomain.html#time-keeping
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.machine import Clock
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.xml import E, Element
from virtpod.features.contract import Cause, Feature


def asked(vmi: VMI) -> Clock | None:
    return vmi.spec.domain.clock


def validate(clock: Clock, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    if clock.utc and clock.timezone:
        yield Cause(
            "spec.domain.clock",
            "spec.domain.clock has both utc and timezone set; one of them must go",
        )


def devices(clock: Clock, vmi: VMI, facts: Guest) -> Iterable[Element]:
    timers = list(_timers(clock))
    if clock.timezone:
        yield E("clock", *timers, offset="timezone", timezone=clock.timezone)
    elif clock.utc and clock.utc.offset_seconds is not None:
        yield E("clock", *timers, offset="variable", adjustment=clock.utc.offset_seconds)
    else:
        yield E("clock", *timers, offset="utc", adjustment="reset")


def _timers(clock: Clock) -> Iterable[Element]:
    timer = clock.timer
    if timer is None:
        return
    if timer.rtc:
        yield E(
            "timer",
            name="rtc",
            present=timer.rtc.present is not False,
            tickpolicy=timer.rtc.tick_policy,
            track=timer.rtc.track,
        )
    if timer.pit:
        present = timer.pit.present is not False
        yield E("timer", name="pit", present=present, tickpolicy=timer.pit.tick_policy)
    if timer.kvm:
        yield E("timer", name="kvmclock", present=timer.kvm.present is not False)
    if timer.hpet:
        present = timer.hpet.present is not False
        yield E("timer", name="hpet", present=present, tickpolicy=timer.hpet.tick_policy)
    if timer.hyperv:
        yield E("timer", name="hypervclock", present=timer.hyperv.present is not False)


FEATURE = Feature(
    name="clock",
    owns=("domain.clock",),
    asked=asked,
    validate=validate,
    devices=devices,
)
