"""VirtualMachineInstancePresets on their way into a new machine.

What a preset says is for what the machine leaves open: the machine's own word stands, and two
presets that say different things let nothing in. Disks and other devices are the machine's own.

https://kubevirt.io/user-guide/virtual_machines/presets/
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from virtpod.api.base import Wire
from virtpod.api.meta import LabelSelector
from virtpod.domain import quantity
from virtpod.domain.selector import selects
from virtpod.features.contract import Cause

Json = dict[str, Any]
Path = tuple[str, ...]

EXCLUDE = "virtualmachineinstancepresets.admission.kubevirt.io/exclude"
"""Annotation of machines that no preset is for, where it is "true"."""
APPLIED = "virtualmachinepreset.kubevirt.io/"
"""Annotation, before the name of a preset that the machine has something of."""
VERSION = "kubevirt.io/v1"

WHOLE: tuple[Path, ...] = (
    ("cpu",),
    ("firmware",),
    ("clock",),
    ("features",),
    ("ioThreadsPolicy",),
    ("devices", "watchdog"),
)
"""Parts of a domain that are taken whole or not at all."""
REQUESTS: Path = ("resources", "requests")
"""Taken one by one."""
NOBODY = LabelSelector(match_labels={"": ""})
"""No label has an empty name."""


@dataclass(frozen=True)
class Preset:
    """What is kept of one in memory. `domain` is as it is stored."""

    name: str
    selector: LabelSelector
    domain: Json


@dataclass(frozen=True)
class Merged:
    """A machine with what presets gave it. Where there are `causes`, it got nothing."""

    vmi: Json
    overridden: list[str] = field(default_factory=list)
    """A sentence for each preset that the machine overrides."""
    causes: list[Cause] = field(default_factory=list)


class _Metadata(Wire):
    name: str = ""


class _Spec(Wire):
    selector: LabelSelector
    domain: Json | None = None


class _Stored(Wire):
    metadata: _Metadata
    spec: _Spec | None = None


_stored = msgspec.json.Decoder(_Stored)


def project(raw: bytes) -> Preset:
    """Of a preset as it is stored, by whatever schema there was then."""
    given = _stored.decode(raw)
    if given.spec is None:
        return Preset(given.metadata.name, NOBODY, {})
    return Preset(given.metadata.name, given.spec.selector, given.spec.domain or {})


def merge(vmi: Json, presets: Iterable[Preset]) -> Merged:
    """A machine that is to be created, as it was sent, with what the presets of its namespace
    give it. What is malformed stays so: others say what is wrong with it."""
    spec, metadata = vmi.get("spec"), vmi.get("metadata")
    domain = spec.get("domain", {}) if isinstance(spec, dict) else None
    if not isinstance(metadata, dict) or not isinstance(domain, dict):
        return Merged(vmi)
    annotations = metadata.get("annotations") or {}
    if not isinstance(annotations, dict) or annotations.get(EXCLUDE) == "true":
        return Merged(vmi)
    try:
        chosen = _chosen(metadata.get("labels") or {}, presets)
    except ValueError as error:
        return Merged(vmi, causes=[Cause("metadata.labels", str(error))])
    if causes := list(_conflicts(chosen)):
        return Merged(vmi, causes=causes)
    return _applied(vmi, chosen) if chosen else Merged(vmi)


def ignored(domain: Mapping[str, Any]) -> list[str]:
    """Paths below a preset's domain that no machine takes from one."""
    heads = {path[0] for path in (*WHOLE, REQUESTS)}
    found = [name for name in domain if name not in heads]
    for head, tail in ((p[0], p[1]) for p in (*WHOLE, REQUESTS) if len(p) > 1):
        found += [f"{head}.{name}" for name in domain.get(head) or {} if name != tail]
    return sorted(found)


def _chosen(labels: Any, presets: Iterable[Preset]) -> list[Preset]:
    """Those that are for a machine with these labels, by name."""
    if not isinstance(labels, dict):
        return []
    found = []
    for preset in sorted(presets, key=lambda each: each.name):
        try:
            if selects(preset.selector, labels):
                found.append(preset)
        except ValueError as error:
            message = f"VirtualMachineInstancePreset {preset.name!r}: spec.selector: {error}"
            raise ValueError(message) from error
    return found


def _conflicts(presets: Sequence[Preset]) -> Iterator[Cause]:
    said: dict[Path, tuple[str, Any]] = {}
    for preset in presets:
        for path, value in _parts(preset.domain):
            other, before = said.setdefault(path, (preset.name, value))
            if not _same(path, before, value):
                where = ".".join(("spec", "domain", *path))
                yield Cause(
                    where,
                    f"VirtualMachineInstancePresets {other!r} and {preset.name!r} are both for "
                    f"this machine and disagree about {where}; change the selector of one, or "
                    f"annotate the machine with {EXCLUDE}: 'true'",
                )


def _applied(vmi: Json, presets: Sequence[Preset]) -> Merged:
    made = copy.deepcopy(vmi)
    spec, metadata = made["spec"], made["metadata"]
    domain = spec.setdefault("domain", {})
    overridden = []
    for preset in presets:
        parts = list(_parts(preset.domain))
        lost = [path for path, value in parts if not _take(domain, path, value)]
        if lost:
            places = ", ".join(".".join(("spec", "domain", *path)) for path in lost)
            overridden.append(
                f"VirtualMachineInstancePreset {preset.name!r} is overridden: the machine says "
                f"itself what is to be {places}"
            )
        if len(lost) < len(parts):
            metadata["annotations"] = metadata.get("annotations") or {}
            metadata["annotations"][APPLIED + preset.name] = VERSION
    return Merged(made, overridden)


def _parts(domain: Json) -> Iterator[tuple[Path, Any]]:
    """What a preset has to say, part by part."""
    for path in WHOLE:
        value: Any = domain
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if value is not None:
            yield path, value
    requests = (domain.get(REQUESTS[0]) or {}).get(REQUESTS[1]) or {}
    for name, asked in requests.items():
        yield (*REQUESTS, name), asked


def _take(domain: Json, path: Path, value: Any) -> bool:
    """Fills in a part that is not there. Whether the machine has this value then."""
    for name in path[:-1]:
        if domain.get(name) is None:
            domain[name] = {}
        domain = domain[name]
        if not isinstance(domain, dict):
            return False
    if domain.get(path[-1]) is None:
        domain[path[-1]] = copy.deepcopy(value)
    return _same(path, domain[path[-1]], value)


def _same(path: Path, one: Any, other: Any) -> bool:
    if path[:-1] == REQUESTS:
        try:
            return quantity.parse(one) == quantity.parse(other)
        except ValueError:
            pass  # what is no quantity is refused in its turn
    return bool(one == other)
