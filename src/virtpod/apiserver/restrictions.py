"""What a user may not write into a VMI, by who the user is. Pure.

The rules of a spec itself are in `render.admit`; these depend on the caller: a running VMI's spec
belongs to the product, its status likewise, and some labels are how the components find each
other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from virtpod.features.contract import UNSUPPORTED, Cause
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


def _labels(vmi: Json) -> Mapping[str, Any]:
    metadata = vmi.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    return labels if isinstance(labels, dict) else {}
