"""What a user may not write into a VMI, by who the user is. Pure.

The rules of a spec itself are in `render.admit`; these depend on the caller: a running VMI's spec
belongs to the product, its status likewise, and some labels are how the components find each
other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from virtpod.api.base import Wire, decode
from virtpod.api.vm import VirtualMachineVolumeRequest
from virtpod.features.contract import DUPLICATE, REQUIRED, UNSUPPORTED, Cause
from virtpod.render.admit import RESERVED_LABELS

_COMPONENTS = ("kubevirt-apiserver", "kubevirt-controller", "kubevirt-handler", "kubevirt-operator")

Json = Mapping[str, Any]


def is_component(username: str, namespace: str) -> bool:
    """Whether a user is one of the product's own service accounts, installed in `namespace`."""
    return username in {f"system:serviceaccount:{namespace}:{name}" for name in _COMPONENTS}


def update(old: Json, new: Json) -> list[Cause]:
    """What a user must not change in a VMI."""
    if old.get("spec") != new.get("spec"):
        return [
            Cause(field="spec", message="update of VMI object is restricted", reason=UNSUPPORTED)
        ]
    before, after = _labels(old), _labels(new)
    if any(before.get(label) != after.get(label) for label in RESERVED_LABELS):
        return [
            Cause(
                field="metadata.labels",
                message="modification of the following reserved kubevirt.io/ labels on a VMI "
                "object is prohibited",
                reason=UNSUPPORTED,
            )
        ]
    return []


def keep_status(old: Json, new: Json) -> list[dict[str, Any]]:
    """The JSON patch that silently puts the status back to what it was."""
    before, after = old.get("status"), new.get("status")
    if before == after:
        return []
    if before is None:
        return [{"op": "remove", "path": "/status"}]
    return [{"op": "add", "path": "/status", "value": before}]


def busy(old: Json, new: Json) -> list[Cause]:
    """What must wait for a snapshot of a VM, or for its restore."""
    status, before, after = (_part(old, "status"), _part(old, "spec"), _part(new, "spec"))
    causes = []
    snapshot, restore = status.get("snapshotInProgress"), status.get("restoreInProgress")
    if snapshot and _storage(before) != _storage(after):
        message = f'Cannot update vm disks or volumes until snapshot "{snapshot}" completes'
        causes.append(Cause("spec", message, UNSUPPORTED))
    if restore and _strategy(before) != _strategy(after) and _starts(after):
        message = f'Cannot update VM runStrategy until restore "{restore}" completes'
        causes.append(Cause("spec", message, UNSUPPORTED))
    return causes


class _Status(Wire):
    volume_requests: list[VirtualMachineVolumeRequest] | None = None


class _Asking(Wire):
    status: _Status | None = None


def requests(vm: Json) -> list[Cause]:
    """What is wrong with the volumes that a VM's status asks for. Raises ValidationError."""
    causes, seen = [], set()
    status = decode({"status": vm.get("status")}, _Asking).status
    for index, request in enumerate((status and status.volume_requests) or ()):
        where = f"status.volumeRequests[{index}]"
        add, remove = request.add_volume_options, request.remove_volume_options
        asked = add or remove
        if asked is None or (add is not None and remove is not None):
            message = "VolumeRequests require one of either addVolumeOptions or removeVolumeOptions"
            causes.append(Cause(where, f"{where}: {message} to be set"))
            continue
        here = f"{where}.{'removeVolumeOptions' if add is None else 'addVolumeOptions'}"
        if not asked.name:
            causes.append(Cause(f"{here}.name", f"{here} requires name", REQUIRED))
        if asked.name in seen:
            message = f"{where}: volume {asked.name!r} is asked for twice"
            causes.append(Cause(f"{here}.name", message, DUPLICATE))
        seen.add(asked.name)
    return causes


def _part(obj: Json, name: str) -> Mapping[str, Any]:
    part = obj.get(name)
    return part if isinstance(part, dict) else {}


def _storage(spec: Mapping[str, Any]) -> object:
    inner = _part(_part(spec, "template"), "spec")
    return inner.get("volumes"), _part(_part(inner, "domain"), "devices").get("disks")


def _strategy(spec: Mapping[str, Any]) -> object:
    return spec.get("running"), spec.get("runStrategy")


def _starts(spec: Mapping[str, Any]) -> bool:
    return bool(spec.get("running")) or spec.get("runStrategy") not in (None, "Halted")


def _labels(vmi: Json) -> Mapping[str, Any]:
    metadata = vmi.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    return labels if isinstance(labels, dict) else {}
