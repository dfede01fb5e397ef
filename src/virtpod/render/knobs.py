"""What can be set in a KubeVirt object, and what obeys it: the lines of knobs.txt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

from virtpod.api.kubevirt import KubeVirtSpec


@dataclass(frozen=True)
class Knob:
    path: str
    """Below spec of the KubeVirt object; it stands for all below it."""
    place: str
    """The file below src/virtpod that obeys it; "": none."""
    why: str
    """Why it has no effect; "": it has."""


@cache
def knobs() -> tuple[Knob, ...]:
    lines = files("virtpod.render").joinpath("knobs.txt").read_text("utf-8").splitlines()
    words = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    return tuple(
        Knob(path, "", rest[2:]) if rest.startswith("- ") else Knob(path, rest, "")
        for path, rest in words
    )


def knob(path: str) -> Knob | None:
    """The one that a field is of."""
    return next((k for k in knobs() if path == k.path or path.startswith(f"{k.path}.")), None)


def idle(spec: KubeVirtSpec) -> Iterator[str]:
    """What a spec sets without effect, in words for its author."""
    for path in dict.fromkeys(given(spec)):
        found = knob(path)
        if found is not None and found.why:
            yield f"spec.{path} has no effect: {found.why}"


def given(value: Any, path: str = "") -> Iterator[str]:
    """The fields that are set, with lists and maps by name looked through."""
    if isinstance(value, msgspec.Struct) and _ours(value):
        shape = zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True)
        for attribute, name in shape:
            part = getattr(value, attribute)
            if part is not None:
                yield from given(part, f"{path}.{name}".lstrip("."))
        return
    items = value.values() if isinstance(value, dict) else value
    if isinstance(items, list) or isinstance(value, dict):
        structs = [each for each in items if isinstance(each, msgspec.Struct) and _ours(each)]
        if structs:
            for each in structs:
                yield from given(each, path)
            return
    yield path


def _ours(value: msgspec.Struct) -> bool:
    return type(value).__module__ == KubeVirtSpec.__module__ and bool(value.__struct_fields__)
