"""What every wire type shares: one base class, and Kubernetes' scalar types.

Python names are the snake_case of the JSON names; where the two do not map onto each other by
rule (acronyms), the field says its JSON name. Unknown fields are dropped on decoding, so an old
component reads a newer object; writers send patches and never whole objects (see `kube.plan`).
List semantics follow
https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy
"""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

T = TypeVar("T")
K = TypeVar("K", bound=msgspec.Struct)


class Wire(msgspec.Struct, kw_only=True, omit_defaults=True, rename="camel"):
    """A piece of JSON that users write or clients read."""


def list_map(*keys: str) -> Meta:
    """A list whose items are told apart by `keys`."""
    return Meta(
        extra_json_schema={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": list(keys),
        }
    )


def one_of(*values: str) -> Meta:
    """A string with a closed set of values. The schema checks them, not the decoder: a component
    must be able to read what a newer version has written."""
    return Meta(extra_json_schema={"enum": list(values)})


AtomicList = Annotated[list[T], Meta(extra_json_schema={"x-kubernetes-list-type": "atomic"})]
SetList = Annotated[list[T], Meta(extra_json_schema={"x-kubernetes-list-type": "set"})]

Int32 = Annotated[int, Meta(extra_json_schema={"format": "int32"})]
Int64 = Annotated[int, Meta(extra_json_schema={"format": "int64"})]

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""RFC 3339, UTC."""

NullableTime = Annotated[str, Meta(extra_json_schema={"format": "date-time", "nullable": True})]
"""A time that Go's clients write as null where it is not set."""

Nullable = Annotated[T, Meta(extra_json_schema={"nullable": True})]
"""May be null in JSON, which is the same as left out: see `decode`."""

Duration = str
"""Go's notation: "30s", "1h5m"."""

Quantity = str | int | float
"""Kubernetes' resource quantity: "128Mi", "1500m", 2."""

IntOrString = int | str

AnyObject = dict[str, Any]
"""An object whose shape is not ours."""


def decode(raw: Mapping[str, Any], kind: type[K]) -> K:
    """An object as its type. What is null at the top (`status: null`) counts as left out."""
    return msgspec.convert({name: value for name, value in raw.items() if value is not None}, kind)
