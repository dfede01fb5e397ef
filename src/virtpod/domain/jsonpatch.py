"""The difference of two JSON values as a JSON Patch.

https://www.rfc-editor.org/rfc/rfc6902
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Operation = dict[str, Any]


def pointer(*parts: str | int) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def diff(before: Any, after: Any, at: str = "") -> Iterator[Operation]:
    """Operations that make `after` of `before`. Objects are compared by key; a list is changed
    item by item where it kept or gained items at its end, else replaced."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in before.keys() - after.keys():
            yield {"op": "remove", "path": at + pointer(key)}
        for key, value in after.items():
            if key in before:
                yield from diff(before[key], value, at + pointer(key))
            else:
                yield {"op": "add", "path": at + pointer(key), "value": value}
    elif isinstance(before, list) and isinstance(after, list) and len(after) >= len(before):
        for index, (old, new) in enumerate(zip(before, after, strict=False)):
            yield from diff(old, new, at + pointer(index))
        for value in after[len(before) :]:
            yield {"op": "add", "path": at + "/-", "value": value}
    elif before != after:
        yield {"op": "replace", "path": at, "value": after}
