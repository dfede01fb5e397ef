"""The three kinds of patches that Kubernetes knows, on values.

JSON Patch: RFC 6902; merge patch: RFC 7396; strategic merge patch:
https://github.com/kubernetes/community/blob/main/contributors/devel/sig-api-machinery/strategic-merge-patch.md
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

MERGE_KEYS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("containers", "initContainers", "volumes", "env"), ("name",)),
    **dict.fromkeys(("imagePullSecrets", "secrets", "resourceClaims"), ("name",)),
    **dict.fromkeys(("webhooks", "matchConditions", "variables"), ("name",)),
    "ports": ("containerPort", "port"),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey",),
    "ownerReferences": ("uid",),
}
"""Lists whose members are told apart, by the lists' names; all others are replaced as a whole."""
SETS = frozenset({"finalizers"})
"""Lists of words that are added to."""
DIRECTIVE, DELETED, ORDER = "$patch", "$deleteFromPrimitiveList/", "$setElementOrder/"


class Unfit(ValueError):
    """A patch that does not fit what it is for; the text says where."""


def patched(target: Any, kind: str, patch: Any) -> Any:
    """A copy with the patch; `kind` is json, merge or strategic. Raises Unfit."""
    match kind:
        case "json":
            return json(target, patch)
        case "merge":
            return merge(target, patch)
        case "strategic":
            return strategic(target, patch)
    raise Unfit(f"the type is json, merge or strategic, not {kind}")


def merge(target: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    found = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = merge(found.get(name), value)
    return found


def strategic(target: Any, patch: Any) -> Any:
    """Members of a list meet by their keys. Raises Unfit."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    rest = {name: value for name, value in patch.items() if name != DIRECTIVE}
    match patch.get(DIRECTIVE, "merge"):
        case "replace":
            return copy.deepcopy(rest)
        case "delete":
            return None
        case "merge":
            pass
        case other:
            raise Unfit(f"{DIRECTIVE} is merge, replace or delete, not {other}")
    found = dict(target) if isinstance(target, dict) else {}
    for name, value in rest.items():
        if name.startswith(ORDER):
            continue  # what is there keeps its order, what is new comes last
        if name.startswith(DELETED):
            name = name.removeprefix(DELETED)
            found[name] = [each for each in found.get(name) or () if each not in value]
        elif value is None:
            found.pop(name, None)
        elif isinstance(value, list):
            found[name] = _list(name, found.get(name), value)
        else:
            found[name] = strategic(found.get(name), value)
            if found[name] is None:
                del found[name]
    return found


def _list(name: str, target: Any, patch: list[Any]) -> list[Any]:
    have = target if isinstance(target, list) else []
    if any(isinstance(each, dict) and each == {DIRECTIVE: "replace"} for each in patch):
        return [copy.deepcopy(each) for each in patch if each != {DIRECTIVE: "replace"}]
    if name in SETS:
        return [*have, *(each for each in patch if each not in have)]
    if name not in MERGE_KEYS:
        return copy.deepcopy(patch)
    found = list(have)
    for each in patch:
        place = _place(name, found, each)
        if place is None:
            if (made := strategic({}, each)) is not None:
                found.append(made)
        elif (changed := strategic(found[place], each)) is None:
            del found[place]
        else:
            found[place] = changed
    return found


def _place(name: str, members: list[Any], wanted: Any) -> int | None:
    """Where the member is that is meant. Raises Unfit."""
    keys = MERGE_KEYS[name]
    key = next((key for key in keys if isinstance(wanted, dict) and key in wanted), None)
    if key is None:
        raise Unfit(f"a member of {name} lacks {' or '.join(keys)}, by which they are told apart")
    return next((index for index, each in enumerate(members) if each.get(key) == wanted[key]), None)


def json(target: Any, operations: Any) -> Any:
    """RFC 6902. Raises Unfit."""
    found = copy.deepcopy(target)
    for number, operation in enumerate(
        operations if isinstance(operations, list) else [operations]
    ):
        try:
            found = _operated(found, operation)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            path = operation.get("path") if isinstance(operation, dict) else operation
            raise Unfit(f"operation {number} does not fit: {path}: {error}") from error
    return found


def _operated(whole: Any, operation: dict[str, Any]) -> Any:
    path = _parts(operation["path"])
    match operation["op"]:
        case "add":
            return _put(whole, path, copy.deepcopy(operation["value"]), insert=True)
        case "replace":
            _at(whole, path)
            return _put(whole, path, copy.deepcopy(operation["value"]), insert=False)
        case "remove":
            _take(whole, path)
            return whole
        case "move":
            moved = _take(whole, _parts(operation["from"]))
            return _put(whole, path, moved, insert=True)
        case "copy":
            copied = copy.deepcopy(_at(whole, _parts(operation["from"])))
            return _put(whole, path, copied, insert=True)
        case "test":
            if _at(whole, path) != operation["value"]:
                raise ValueError("the value is another")
            return whole
    raise ValueError(f"there is no operation {operation['op']}")


def _parts(pointer: str) -> list[str]:
    if pointer and not pointer.startswith("/"):
        raise ValueError("a path begins with /")
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _at(whole: Any, path: Iterable[str]) -> Any:
    for part in path:
        whole = whole[_index(part)] if isinstance(whole, list) else whole[part]
    return whole


def _index(part: str) -> int:
    if not part.isdecimal():
        raise ValueError(f"{part} is no place in a list")
    return int(part)


def _put(whole: Any, path: list[str], value: Any, *, insert: bool) -> Any:
    if not path:
        return value
    parent, last = _at(whole, path[:-1]), path[-1]
    if not isinstance(parent, list):
        parent[last] = value
    elif last == "-":
        parent.append(value)
    elif insert:
        if _index(last) > len(parent):
            raise IndexError("beyond the end of the list")
        parent.insert(_index(last), value)
    else:
        parent[_index(last)] = value
    return whole


def _take(whole: Any, path: list[str]) -> Any:
    parent, last = _at(whole, path[:-1]), path[-1]
    return parent.pop(_index(last)) if isinstance(parent, list) else parent.pop(last)
