"""What several kinds are asked alike: whom they refer to, what they change, what stays as it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from virtpod.api.core import TypedLocalObjectReference
from virtpod.domain.facts import Cluster
from virtpod.features.contract import REQUIRED, UNSUPPORTED, Cause
from virtpod.render.rules import Asked

KUBEVIRT = "kubevirt.io"
SNAPSHOT = "snapshot.kubevirt.io"
OPERATIONS = ("add", "remove", "replace", "move", "copy", "test")


def gated(gate: str, cluster: Cluster) -> Iterable[Cause]:
    if gate not in cluster.gates:
        yield Cause("spec", f"{gate} feature gate is not enabled", UNSUPPORTED)


def refers(
    where: str, reference: TypedLocalObjectReference, kinds: Mapping[str, str]
) -> Iterable[Cause]:
    """`kinds`: the group of each kind that may be referred to."""
    if not reference.name:
        yield Cause(f"{where}.name", f"{where}.name must be given", REQUIRED)
    if reference.kind not in kinds:
        yield Cause(
            f"{where}.kind",
            f"{where}.kind: invalid kind {reference.kind!r}; one of {', '.join(kinds)}",
            UNSUPPORTED,
        )
        return
    group = kinds[reference.kind]
    if reference.api_group is None and group:
        yield Cause(
            f"{where}.apiGroup", f"{where}.apiGroup: missing apigroup, it is {group}", REQUIRED
        )
    elif (reference.api_group or "") != group:
        wanted = repr(group) if group else "empty"
        yield Cause(
            f"{where}.apiGroup",
            f"{where}.apiGroup: invalid apiGroup {reference.api_group!r}, it is {wanted} for a "
            f"{reference.kind}",
        )


def stays(asked: Asked[Any]) -> Iterable[Cause]:
    """A spec that says what is to be done once."""
    if asked.old is not None and asked.old.spec != asked.new.spec:
        yield Cause(
            "spec", "spec is immutable after creation; make a new object instead", UNSUPPORTED
        )


def one_of(where: str, value: str | None, known: tuple[str, ...]) -> Iterable[Cause]:
    if value is not None and value not in known:
        yield Cause(
            where, f"{where} {value!r} is not known; one of {', '.join(known)}", UNSUPPORTED
        )


def only_one(where: str, chosen: object, names: Mapping[str, str]) -> Iterable[Cause]:
    """`names`: the attributes that exclude each other, and how they are written."""
    given = [said for name, said in names.items() if getattr(chosen, name) is not None]
    if len(given) > 1:
        yield Cause(where, f"{where} can have one of {', '.join(given)}, not all of them")


def patches(where: str, texts: Iterable[str] | None) -> Iterable[Cause]:
    """Operations of JSON Patch, one in each text."""
    for index, text in enumerate(texts or ()):
        here = f"{where}[{index}]"
        try:
            operation = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            yield Cause(here, f"{here} is not JSON: {error}")
            continue
        if not _is_operation(operation):
            yield Cause(
                here,
                f"{here} must be an operation of JSON Patch, such as "
                '{"op": "replace", "path": "/spec/runStrategy", "value": "Halted"}',
            )


def _is_operation(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.get("op") in OPERATIONS
        and isinstance(value.get("path"), str)
        and (value["path"] == "" or value["path"].startswith("/"))
    )
