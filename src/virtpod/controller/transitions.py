"""How long instances take from one phase to the next, out of what their statuses remember.

Names and labels: https://kubevirt.io/monitoring/metrics.html
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

import msgspec
from prometheus_client import REGISTRY, CollectorRegistry, Histogram

from virtpod.controller.held import Held
from virtpod.kube.resources import Key

SECONDS = (0.5, 1, 2, 5, 10, 20, 30, 60, 90, 120, 180, 300, 600, 900, 1800)
NAME = "kubevirt_vmi_phase_transition_time"


class _Metadata(msgspec.Struct, rename="camel"):
    creation_timestamp: str = ""
    deletion_timestamp: str = ""


class _Moment(msgspec.Struct, rename="camel"):
    phase: str = ""
    phase_transition_timestamp: str = ""


class _Status(msgspec.Struct, rename="camel"):
    phase: str = ""
    phase_transition_timestamps: list[_Moment] | None = None


class _VMI(msgspec.Struct):
    metadata: _Metadata
    status: _Status = msgspec.field(default_factory=_Status)


_vmi = msgspec.json.Decoder(_VMI)


class Transitions:
    """`changed` is told of each change of an instance; counted is by the replica that leads."""

    def __init__(self, leading: Callable[[], bool], registry: CollectorRegistry = REGISTRY) -> None:
        def histogram(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(name, text, labels, buckets=SECONDS, registry=registry)

        self._leading = leading
        self._between = histogram(
            f"{NAME}_seconds", "From one phase to the next.", "phase", "last_phase"
        )
        self._since_creation = histogram(
            f"{NAME}_from_creation_seconds", "From the creation to a phase.", "phase"
        )
        self._since_deletion = histogram(
            f"{NAME}_from_deletion_seconds", "From the deletion to a phase.", "phase"
        )

    def changed(self, key: Key, old: Held | None, new: Held | None) -> None:
        if old is None or new is None or not self._leading():
            return
        with suppress(msgspec.DecodeError, ValueError):
            before, vmi = _vmi.decode(old.raw), _vmi.decode(new.raw)
            if before.status.phase != vmi.status.phase:
                self._observe(vmi, before.status.phase)

    def _observe(self, vmi: _VMI, last: str) -> None:
        phase, metadata = vmi.status.phase, vmi.metadata
        at = {
            each.phase: each.phase_transition_timestamp
            for each in vmi.status.phase_transition_timestamps or ()
        }
        if phase not in at:
            return
        if last in at:
            self._between.labels(phase, last).observe(_seconds(at[last], at[phase]))
        if metadata.creation_timestamp:
            since = _seconds(metadata.creation_timestamp, at[phase])
            self._since_creation.labels(phase).observe(since)
        if metadata.deletion_timestamp and phase in ("Succeeded", "Failed"):
            since = _seconds(metadata.deletion_timestamp, at[phase])
            self._since_deletion.labels(phase).observe(since)


def _seconds(begin: str, end: str) -> float:
    """Never less than none: a deletion's time is that of its end."""
    passed = datetime.fromisoformat(end) - datetime.fromisoformat(begin)
    return max(0.0, passed.total_seconds())
