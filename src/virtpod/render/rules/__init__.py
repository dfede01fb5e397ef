"""Rules of the kinds beside machines: what is refused of a snapshot, a pool, a migration.

One file per topic; each function gets what is `Asked` and yields causes. What a rule must know of
other objects it names beforehand (`looks`), so that rules stay pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from virtpod.domain.facts import Cluster
from virtpod.features.contract import Cause, Json

if TYPE_CHECKING:
    from virtpod.render.expand import Named

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class Look:
    """An object that a rule must know; without a name all of its kind there."""

    kind: str
    namespace: str
    name: str = ""


Seen = Mapping[str, list[Json]]
"""By the name that the rule gave the look; an object that is not there is an empty list."""


@dataclass(frozen=True)
class Asked(Generic[T_co]):
    """One object that is created, or updated where there is an old one."""

    new: T_co
    old: T_co | None
    cluster: Cluster
    seen: Seen = field(default_factory=dict)
    named: Named | None = None
    """The instance type and the preference of the VM that a pool's template is."""


def nothing(obj: Json) -> Mapping[str, Look]:
    return {}


def silent(asked: Asked[Any]) -> Iterable[str]:
    return ()


@dataclass(frozen=True)
class Rules(Generic[T]):
    """Of one kind. `looks` gets the object as it was sent, whatever it holds."""

    kind: type[T]
    causes: Callable[[Asked[T]], Iterable[Cause]]
    looks: Callable[[Json], Mapping[str, Look]] = nothing
    warnings: Callable[[Asked[T]], Iterable[str]] = silent
