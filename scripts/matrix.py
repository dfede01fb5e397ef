"""Which field of a VMI's spec works, and what shows it: the facts of docs/features.md.

The fields are the leaves of the types; what is Kubernetes' own (`virtpod.api.core`: affinities,
probes' actions) goes to the pod as it is, and is one field here. A golden case shows what a field
becomes; a test of `tests/guest` or `tests/e2e` that is marked with `shows` what it does. The marks
are read from the source, so nothing is imported, and no test runs; when such a test does run,
`tests/conftest.py` sees to it that its machines had the fields.
"""

from __future__ import annotations

import ast
import fnmatch
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from msgspec import inspect as types

from virtpod.api.vmi import VirtualMachineInstanceSpec
from virtpod.features import ALL

TESTS = Path(__file__).parent.parent / "tests"
SHOWING = ("guest", "e2e")
NOT_SHOWN = TESTS / "not_shown.txt"
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def fields() -> tuple[str, ...]:
    """Every field, as its path below the spec; lists are looked through."""
    return tuple(_leaves(types.type_info(VirtualMachineInstanceSpec), ""))


def _leaves(shape: types.Type, path: str) -> Iterator[str]:
    shape = _inner(shape)
    ours = isinstance(shape, types.StructType) and not shape.cls.__module__.endswith("api.core")
    if isinstance(shape, types.StructType) and shape.fields and (ours or not path):
        for each in shape.fields:
            yield from _leaves(each.type, f"{path}.{each.encode_name}".lstrip("."))
    else:
        yield path


def _inner(shape: types.Type) -> types.Type:
    """What is behind a list, an annotation or a None."""
    while True:
        if isinstance(shape, types.Metadata):
            shape = shape.type
        elif isinstance(shape, types.ListType):
            shape = shape.item_type
        elif isinstance(shape, types.UnionType):
            given = [each for each in shape.types if not isinstance(each, types.NoneType)]
            if len(given) > 1:
                return shape
            shape = given[0]
        else:
            return shape


def matching(pattern: str) -> tuple[str, ...]:
    """The fields that a mark means: one by its path, or with `.*` all below a path."""
    return tuple(path for path in fields() if fnmatch.fnmatchcase(path, pattern))


def present(spec: Any) -> frozenset[str]:
    """The fields that a spec, as JSON, has. `relaxed: {}` means `relaxed.enabled: true`."""
    known = frozenset(fields())
    given = set(_paths(spec, ""))
    given |= {f"{path}.{word}" for path in given for word in ("enabled", "present")}
    return frozenset(given & known)


def _paths(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _paths(item, path)
    elif value is not None:
        yield path
        if isinstance(value, dict):
            for name, item in value.items():
                yield from _paths(item, f"{path}.{name}".lstrip("."))


def below(path: str, above: str) -> bool:
    return path == above or path.startswith(above + ".")


def owner(path: str) -> str | None:
    """The feature that makes a field work; None: nothing does yet."""
    found = (feature.name for feature in ALL if any(below(path, own) for own in feature.owns))
    return next(found, None)


@cache
def goldens() -> dict[str, tuple[str, ...]]:
    """By field: the golden cases whose VMI has it."""
    found: dict[str, list[str]] = {}
    for file in sorted((TESTS / "golden").glob("*/*/vmi.yaml")):
        vmi = yaml.load(file.read_text(encoding="utf-8"), Loader)
        for path in sorted(present(vmi.get("spec") or {})):
            found.setdefault(path, []).append(f"{file.parent.parent.name}/{file.parent.name}")
    return {path: tuple(cases) for path, cases in found.items()}


@cache
def marks() -> dict[str, tuple[str, ...]]:
    """By test ("guest/test_life.py::test_x"): what it is marked with."""
    found: dict[str, tuple[str, ...]] = {}
    for folder in SHOWING:
        for file in sorted((TESTS / folder).glob("test_*.py")):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            functions = (ast.FunctionDef, ast.AsyncFunctionDef)
            for each in (node for node in tree.body if isinstance(node, functions)):
                if said := tuple(_marked(each.decorator_list)):
                    found[f"{folder}/{file.name}::{each.name}"] = said
    return found


def _marked(decorators: Iterable[ast.expr]) -> Iterator[str]:
    for call in decorators:
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.shows":
            yield from (str(ast.literal_eval(word)) for word in call.args)


@cache
def tests() -> dict[str, tuple[str, ...]]:
    """By field: the tests that show it."""
    found: dict[str, list[str]] = {}
    for test, patterns in marks().items():
        for path in sorted({path for pattern in patterns for path in matching(pattern)}):
            found.setdefault(path, []).append(test)
    return {path: tuple(names) for path, names in found.items()}


@cache
def not_shown() -> dict[str, str]:
    """By pattern: why the machines that run the tests cannot show these fields in a guest."""
    lines = NOT_SHOWN.read_text(encoding="utf-8").splitlines()
    entries = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    return {pattern: reason.strip() for pattern, reason in entries}


def reason(path: str) -> str | None:
    found = (why for pattern, why in not_shown().items() if path in matching(pattern))
    return next(found, None)
