"""What can be set in a KubeVirt object, what obeys it, what shows that: docs/configuration.md.

The fields are the leaves of the types. A golden case whose cluster.yaml has one shows what becomes
of it; a test that is marked with `configures` what it does. Marks are read from the source.
"""

from __future__ import annotations

import ast
import fnmatch
from collections.abc import Iterator
from functools import cache

import msgspec
import yaml
from msgspec import inspect as types

from scripts.matrix import TESTS, Loader
from virtpod.api.kubevirt import KubeVirtConfiguration, KubeVirtSpec
from virtpod.render.knobs import Knob, given, knob, knobs


@cache
def fields() -> tuple[str, ...]:
    """Every field below spec; lists, and maps by name, are looked through."""
    return tuple(dict.fromkeys(_leaves(types.type_info(KubeVirtSpec), "")))


def _leaves(shape: types.Type, path: str) -> Iterator[str]:
    match shape:
        case types.Metadata(type=inner):
            yield from _leaves(inner, path)
        case types.UnionType():
            for each in shape.types:
                if not isinstance(each, types.NoneType):
                    yield from _leaves(each, path)
        case types.ListType(item_type=inner) | types.DictType(value_type=inner):
            yield from _leaves(inner, path)
        case types.StructType() if shape.fields and shape.cls.__module__ == KubeVirtSpec.__module__:
            for field in shape.fields:
                yield from _leaves(field.type, f"{path}.{field.encode_name}".lstrip("."))
        case _:
            yield path


@cache
def shown() -> dict[str, tuple[str, ...]]:
    """By field: the golden cases and the tests."""
    found: dict[str, list[str]] = {}
    for case in sorted((TESTS / "golden").glob("*/*/cluster.yaml")):
        raw = yaml.load(case.read_text(encoding="utf-8"), Loader)
        config = msgspec.convert(raw, KubeVirtConfiguration)
        for path in dict.fromkeys(given(config, "configuration")):
            found.setdefault(path, []).append(
                f"golden/{case.parent.parent.name}/{case.parent.name}"
            )
    for test, patterns in marks().items():
        for path in dict.fromkeys(path for pattern in patterns for path in matching(pattern)):
            found.setdefault(path, []).append(test)
    return {path: tuple(by) for path, by in found.items()}


def matching(pattern: str) -> tuple[str, ...]:
    """The fields that a mark means: one by its path, or with `.*` all below a path."""
    return tuple(path for path in fields() if fnmatch.fnmatchcase(path, pattern))


@cache
def marks() -> dict[str, tuple[str, ...]]:
    """By test ("operator/test_install.py::test_x"): what it is marked with."""
    found: dict[str, tuple[str, ...]] = {}
    for file in sorted(TESTS.glob("*/test_*.py")):
        text = file.read_text(encoding="utf-8")
        if "mark.configures" not in text:
            continue
        for each in ast.parse(text).body:
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                calls = [call for call in each.decorator_list if isinstance(call, ast.Call)]
                said = tuple(
                    str(ast.literal_eval(word))
                    for call in calls
                    if ast.unparse(call.func) == "pytest.mark.configures"
                    for word in call.args
                )
                if said:
                    found[f"{file.parent.name}/{file.name}::{each.name}"] = said
    return found


def below(each: Knob) -> tuple[str, ...]:
    """The fields that a line of knobs.txt is about."""
    return tuple(path for path in fields() if knob(path) is each)


def page() -> str:
    """docs/configuration.md."""
    lines = [
        "# Configuration",
        "",
        "Made by `make docs` from `src/virtpod/render/knobs.txt`, the golden cases and the tests.",
        "",
        "What `spec` of the KubeVirt object takes. A change is obeyed at once and restarts",
        "nothing, save where a component's own manifest changes; guests that run keep what they",
        "were started with. An object that is refused names the field and what to write instead;",
        "one that cannot be read (a newer version's, say) leaves the last good configuration in",
        "force.",
        "[api.md](api.md#kubevirt) says what each field means.",
        "",
        "| Field | Obeyed by | Seen |",
        "|---|---|---|",
    ]
    for each in sorted(knobs(), key=lambda each: each.path):
        if each.why:
            continue
        seen = list(dict.fromkeys(test for path in below(each) for test in shown().get(path, ())))
        told = "<br>".join(f"`{test}`" for test in seen[:3])
        told += f" +{len(seen) - 3}" if len(seen) > 3 else ""
        file = f"[{each.place}](../src/virtpod/{each.place})"
        lines.append(f"| `{each.path}` | {file} | {told} |")
    lines += [
        "",
        "## Without effect",
        "",
        "Accepted and checked; virt-operator answers with a warning.",
        "",
        *without(),
        "",
        *MORE,
    ]
    return "\n".join(lines)


def without() -> list[str]:
    """A line for each that has no effect."""
    return [f"- `{each.path}`: {each.why}" for each in sorted(knobs(), key=_path) if each.why]


def _path(each: Knob) -> str:
    return each.path


MORE = (
    "## Another version",
    "",
    "Apply the new version's manifests, or set `imageTag`; back again is the same way.",
    "virt-operator replaces its components one after the other, and takes away what the new",
    "version no longer makes; guests are not touched. They stay in the launcher that they were",
    "started in: the KubeVirt object's `status.outdatedVirtualMachineInstanceWorkloads` counts",
    "those of an older version, and each has the label `kubevirt.io/outdatedLauncherImage`. With",
    "`workloadUpdateMethods: [Evict]` they are stopped in good order, `batchEvictionSize` at a",
    "time and `batchEvictionInterval` apart, and start in a new one. LiveMigrate is taken and",
    "waits for live migration.",
    "",
)
