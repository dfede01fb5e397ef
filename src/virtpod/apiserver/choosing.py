"""The instance type and the preference that a VM under review names: found, or inferred from the
labels of one of its volumes.

https://kubevirt.io/user-guide/user_workloads/instancetypes/#inferfromvolume
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from virtpod.controllers import instancetype
from virtpod.features.contract import NOT_FOUND, Cause
from virtpod.kube.resources import DATA_SOURCES, DATA_VOLUMES, PVCS, Key, Obj, Resource
from virtpod.render.expand import Named
from virtpod.render.rules import pool

POOLS = "/virtualmachinepool-validate"
PATHS = ("/virtualmachines-mutate", "/virtualmachines-validate", POOLS)
DEFAULT = "instancetype.kubevirt.io/default-"
"""Label of a volume that names its instance type or preference; with "-kind", the kind."""


class Reads(Protocol):
    async def read(self, resource: Resource, key: Key) -> Obj | None:
        """An object, if it is there."""


class _Request(msgspec.Struct):
    object: Any = None


class _Review(msgspec.Struct):
    request: _Request


async def named(path: str, body: bytes, objects: Reads) -> Named:
    """For the review of a VM or of a pool of such, as it was sent."""
    if b"instancetype" not in body and b"preference" not in body:
        return Named()
    try:
        vm: Any = msgspec.json.decode(body, type=_Review).request.object
        vm = pool.machine(vm) if path == POOLS else vm
        spec, metadata = vm["spec"], vm["metadata"]
        asked = {which: dict(spec[which]) for which in instancetype.KINDS if spec.get(which)}
        if not asked or not isinstance(metadata.get("namespace"), str):
            return Named()
    except (msgspec.DecodeError, TypeError, ValueError, KeyError, AttributeError, RecursionError):
        return Named()  # the review itself will say what is wrong with it
    return await _found(vm, asked, objects)


async def of_new(vm: Obj, objects: Reads) -> Named:
    """For a VM that nobody has stored."""
    asked = {
        which: dict(vm["spec"][which]) for which in instancetype.KINDS if vm["spec"].get(which)
    }
    return await _found(vm, asked, objects) if asked else Named()


async def of_vm(vm: Obj, objects: Reads) -> instancetype.Chosen:
    """What a VM, as it is stored, takes."""
    found = {
        which: await objects.read(resource, key)
        for which, (resource, key) in instancetype.wanted(vm).items()
    }
    return instancetype.choose(vm, found)


async def _found(vm: Obj, asked: dict[str, dict[str, Any]], objects: Reads) -> Named:
    matchers: dict[str, Mapping[str, Any] | None] = {}
    causes = []
    for which, matcher in asked.items():
        where = f"spec.{which}"
        volume = matcher.get("inferFromVolume")
        if volume and matcher.get("name"):
            message = f"{where} may have name or inferFromVolume, not both"
            causes.append(Cause(f"{where}.inferFromVolume", message))
        elif volume:
            inferred = await _inferred(which, vm, str(volume), objects)
            if isinstance(inferred, dict):
                matchers[which] = inferred
            elif matcher.get("inferFromVolumeFailurePolicy") == "Ignore":
                matchers[which] = None
            else:
                causes.append(Cause(f"{where}.inferFromVolume", inferred, NOT_FOUND))
        elif not matcher.get("kind") and not matcher.get("revisionName"):
            matchers[which] = {**matcher, "kind": instancetype.KINDS[which][0].kind}
    whole = {**vm, "spec": {**vm["spec"], **matchers}}
    if not causes:
        chosen = await of_vm(whole, objects)
        causes += [
            Cause(f"spec.{which}", f"Failure to find {which}: {what}", NOT_FOUND)
            for which, what in chosen.missing.items()
        ]
        return Named(chosen.choice, matchers, tuple(causes))
    return Named(matchers=matchers, causes=tuple(causes))


async def _inferred(which: str, vm: Obj, volume: str, objects: Reads) -> dict[str, str] | str:
    """The matcher; a text: why there is none."""
    template = vm["spec"].get("template") or {}
    volumes = (template.get("spec") or {}).get("volumes") or ()
    found = next((each for each in volumes if each.get("name") == volume), None)
    if found is None:
        return f"unable to find volume {volume} to infer defaults"
    labels = await _labels(vm, found, objects)
    if labels is None:
        return f"unable to infer defaults from volume {volume}: nothing with labels is behind it"
    name = labels.get(f"{DEFAULT}{which}")
    if not name:
        return f"unable to find required {DEFAULT}{which} label on the volume {volume}"
    kind = labels.get(f"{DEFAULT}{which}-kind") or instancetype.KINDS[which][0].kind
    return {"name": name, "kind": kind}


async def _labels(vm: Obj, volume: Obj, objects: Reads) -> Mapping[str, str] | None:
    """Of what is behind a volume; None where that has no labels to speak of."""
    namespace = vm["metadata"]["namespace"]
    if claim := (volume.get("persistentVolumeClaim") or {}).get("claimName"):
        return _of(await objects.read(PVCS, Key(namespace, claim)))
    name = (volume.get("dataVolume") or {}).get("name")
    if not name:
        return None
    templates = vm["spec"].get("dataVolumeTemplates") or ()
    template = next((each for each in templates if each["metadata"].get("name") == name), None)
    if template is None:
        made = await objects.read(DATA_VOLUMES, Key(namespace, name))
        return _of(made or await objects.read(PVCS, Key(namespace, name)))
    if own := template["metadata"].get("labels"):
        return dict(own)
    spec = template.get("spec") or {}
    for source, resource in (
        ((spec.get("source") or {}).get("pvc"), PVCS),
        (spec.get("sourceRef"), DATA_SOURCES),
    ):
        if source and source.get("name"):
            key = Key(source.get("namespace") or namespace, source["name"])
            return _of(await objects.read(resource, key))
    return None


def _of(obj: Obj | None) -> Mapping[str, str] | None:
    return None if obj is None else obj["metadata"].get("labels") or {}
