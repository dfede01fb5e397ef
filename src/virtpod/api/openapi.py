"""OpenAPI definitions of all wire types, each under its name, as API servers publish them.

https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-interface-definition
"""

from __future__ import annotations

from typing import Any

from msgspec import inspect as types

from virtpod.api import schema
from virtpod.api.catalog import TYPES

Json = dict[str, Any]
V2 = "#/definitions/"
V3 = "#/components/schemas/"


def definitions(prefix: str = V2) -> Json:
    """By name; references start with `prefix`."""

    def reference(shape: types.StructType) -> Json:
        return {"$ref": f"{prefix}{TYPES[shape.cls]}"}

    shapes = types.multi_type_info(TYPES)
    return {
        TYPES[shape.cls]: schema.body(shape, reference)
        for shape in shapes
        if isinstance(shape, types.StructType)
    }
