"""VirtualMachineInstancePreset: domain values for VirtualMachineInstances whose labels match."""

from __future__ import annotations

from msgspec import field

from virtpod.api.base import Wire
from virtpod.api.domain import DomainSpec
from virtpod.api.meta import LabelSelector, ObjectMeta


class VirtualMachineInstancePresetSpec(Wire):
    selector: LabelSelector
    """Labels of the instances that it applies to."""
    domain: DomainSpec | None = None
    """Values for what their domains leave open."""


class VirtualMachineInstancePreset(Wire):
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    """Name, namespace, labels and what else every object has."""
    spec: VirtualMachineInstancePresetSpec | None = None
    """Guests, and values for them."""
