"""docs/api.md: every kind, type and field, from the types and the lines below their fields."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from msgspec import Struct
from msgspec import inspect as types

from virtpod.api import notes
from virtpod.api.base import Wire
from virtpod.api.catalog import TOPICS, every, topic
from virtpod.api.crd import KINDS, Kind

Json = dict[str, Any]


def page() -> str:
    return "\n".join(
        [
            "# API reference",
            "",
            "Made by `make docs` from `src/virtpod/api`.",
            "",
            "A field with a star is required. Quantities are Kubernetes' (`128Mi`, `1500m`), times",
            "RFC 3339 in UTC, durations Go's (`30s`, `1h5m`). A list says how server-side apply",
            "merges it: as a whole (nothing or *atomic*), by value (*set*), or by keys.",
            "What has no effect yet is in [gaps.md](gaps.md).",
            "",
            "## Kinds",
            "",
            "The first version is stored; all are served and have one shape.",
            "",
            "| Kind | Group | Versions | Short names | Scope | Subresources |",
            "|---|---|---|---|---|---|",
            *(_kind(kind) for kind in KINDS),
            "",
            *(line for module in TOPICS if module != "lists" for line in _topic(module)),
        ]
    )


def _kind(kind: Kind) -> str:
    old = dict(kind.deprecated)
    versions = ", ".join(each + " (deprecated)" * (each in old) for each in kind.versions)
    parts = ["status"] * kind.status + ["scale"] * kind.scale
    cells = (
        _link(kind.type),
        kind.group,
        versions,
        ", ".join(kind.short_names),
        "namespace" if kind.namespaced else "cluster",
        ", ".join(parts),
    )
    return f"| {' | '.join(cells)} |"


def _topic(module: str) -> Iterator[str]:
    within = [cls for cls in every() if topic(cls) == module]
    about = (sys.modules[within[0].__module__].__doc__ or "").splitlines()[0]
    yield from (f"## Module {module}", "", about, "")
    for cls in within:
        yield from _type(cls)


def _type(cls: type[Struct]) -> Iterator[str]:
    yield from (f"### {cls.__name__}", "")
    shape = types.type_info(cls)
    assert isinstance(shape, types.StructType)
    if not shape.fields:
        yield from ("Has no fields: that it is there is what it says.", "")
        return
    meanings = notes.of(cls)
    yield from ("| Field | Type | Meaning |", "|---|---|---|")
    for field in sorted(shape.fields, key=lambda field: field.encode_name):
        name = f"`{field.encode_name}`" + "*" * field.required
        yield f"| {name} | {_shape(field.type)} | {meanings[field.name].replace('|', '/')} |"
    yield ""


def _shape(shape: types.Type, extra: Json | None = None) -> str:
    extra = extra or {}
    match shape:
        case types.Metadata(type=inner, extra_json_schema=more):
            return _shape(inner, extra | (more or {}))
        case types.UnionType(types=options):
            given = [option for option in options if not isinstance(option, types.NoneType)]
            if len(given) == 1:
                return _shape(given[0], extra)
            fraction = any(isinstance(option, types.FloatType) for option in given)
            return "quantity" if fraction else "integer or string"
        case types.StructType(cls=cls):
            return _link(cls)
        case types.ListType(item_type=item):
            keys = ", ".join(extra.get("x-kubernetes-list-map-keys", ()))
            merge = f"by {keys}" if keys else extra.get("x-kubernetes-list-type", "")
            return f"list of {_shape(item)}" + (f" (*{merge}*)" if merge else "")
        case types.DictType(value_type=types.AnyType()):
            return "any object"
        case types.DictType(value_type=value):
            return f"map of {_shape(value)}"
        case types.StrType():
            if "enum" in extra:
                return " or ".join(f"`{choice}`" for choice in extra["enum"])
            return "time" if extra.get("format") == "date-time" else "string"
        case types.BoolType():
            return "boolean"
        case types.IntType():
            return "integer"
        case types.FloatType():
            return "number"
    raise TypeError(f"{shape} has no place in an API")


def _link(cls: type) -> str:
    assert issubclass(cls, Wire)
    return f"[{cls.__name__}](#{cls.__name__.lower()})"
