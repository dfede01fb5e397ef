"""Kubernetes conditions as values: find one, set one, take one away; unchanged ones stay as read.

https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

Condition = dict[str, Any]


def stamp(now: float) -> str:
    """RFC 3339 in whole seconds, as Kubernetes writes it."""
    moment = datetime.datetime.fromtimestamp(now, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(stamped: str | None) -> float | None:
    """The time a stamp tells; None where there is none, or none that can be read."""
    if not stamped:
        return None
    try:
        moment = datetime.datetime.fromisoformat(stamped)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return moment.timestamp()


def of(obj: Mapping[str, Any]) -> list[Condition]:
    return list((obj.get("status") or {}).get("conditions") or [])


def find(conditions: Iterable[Condition], type: str) -> Condition | None:
    return next((condition for condition in conditions if condition.get("type") == type), None)


def status(conditions: Iterable[Condition], type: str) -> str:
    """ "True", "False", "Unknown", or "" where it is not there."""
    found = find(conditions, type)
    return str(found.get("status") or "") if found else ""


def same(one: Condition, other: Condition) -> bool:
    """Whether both say the same, whenever they began to."""
    return all(
        (one.get(name) or "") == (other.get(name) or "")
        for name in ("type", "status", "reason", "message")
    )


def put(conditions: list[Condition], new: Condition, now: float) -> list[Condition]:
    """With `new` in its place. The time of transition changes only with the status."""
    old = find(conditions, new["type"])
    if old is None:
        return [*conditions, {**new, "lastTransitionTime": stamp(now)}]
    if same(old, new):
        return conditions
    since = old.get("lastTransitionTime") if old.get("status") == new["status"] else None
    changed = {**new, "lastTransitionTime": since or stamp(now)}
    return [changed if condition is old else condition for condition in conditions]


def without(conditions: list[Condition], *types: str) -> list[Condition]:
    return [condition for condition in conditions if condition.get("type") not in types]


def new(type: str, status: str, reason: str = "", message: str = "") -> Condition:
    condition = {"type": type, "status": status, "reason": reason, "message": message}
    return {name: value for name, value in condition.items() if value}
