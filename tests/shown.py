"""What the machines of a test were made of: a test that says it shows a field must have had it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from scripts import matrix

_had: set[str] = set()


def begin() -> None:
    """For each module: its machines are shared by its tests."""
    _had.clear()


def given(spec: Any) -> None:
    """A VMI's spec that a launcher or the API was given, or that the API has shown."""
    _had.update(matrix.present(spec))


def given_object(thing: Any) -> None:
    """The same of a whole object that may be a VMI or have its template."""
    if not isinstance(thing, dict):
        return
    for item in thing.get("items") or ():
        given_object(item)
    spec = thing.get("spec") or {}
    kind = thing.get("kind")
    if kind == "VirtualMachineInstance":
        given(spec)
    elif kind in ("VirtualMachine", "VirtualMachineInstanceReplicaSet"):
        given((spec.get("template") or {}).get("spec") or {})


def missing(patterns: Iterable[str]) -> list[str]:
    """Fields that were claimed, and that no machine of the module had so far."""
    claimed = {path for pattern in patterns for path in matrix.matching(pattern)}
    return sorted(claimed - _had)
