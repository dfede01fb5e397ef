"""MigrationPolicy: numbers that a migration can keep to."""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.policy import MigrationPolicy
from virtpod.domain.quantity import bytes_of
from virtpod.features.contract import Cause
from virtpod.render.rules import Asked, Rules

LONGEST_DOWNTIME = 2_000_000


def _causes(asked: Asked[MigrationPolicy]) -> Iterable[Cause]:
    spec = asked.new.spec
    if spec.bandwidth_per_migration is not None:
        where = "spec.bandwidthPerMigration"
        try:
            negative = bytes_of(spec.bandwidth_per_migration) < 0
        except ValueError as error:
            yield Cause(where, f"{where}: {error}")
        else:
            if negative:
                yield Cause(where, f"{where} must not be negative")
    if spec.completion_timeout_per_gib is not None and spec.completion_timeout_per_gib < 0:
        where = "spec.completionTimeoutPerGiB"
        yield Cause(where, f"{where} must not be negative")
    downtime = spec.max_downtime_ms
    if downtime is not None and not 1 <= downtime <= LONGEST_DOWNTIME:
        where = "spec.maxDowntimeMs"
        yield Cause(where, f"{where} must be from 1 to {LONGEST_DOWNTIME}")


RULES = Rules(MigrationPolicy, _causes)
