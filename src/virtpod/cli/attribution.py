"""Which feature wrote what: YAML, steps and XML with the features' names beside them.

The renderers merge what features return; here each feature is asked once more by itself, and what
it returns is found again in the whole.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any
from xml.etree.ElementTree import Comment, Element

import yaml

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster, Guest, Host
from virtpod.domain.steps import MakeIso, Nft
from virtpod.domain.xml import text
from virtpod.features import ALL
from virtpod.render import domain as renderer
from virtpod.render.domain import IN_OS, TOP

Path = tuple[str | int, ...]
Note = Callable[[Path], str]

COLUMN = 64
"""Where the notes begin."""


def plain(value: Any, _note: Note) -> str:
    """YAML."""
    return "\n".join(line for line, _ in _lines(value, ()))


def noted(value: Any, note: Note) -> str:
    """YAML with a comment where the writer changes."""
    out = []
    said: dict[Path, str] = {(): ""}
    for line, path in _lines(value, ()):
        writer = note(path)
        outer = next(said[path[:end]] for end in range(len(path), -1, -1) if path[:end] in said)
        said[path] = writer
        if len(path) > 1 and isinstance(path[-2], int):
            said.setdefault(path[:-1], writer)  # a list's item speaks through its first line
        out.append(f"{line:<{COLUMN}} # {writer}" if writer and writer != outer else line)
    return "\n".join(out)


def of_spec(given: Any) -> Note:
    """Who owns a place of the spec, and whether the user or admission filled it in."""
    owners = {tuple(path.split(".")): each.name for each in ALL for path in each.owns}

    def note(path: Path) -> str:
        words = tuple(part for part in path if isinstance(part, str))
        owner = next(
            (owners[words[:end]] for end in range(len(words), 0, -1) if words[:end] in owners), ""
        )
        if _has(given, path):
            return owner
        return f"{owner}: default" if owner else "default"

    return note


def of_pod(manifest: Any, vmi: VMI, cluster: Cluster) -> Note:
    """Which feature brought a volume, container, label, ... of the pod."""
    writers: dict[Path, str] = {}
    places = {
        ("spec", "volumes"): "volumes",
        ("spec", "containers"): "containers",
        ("spec", "initContainers"): "init_containers",
        ("spec", "containers", 0, "volumeMounts"): "mounts",
        ("spec", "containers", 0, "env"): "env",
        ("spec", "containers", 0, "resources", "limits"): "limits",
        ("spec", "containers", 0, "resources", "requests"): "requests",
        ("spec", "nodeSelector"): "node_selector",
        ("metadata", "labels"): "labels",
        ("metadata", "annotations"): "annotations",
        ("spec",): "spec",
    }
    for feature in ALL:
        asked = feature.asked(vmi)
        if not feature.pod or not asked:
            continue
        part = feature.pod(asked, vmi, cluster)
        for place, attribute in places.items():
            whole, brought = _at(manifest, place), getattr(part, attribute)
            if isinstance(whole, list):
                for index, item in enumerate(whole):
                    if item in brought:
                        writers.setdefault((*place, index), feature.name)
            elif isinstance(whole, dict):
                for key in brought:
                    writers.setdefault((*place, key), feature.name)

    def note(path: Path) -> str:
        ends = range(len(path), 0, -1)
        return next((writers[path[:end]] for end in ends if path[:end] in writers), "")

    return note


def steps(hook: str, vmi: VMI, facts: Host | Guest, *, names: bool) -> str:
    """The steps that features return from `hook`, one a block."""
    out: list[str] = []
    for feature in ALL:
        returned = getattr(feature, hook)
        asked = feature.asked(vmi)
        for step in returned(asked, vmi, facts) if returned and asked else ():
            kind = type(step).__name__
            out.append(f"{kind:<{COLUMN}} # {feature.name}" if names else kind)
            out += [f"  {line}" for line in _step(step)]
    return "\n".join(out) if out else "(none)"


def domain(vmi: VMI, guest: Guest, *, names: bool) -> str:
    """The domain XML; a comment before each element of another feature than the last."""
    whole = renderer.draw(vmi, guest)
    if not names:
        return text(whole)
    drawn: dict[str, dict[str, list[str]]] = {
        place: defaultdict(list) for place in ("top", "os", "devices")
    }
    for feature in ALL:
        asked = feature.asked(vmi)
        if feature.devices and asked:
            for element in feature.devices(asked, vmi, guest):
                drawn[_place(element)][element.tag].append(feature.name)
    for place, parent in (("os", "os"), ("devices", "devices")):
        if (inner := whole.find(parent)) is not None:
            _comment(inner, drawn[place])
    _comment(whole, drawn["top"])
    return text(whole)


def _place(element: Element) -> str:
    if element.tag in TOP:
        return "top"
    return "os" if element.tag in IN_OS else "devices"


def _comment(parent: Element, writers: dict[str, list[str]]) -> None:
    """The first <disk> was drawn first, and so on: order within a tag is kept."""
    last = ""
    for child in list(parent):
        names = writers.get(str(child.tag))
        name = names.pop(0) if names else ""
        if name and name != last:
            parent.insert(list(parent).index(child), Comment(f" {name} "))
        last = name or last


def _step(step: Any) -> Iterator[str]:
    for field in dataclasses.fields(step):
        value = getattr(step, field.name)
        if isinstance(step, Nft) and field.name == "body":
            yield from value.splitlines()
        elif isinstance(step, MakeIso) and field.name == "files":
            for name, content in value:
                yield f"{name}:"
                yield from (f"  {line}" for line in content.decode(errors="replace").splitlines())
        else:
            yield f"{field.name}: {value}"


def _lines(value: Any, path: Path) -> Iterator[tuple[str, Path]]:
    """YAML line by line, each with the place it is about."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            here = (*path, key)
            name = _scalar(key)
            if isinstance(inner, dict | list) and inner:
                yield f"{name}:", here
                indent = "" if isinstance(inner, list) else "  "
                yield from ((indent + line, place) for line, place in _lines(inner, here))
            elif isinstance(inner, str) and "\n" in inner:
                yield f"{name}: |{'' if inner.endswith(chr(10)) else '-'}", here
                yield from (("  " + line, here) for line in inner.splitlines())
            else:
                yield f"{name}: {_scalar(inner)}", here
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            lead = "- "
            for line, place in _lines(inner, (*path, index)):
                yield lead + line, place
                lead = "  "
    else:
        yield _scalar(value), path


def _scalar(value: Any) -> str:
    return yaml.safe_dump(value, width=10**6, allow_unicode=True).removesuffix("...\n").strip()


def _at(value: Any, path: Path) -> Any:
    try:
        for part in path:
            value = value[part]
    except (KeyError, IndexError, TypeError):
        return None
    return value


def _has(value: Any, path: Path) -> bool:
    return _at(value, path) is not None
