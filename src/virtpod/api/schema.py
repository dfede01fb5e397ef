"""OpenAPI schemas of the wire types, as every document needs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import inspect as types

from virtpod.api import notes

Json = dict[str, Any]
Struct = Callable[[types.StructType], Json]
"""What stands where a type refers to another: the whole of it, or a reference."""

QUANTITY: Json = {
    # An API server lets `anyOf` stand in a structural schema only together with this marker; a
    # quantity with a fraction needs a pattern-free string or number, which is what is left.
    "anyOf": [{"type": "integer"}, {"type": "string"}],
    "x-kubernetes-int-or-string": True,
}
INT_OR_STRING: Json = {"x-kubernetes-int-or-string": True}


def of(shape: types.Type, struct: Struct) -> Json:
    match shape:
        case types.Metadata(type=inner, extra_json_schema=extra):
            return of(inner, struct) | (extra or {})
        case types.UnionType(types=options):
            given = [option for option in options if not isinstance(option, types.NoneType)]
            if len(given) == 1:
                return of(given[0], struct)
            fraction = any(isinstance(option, types.FloatType) for option in given)
            return QUANTITY if fraction else INT_OR_STRING
        case types.StructType():
            return struct(shape)
        case types.ListType(item_type=item):
            return {"type": "array", "items": of(item, struct)}
        case types.DictType(value_type=types.AnyType()):
            return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        case types.DictType(value_type=value):
            return {"type": "object", "additionalProperties": of(value, struct)}
        case types.StrType():
            return {"type": "string"}
        case types.BoolType():
            return {"type": "boolean"}
        case types.IntType():
            return {"type": "integer"}
        case types.FloatType():
            return {"type": "number"}
    raise TypeError(f"{shape} has no place in an API")


def body(shape: types.StructType, struct: Struct) -> Json:
    """An object with all its fields."""
    whole: Json = {"type": "object"}
    meanings = notes.of(shape.cls)
    properties: Json = {}
    for field in shape.fields:
        inner = of(field.type, struct)
        if meaning := meanings.get(field.name):
            inner = {"description": meaning} | inner
        properties[field.encode_name] = inner
    if properties:
        whole["properties"] = properties
    if required := [field.encode_name for field in shape.fields if field.required]:
        whole["required"] = required
    return whole
