"""VirtualMachine: what it says beside its template and its run strategy.

https://kubevirt.io/user-guide/storage/disks_and_volumes/#datavolume
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.vm import DataVolumeTemplateSpec, VirtualMachine
from virtpod.features.contract import DUPLICATE, REQUIRED, Cause
from virtpod.features.disks import claim
from virtpod.features.network import _addresses as addresses
from virtpod.render.rules._common import one_of

WHERE = "spec.dataVolumeTemplates"
UPDATES = ("Migration", "Replacement")


def causes(vm: VirtualMachine) -> Iterable[Cause]:
    yield from one_of("spec.updateVolumesStrategy", vm.spec.update_volumes_strategy, UPDATES)
    yield from _addresses(vm)
    template = vm.spec.template and vm.spec.template.spec
    used = {claim(volume) for volume in (template and template.volumes) or ()}
    seen: set[str] = set()
    for index, each in enumerate(vm.spec.data_volume_templates or ()):
        here = f"{WHERE}[{index}]"
        name = (each.metadata and each.metadata.name) or ""
        yield from _template(here, each, name)
        if name in seen:
            message = f"{here}: two DataVolumes cannot both be called {name!r}"
            yield Cause(f"{here}.metadata.name", message, DUPLICATE)
        elif name and name not in used:
            yield Cause(
                here,
                f"DataVolumeTemplate entry {here} must be referenced in the VMI template's "
                "'volumes' list",
            )
        seen.add(name)


def _addresses(vm: VirtualMachine) -> Iterable[Cause]:
    yield from addresses.causes(vm.metadata.annotations)
    template = vm.spec.template
    if template and template.metadata:
        for cause in addresses.causes(template.metadata.annotations):
            where, said = f"spec.template.{cause.field}", f"spec.template.{cause.message}"
            yield Cause(where, said, cause.reason)


def _template(here: str, template: DataVolumeTemplateSpec, name: str) -> Iterable[Cause]:
    spec = template.spec
    if not name:
        yield Cause(f"{here}.metadata.name", f"{here} must have a name", REQUIRED)
    if spec.pvc is not None and spec.storage is not None:
        yield Cause(f"{here}.spec", f"{here}.spec can have pvc or storage, not both")
    elif spec.pvc is None and spec.storage is None:
        yield Cause(f"{here}.spec", f"{here}.spec must have one of pvc and storage", REQUIRED)
    if spec.source is not None and spec.source_ref is not None:
        yield Cause(f"{here}.spec", f"{here}.spec can have source or sourceRef, not both")
    elif spec.source is None and spec.source_ref is None:
        message = f"{here}.spec: missing source; name source or sourceRef"
        yield Cause(f"{here}.spec", message, REQUIRED)
