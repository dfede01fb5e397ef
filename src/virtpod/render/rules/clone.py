"""VirtualMachineClone: from a machine or a snapshot, to a machine with another name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from virtpod.api.clone import VirtualMachineClone
from virtpod.features.contract import Cause, Json
from virtpod.render.rules import Asked, Rules
from virtpod.render.rules._common import KUBEVIRT, SNAPSHOT, gated, one_of, patches, refers, stays

SOURCES = {"VirtualMachine": KUBEVIRT, "VirtualMachineSnapshot": SNAPSHOT}
TARGETS = {"VirtualMachine": KUBEVIRT}
VOLUMES = ("RandomizeNames", "PrefixTargetName")
_PATTERN = re.compile(r"!?[^!]+")
_MAC = re.compile(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}")


def _causes(asked: Asked[VirtualMachineClone]) -> Iterable[Cause]:
    if asked.old is not None:
        yield from stays(asked)
        return
    spec = asked.new.spec
    yield from gated("Snapshot", asked.cluster)
    yield from refers("spec.source", spec.source, SOURCES)
    if spec.target is not None:
        yield from refers("spec.target", spec.target, TARGETS)
        same = (spec.target.kind, spec.target.name) == (spec.source.kind, spec.source.name)
        if same and spec.target.name:
            message = "spec.target.name must be another one than the source's"
            yield Cause("spec.target.name", message)
    template = spec.template
    for where, filters in (
        ("spec.labelFilters", spec.label_filters),
        ("spec.annotationFilters", spec.annotation_filters),
        ("spec.template.labelFilters", template and template.label_filters),
        ("spec.template.annotationFilters", template and template.annotation_filters),
    ):
        yield from _filters(where, filters or ())
    for name, mac in (spec.new_mac_addresses or {}).items():
        if not _MAC.fullmatch(mac):
            where = f"spec.newMacAddresses.{name}"
            yield Cause(where, f"{where}: {mac!r} is not a MAC address such as 02:00:5e:00:53:01")
    yield from one_of("spec.volumeNamePolicy", spec.volume_name_policy, VOLUMES)
    yield from patches("spec.patches", spec.patches)


def _filters(where: str, filters: Iterable[str]) -> Iterable[Cause]:
    for index, pattern in enumerate(filters):
        if not _PATTERN.fullmatch(pattern):
            here = f"{where}[{index}]"
            yield Cause(
                here,
                f"{here} {pattern!r} is invalid: it is a pattern such as 'app/*', with '!' before "
                "it for what is left out and nowhere else",
            )


def named(obj: Json, seed: str) -> list[dict[str, Any]]:
    """The JSON patch that names the target where it has no name. `seed`: a new UUID."""
    spec = obj.get("spec")
    if not isinstance(spec, dict) or not isinstance(spec.get("source"), dict):
        return []
    target = spec.get("target")
    target = target if isinstance(target, dict) else {}
    if target.get("name"):
        return []
    name = f"clone-{str(spec['source'].get('name'))[:40]}-{seed[:5]}"
    whole = {"apiGroup": KUBEVIRT, "kind": "VirtualMachine", **target, "name": name}
    return [{"op": "add", "path": "/spec/target", "value": whole}]


RULES = Rules(VirtualMachineClone, _causes)
