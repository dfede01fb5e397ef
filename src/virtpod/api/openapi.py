"""OpenAPI definitions of wire types, each under its name, as API servers publish them.

https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-interface-definition
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import inspect as types

from virtpod.api import schema
from virtpod.api.catalog import name

Json = dict[str, Any]
V2 = "#/definitions/"
V3 = "#/components/schemas/"

_ONLY_V3 = ("anyOf", "nullable")


def definitions(roots: Iterable[type], prefix: str = V3) -> Json:
    """The roots and all that they refer to, by name; references start with `prefix`."""
    found: Json = {}
    missing = list(roots)

    def reference(shape: types.StructType) -> Json:
        missing.append(shape.cls)
        return {"$ref": prefix + name(shape.cls)}

    while missing:
        cls = missing.pop()
        if name(cls) not in found:
            shape = types.type_info(cls)
            assert isinstance(shape, types.StructType)
            found[name(cls)] = schema.body(shape, reference)
    return dict(sorted(found.items()))


def for_v2(document: Any) -> Any:
    """Without the words that OpenAPI 2.0 does not know, at which its readers stop."""
    match document:
        case dict():
            return {key: for_v2(each) for key, each in document.items() if key not in _ONLY_V3}
        case list():
            return [for_v2(each) for each in document]
    return document
