"""The guest's clock and timers.

https://libvirt.org/formatdomain.html#time-keeping
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from virtpod.api.machine import Clock
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.xml import E, Element
from virtpod.features.contract import UNSUPPORTED, Cause, Feature

ZONE = re.compile(r"[A-Za-z0-9_.+/-]+")
POLICIES = {
    "rtc": ("delay", "catchup"),
    "pit": ("delay", "catchup", "discard"),
    "hpet": ("delay", "catchup", "merge", "discard"),
}
"""What each timer can do with ticks that came too late."""
TRACKS = ("guest", "wall")


def asked(vmi: VMI) -> Clock | None:
    return vmi.spec.domain.clock


def validate(clock: Clock, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    if clock.utc and clock.timezone:
        yield Cause(
            "spec.domain.clock",
            "spec.domain.clock has both utc and timezone set; one of them must go",
        )
    if clock.timezone and not ZONE.fullmatch(clock.timezone):
        where = "spec.domain.clock.timezone"
        yield Cause(where, f"{where} must be the name of a zone, such as Europe/Berlin")
    yield from _validate_timers(clock)


def _validate_timers(clock: Clock) -> Iterable[Cause]:
    for name, policies in POLICIES.items():
        timer = getattr(clock.timer, name, None)
        policy = timer.tick_policy if timer else None
        if policy and policy not in policies:
            where = f"spec.domain.clock.timer.{name}.tickPolicy"
            message = f"{where} {policy!r} is not known; one of {', '.join(policies)}"
            yield Cause(where, message, UNSUPPORTED)
    rtc = clock.timer and clock.timer.rtc
    if rtc and rtc.track and rtc.track not in TRACKS:
        where = "spec.domain.clock.timer.rtc.track"
        yield Cause(where, f"{where} must be one of {', '.join(TRACKS)}", UNSUPPORTED)


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
