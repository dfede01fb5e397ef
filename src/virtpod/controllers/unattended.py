"""Objects of kinds that nothing acts on yet: their status says so, where it has conditions."""

from __future__ import annotations

from dataclasses import dataclass

from virtpod.controllers import conditions
from virtpod.kube.plan import Patch, Plan
from virtpod.kube.resources import (
    BACKUPS,
    CLONES,
    EXPORTS,
    MIGRATIONS,
    POOLS,
    RESTORES,
    SNAPSHOTS,
    Obj,
    Resource,
    key_of,
)

TOLD = (MIGRATIONS, POOLS, SNAPSHOTS, RESTORES, EXPORTS, CLONES, BACKUPS)
"""`render.unattended.telling`, without all of the API behind it."""
REASON = "NotImplemented"


@dataclass(frozen=True)
class Seen:
    resource: Resource
    obj: Obj
    now: float


def decide(seen: Seen) -> Plan:
    """Ready is False, once and for all."""
    message = f"Virtpod stores a {seen.resource.kind} and does not act on it yet"
    have = conditions.of(seen.obj)
    wanted = conditions.put(have, conditions.new("Ready", "False", REASON, message), seen.now)
    if wanted == have:
        return Plan("it says already that nothing acts on it")
    body = {"status": {"conditions": wanted}}
    patch = Patch(seen.resource, key_of(seen.obj), body, subresource="status")
    return Plan("nothing acts on it", status=patch)
