"""VirtualMachineInstancePreset: domain values for VirtualMachineInstances whose labels match."""

from __future__ import annotations

from msgspec import field

from virtpod.api.base import Wire
from virtpod.api.domain import DomainSpec
from virtpod.api.meta import LabelSelector, ObjectMeta


class VirtualMachineInstancePresetSpec(Wire):
    selector: LabelSelector
    domain: DomainSpec | None = None


class VirtualMachineInstancePreset(Wire):
    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: VirtualMachineInstancePresetSpec | None = None
