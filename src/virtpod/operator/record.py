"""What virt-operator has made, as `status.generations` of the KubeVirt object: by it the next
version, or the same one with other wishes, knows what is no longer made and is to go.

It is written before anything new is made, so that nothing is ever there that is not recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from virtpod.kube.resources import KNOWN, Key, Obj, Resource, key_of, of
from virtpod.render.install import STAMPS

BY_PLURAL = {(each.group, each.plural): each for each in KNOWN.values()}
OURS = "app.kubernetes.io/managed-by"

Entry = dict[str, Any]
Place = tuple[Resource, Key]


def places(cr: Obj) -> list[Place]:
    """What is recorded; kinds that this version does not know are left out."""
    found = []
    for entry in (cr.get("status") or {}).get("generations") or ():
        resource = BY_PLURAL.get((entry.get("group") or "", entry.get("resource") or ""))
        if resource is not None:
            found.append((resource, Key(entry.get("namespace") or "", entry.get("name") or "")))
    return found


def of_manifests(manifests: Iterable[Obj]) -> list[Place]:
    return [(of(each), key_of(each)) for each in manifests]


def entries(made: Iterable[tuple[Place, int]]) -> list[Entry]:
    """As the API has them, in an order that does not depend on who was first."""
    found = [
        {
            "group": resource.group,
            "resource": resource.plural,
            **({"namespace": key.namespace} if key.namespace else {}),
            "name": key.name,
            "lastGeneration": generation,
        }
        for (resource, key), generation in made
    ]
    return sorted(found, key=_order)


def _order(entry: Entry) -> tuple[str, ...]:
    return tuple(str(entry.get(name, "")) for name in ("group", "resource", "namespace", "name"))


def announced(cr: Obj, wanted: Sequence[Place]) -> list[Entry] | None:
    """The record with all that is about to be made; None where it says that already."""
    have = (cr.get("status") or {}).get("generations") or []
    known = set(places(cr))
    new = [place for place in wanted if place not in known]
    if not new:
        return None
    return sorted([*have, *entries((place, 0) for place in new)], key=_order)


def stale(cr: Obj, wanted: Sequence[Place]) -> list[Place]:
    """What was made once and is not wanted now."""
    keep = set(wanted)
    return [place for place in places(cr) if place not in keep]


def is_ours(live: Obj) -> bool:
    """A record can be wrong: what does not carry our mark is not ours to delete."""
    return bool((live["metadata"].get("labels") or {}).get(OURS) == STAMPS[OURS])


def manifest(place: Place) -> Obj:
    """As much of it as its deletion needs."""
    resource, key = place
    namespace = {"namespace": key.namespace} if key.namespace else {}
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": key.name, **namespace},
    }
