"""The contract of a feature: what one file may contribute, and to whom.

A feature is something a user can leave out of a spec. Each file of this package ends with one
`Feature` value; the renderers ask every feature in the order of `features.ALL`. A hook that is
None contributes nothing. Hooks are pure: they get the part of the spec that `asked` found, the
whole VMI for what they must look at, and frozen facts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster, Guest, Host
from virtpod.domain.steps import BootStep, HostStep
from virtpod.domain.xml import Element
from virtpod.wire.messages import DomainChanged

P = TypeVar("P")

Json = dict[str, Any]


@dataclass(frozen=True)
class Cause:
    """Why a spec is refused. `field` is relative to the VMI ("spec.domain.cpu.cores");
    `reason` is Kubernetes' cause type; `message` says what to do."""

    field: str
    message: str
    reason: str = "FieldValueInvalid"


REQUIRED = "FieldValueRequired"
DUPLICATE = "FieldValueDuplicate"
UNSUPPORTED = "FieldValueNotSupported"
NOT_FOUND = "FieldValueNotFound"


@dataclass(frozen=True)
class PodPart:
    """What a feature adds to the launcher pod. Kubernetes' JSON shapes; `mounts`, `env`,
    `args`, `claims` and `limits` are the compute container's; `overhead` is bytes of memory beside
    the guest's."""

    volumes: tuple[Json, ...] = ()
    mounts: tuple[Json, ...] = ()
    devices: tuple[Json, ...] = ()
    """Block volumes of the compute container (`volumeDevices`)."""
    init_containers: tuple[Json, ...] = ()
    containers: tuple[Json, ...] = ()
    env: tuple[Json, ...] = ()
    args: tuple[str, ...] = ()
    claims: tuple[Json, ...] = ()
    """Of the pod's resource claims, what is for the compute container (`resources.claims`)."""
    limits: Mapping[str, str] = field(default_factory=dict)
    requests: Mapping[str, str] = field(default_factory=dict)
    node_selector: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the pod's spec itself."""
    compute: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the compute container itself."""
    security: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the compute container's security context."""
    overhead: int = 0


@dataclass(frozen=True)
class Feature(Generic[P]):
    """One feature. `name` is that of its file, golden folder and docs anchor."""

    name: str
    owns: tuple[str, ...]
    """Paths of the VMI spec that it makes work, "domain.devices.watchdog" and all below it."""
    asked: Callable[[VMI], P | None]
    """The part of the spec that it works on; None or empty: nobody asked for it."""
    gate: str | None = None
    defaults: Callable[[P, VMI, Cluster], None] | None = None
    """Edits the admission copy of the VMI."""
    validate: Callable[[P, VMI, Cluster], Iterable[Cause]] | None = None
    warn: Callable[[P, VMI, Cluster], Iterable[str]] | None = None
    """What works otherwise than it may seem: texts that begin with a path below the spec
    (".volumes[0] ..."), of the VMI as it was sent."""
    pod: Callable[[P, VMI, Cluster], PodPart] | None = None
    host: Callable[[P, VMI, Host], Iterable[HostStep]] | None = None
    boot: Callable[[P, VMI, Guest], Iterable[BootStep]] | None = None
    devices: Callable[[P, VMI, Guest], Iterable[Element]] | None = None
    """Elements of the domain; the renderer knows where each tag belongs."""
    tune: Callable[[P, VMI, Guest, Element], None] | None = None
    """Edits the drawn domain, last. For what cuts across all devices, and nothing else."""
    blocks_migration: Callable[[P, VMI, DomainChanged], str | None] | None = None
    """A reason why the running guest cannot move, for condition LiveMigratable."""
    observe: Callable[[P, VMI, DomainChanged], Json] | None = None
    """Status fields of the running guest."""


def always(vmi: VMI) -> VMI:
    """For features that every machine has."""
    return vmi
