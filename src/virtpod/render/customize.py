"""`spec.customizeComponents` of the KubeVirt object: patches and flags of what virt-operator makes.

https://kubevirt.io/user-guide/cluster_admin/customize_components/
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from virtpod.render.patches import Unfit, patched

Json = dict[str, Any]

COMPONENTS = {"api": "virt-api", "controller": "virt-controller", "handler": "virt-handler"}
MARK = "kubevirt.io/customizer-identifier"
"""Annotation of what was changed: a hash of all that was asked for."""


def customized(objects: Iterable[Json], wishes: Mapping[str, Any]) -> list[Json]:
    """Each with the patches that name it. Raises Unfit, which names the patch.

    A patch that names nothing does nothing: some objects come and go with the number of nodes.
    """
    flags = wishes.get("flags") or {}
    found = [_flagged(each, flags) for each in objects]
    mark = hashlib.sha256(json.dumps(wishes, sort_keys=True).encode()).hexdigest()[:40]
    for index, patch in enumerate(wishes.get("patches") or ()):
        where = f"spec.customizeComponents.patches[{index}]"
        for place, each in enumerate(found):
            if _meant(patch, each):
                found[place] = _changed(each, patch, where, mark)
    return found


def idle(objects: Iterable[Json], wishes: Mapping[str, Any]) -> list[str]:
    """The patches that name nothing of these."""
    known = list(objects)
    return [
        f"{patch['resourceType']} {patch['resourceName']}"
        for patch in wishes.get("patches") or ()
        if not any(_meant(patch, each) for each in known)
    ]


def _meant(patch: Mapping[str, str], manifest: Json) -> bool:
    kind = str(manifest["kind"]).lower()
    if patch["resourceType"].lower() not in (kind, f"{kind}s"):
        return False
    return patch["resourceName"] in ("*", manifest["metadata"]["name"])


def _changed(manifest: Json, patch: Mapping[str, str], where: str, mark: str) -> Json:
    try:
        found = patched(manifest, patch["type"], json.loads(patch["patch"]))
    except ValueError as error:
        raise Unfit(f"{where}: {error}") from error
    if not isinstance(found, dict) or _identity(found) != _identity(manifest):
        raise Unfit(f"{where}: apiVersion, kind, name and namespace stay as they are")
    metadata = found["metadata"]
    annotations = {**(metadata.get("annotations") or {}), MARK: mark}
    return {**found, "metadata": {**metadata, "annotations": annotations}}


def _identity(manifest: Json) -> tuple[Any, ...]:
    metadata = manifest.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    return (
        *(manifest.get("apiVersion"), manifest.get("kind")),
        *(metadata.get("name"), metadata.get("namespace")),
    )


def _flagged(manifest: Json, flags: Mapping[str, Mapping[str, str]]) -> Json:
    if manifest["kind"] not in ("Deployment", "DaemonSet"):
        return manifest
    for short, name in COMPONENTS.items():
        if manifest["metadata"]["name"] == name and flags.get(short):
            return _with_flags(manifest, name, flags[short])
    return manifest


def _with_flags(manifest: Json, name: str, flags: Mapping[str, str]) -> Json:
    spec = manifest["spec"]["template"]["spec"]
    containers = [
        {**each, "args": _arguments(each.get("args") or [], flags)}
        if each["name"] == name
        else each
        for each in spec["containers"]
    ]
    template = {**manifest["spec"]["template"], "spec": {**spec, "containers": containers}}
    return {**manifest, "spec": {**manifest["spec"], "template": template}}


def _arguments(have: list[str], flags: Mapping[str, str]) -> list[str]:
    found = list(have)
    for name, value in sorted(flags.items()):
        flag = f"-{name}" if len(name) == 1 else f"--{name}"
        words = [value] if value else []
        if flag in found:
            place = found.index(flag)
            end = place + 1
            while end < len(found) and not found[end].startswith("-"):
                end += 1
            found[place + 1 : end] = words
        else:
            found += [flag, *words]
    return found
