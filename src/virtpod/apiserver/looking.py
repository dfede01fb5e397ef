"""Other objects that the rules of a kind must know: read before a review, as rules are pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from virtpod.apiserver.admission import KINDS
from virtpod.kube import review
from virtpod.kube.resources import MIGRATIONS, RESTORES, VMIS, Key, Obj, Resource
from virtpod.render.rules import Look, Seen

KNOWN = {each.kind: each for each in (VMIS, MIGRATIONS, RESTORES)}
"""What rules look at."""


class Reads(Protocol):
    async def read(self, resource: Resource, key: Key) -> Obj | None:
        """An object, if it is there."""

    async def every(self, resource: Resource, namespace: str) -> Sequence[Obj]:
        """All of a namespace."""


async def seen(path: str, body: bytes, objects: Reads) -> Seen:
    """For the review at one of `admission.KINDS`, as it was sent."""
    _, rules = KINDS[path]
    try:
        request = review.asked(body)
        if request.operation != "CREATE":
            return {}
        looks = rules.looks(msgspec.json.decode(request.object))
        if not all(_plain(look) for look in looks.values()):
            return {}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}  # the review itself will say what is wrong with it
    return {name: await _found(look, objects) for name, look in looks.items()}


def _plain(look: Look) -> bool:
    return isinstance(look.namespace, str) and isinstance(look.name, str)


async def _found(look: Look, objects: Reads) -> list[Obj]:
    resource = KNOWN[look.kind]
    if not look.name:
        return list(await objects.every(resource, look.namespace))
    one = await objects.read(resource, Key(look.namespace, look.name))
    return [] if one is None else [one]
