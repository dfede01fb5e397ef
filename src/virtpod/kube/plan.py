"""What a controller decides, as values: nothing here does anything.

`decide(Seen) -> Plan` is a pure function; `kube.loop` performs the plan. Own actions are any frozen
dataclass that the process names in `Acts(perform={...})`.

Two ways to stay right with a stale cache: children have deterministic names, and writes say what
they rest on (`uid`, `resource_version`, JSON patch `test`).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from virtpod.kube.resources import Key, Obj, Resource

PatchType = Literal["json", "merge", "strategic", "apply"]


@dataclass(frozen=True)
class Create:
    """Make an object; where one of that name exists, the loop looks again, or, `unless_there`,
    that one will do."""

    resource: Resource
    body: Obj
    unless_there: bool = False


@dataclass(frozen=True)
class Patch:
    """Change an object, or one of its subresources.

    `json`: a list of operations; begin with `tests(...)`. The others: the fields to set; a
    `metadata.resourceVersion` in the body makes it fail where the object has moved on.
    """

    resource: Resource
    key: Key
    body: Any
    type: PatchType = "merge"
    subresource: str = ""


@dataclass(frozen=True)
class Delete:
    """Delete an object; that it is gone already is success."""

    resource: Resource
    key: Key
    uid: str = ""
    resource_version: str = ""
    grace: int | None = None
    propagation: Literal["", "Background", "Foreground", "Orphan"] = ""


@dataclass(frozen=True)
class Evict:
    """Ask for a pod's eviction, which a disruption budget may refuse for now."""

    key: Key
    uid: str = ""
    grace: int | None = None


@dataclass(frozen=True)
class Reference:
    """The object that an event is about."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str = ""

    @staticmethod
    def to(obj: Mapping[str, Any], resource: Resource | None = None) -> Reference:
        """To an object; objects out of lists carry no kind, so give their resource."""
        metadata = obj["metadata"]
        return Reference(
            resource.api_version if resource else obj["apiVersion"],
            resource.kind if resource else obj["kind"],
            metadata.get("namespace") or "",
            metadata["name"],
            metadata.get("uid") or "",
        )


@dataclass(frozen=True)
class Event:
    """One line in `kubectl describe`: once per transition, never per look."""

    about: Reference
    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True)
class Plan:
    """What to do and why.

    `actions` in order; then `status`, last, so that it never claims what an action failed to do.
    `again_in`: look again after so many seconds, even if nothing changes.
    """

    why: str
    actions: Sequence[Any] = ()
    status: Patch | None = None
    again_in: float | None = None


@dataclass(frozen=True)
class Written:
    """What a write left behind: the store must show this before the next decision.

    `version` is empty where an object was removed at once: then the store must show its absence.
    """

    resource: Resource
    key: Key
    version: str
    uid: str = ""


Action = Create | Patch | Delete | Evict | Event
QueueKey = Hashable


def tests(obj: Mapping[str, Any], *paths: str) -> list[dict[str, Any]]:
    """JSON patch `test` operations for what was read at `paths` ("/status/phase").

    What is absent is tested as null, which the API server takes for "not there" as well, but only
    where its parent is there: so it is the outermost absent thing that is tested.
    """
    return [_test(obj, path) for path in paths]


def _test(obj: Any, path: str) -> dict[str, Any]:
    value, at = obj, ""
    for part in path.split("/")[1:]:
        if isinstance(value, Sequence) and _item(value, part) is None:
            break  # beyond a list's end nothing can be tested: test the list
        value, at = _child(value, part), f"{at}/{part}"
        if value is None:
            break
    return {"op": "test", "path": at, "value": value}


def value_at(obj: Any, path: str) -> Any:
    """The value at a JSON pointer (RFC 6901), None where there is none."""
    value = obj
    for part in path.split("/")[1:]:
        value = _child(value, part)
    return value


def _child(value: Any, part: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(part.replace("~1", "/").replace("~0", "~"))
    return _item(value, part)


def _item(value: Any, part: str) -> Any:
    """An item of a list, None where it has none there."""
    if isinstance(value, Sequence) and not isinstance(value, str) and part.isdigit():
        return value[int(part)] if int(part) < len(value) else None
    return None


def pointer(*parts: str | int) -> str:
    """A JSON pointer out of plain names: pointer("metadata", "labels", "a/b")."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)
