"""VirtualMachineInstancePreset: a domain that would do as part of a machine's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from virtpod.api.preset import VirtualMachineInstancePreset
from virtpod.features.contract import REQUIRED, Cause
from virtpod.render import admit
from virtpod.render import preset as presets
from virtpod.render.rules import Asked, Rules

NOBODY = "00000000-0000-0000-0000-000000000000"
LONG_AGO = "1970-01-01T00:00:00Z"


def _causes(asked: Asked[VirtualMachineInstancePreset]) -> Iterable[Cause]:
    spec = asked.new.spec
    if spec is None or spec.domain is None:
        yield Cause("spec.domain", "missing domain.", REQUIRED)
        return
    domain = msgspec.to_builtins(spec.domain)
    vmi = {"metadata": {"name": "preset"}, "spec": {"domain": domain}}
    tried = admit.vmi(vmi, asked.cluster, now=LONG_AGO, uuid=NOBODY)
    # What the rest of a machine may still bring is not held against it.
    yield from (each for each in tried.causes if _said(domain, each.field))


def _warnings(asked: Asked[VirtualMachineInstancePreset]) -> Iterable[str]:
    if asked.new.spec and asked.new.spec.domain:
        for path in presets.ignored(msgspec.to_builtins(asked.new.spec.domain)):
            yield f"spec.domain.{path} has no effect: machines do not take it from a preset"


def _said(domain: Any, path: str) -> bool:
    """Whether the preset itself has what a cause is about, disks aside: their volumes are not
    its own."""
    parts = path.replace("]", "").replace("[", ".").split(".")
    if parts[:2] != ["spec", "domain"] or "disks" in parts:
        return False
    value = domain
    for part in parts[2:]:
        if isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            return False
    return True


RULES = Rules(VirtualMachineInstancePreset, _causes, warnings=_warnings)
