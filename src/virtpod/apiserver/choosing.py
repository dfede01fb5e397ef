"""The instance type and the preference that a VM under review names: found, or inferred from the
labels of one of its volumes, or of what that is made from.

https://kubevirt.io/user-guide/user_workloads/instancetypes/#inferfromvolume
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
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
    frees_memory = False
    for which, matcher in asked.items():
        where = f"spec.{which}"
        volume = matcher.get("inferFromVolume")
        if volume and matcher.get("name"):
            message = f"{where} may have name or inferFromVolume, not both"
            causes.append(Cause(f"{where}.inferFromVolume", message))
        elif volume:
            may_fail = matcher.get("inferFromVolumeFailurePolicy") == "Ignore"
            try:
                matchers[which] = await _inferred(which, vm, str(volume), objects)
            except _Silent as silence:
                if may_fail:
                    matchers[which] = None
                else:
                    causes.append(Cause(f"{where}.inferFromVolume", str(silence), NOT_FOUND))
            except _Missing as error:
                causes.append(Cause(f"{where}.inferFromVolume", str(error), NOT_FOUND))
            else:
                frees_memory |= may_fail and which == "instancetype"
        elif not matcher.get("kind") and not matcher.get("revisionName"):
            matchers[which] = {**matcher, "kind": instancetype.KINDS[which][0].kind}
    whole = {**vm, "spec": {**vm["spec"], **matchers}}
    if causes:
        return Named(matchers=matchers, causes=tuple(causes))
    chosen = await of_vm(whole, objects)
    causes = [
        Cause(f"spec.{which}", f"Failure to find {which}: {what}", NOT_FOUND)
        for which, what in chosen.missing.items()
    ]
    return Named(chosen.choice, matchers, tuple(causes), frees_memory)


class _Silent(Exception):
    """A volume that says nothing, which its VM may not mind."""


class _Missing(Exception):
    """What is not there: the VM is wrong."""


async def _inferred(which: str, vm: Obj, volume: str, objects: Reads) -> dict[str, str]:
    """The matcher. Raises _Silent, _Missing."""
    template = vm["spec"].get("template") or {}
    volumes = (template.get("spec") or {}).get("volumes") or ()
    found = next((each for each in volumes if each.get("name") == volume), None)
    if found is None:
        raise _Missing(f"unable to find volume {volume} to infer defaults")
    label = f"{DEFAULT}{which}"
    async for labels in _labels(vm, found, objects):
        if name := labels.get(label):
            kind = labels.get(f"{label}-kind") or instancetype.KINDS[which][0].kind
            return {"name": name, "kind": kind}
    raise _Silent(f"unable to find required {label} label on the volume {volume}")


async def _labels(vm: Obj, volume: Obj, objects: Reads) -> AsyncIterator[Mapping[str, str]]:
    """Of what is behind a volume, what it is made from last. Raises _Silent, _Missing."""
    namespace = vm["metadata"]["namespace"]
    if claim := (volume.get("persistentVolumeClaim") or {}).get("claimName"):
        yield _of(await _there(PVCS, Key(namespace, claim), objects))
        return
    name = (volume.get("dataVolume") or {}).get("name")
    if not name:
        raise _Silent(
            f"unable to infer defaults from volume {volume['name']} as type is not supported"
        )
    templates = vm["spec"].get("dataVolumeTemplates") or ()
    made = next((each for each in templates if each["metadata"].get("name") == name), None)
    made = made or await objects.read(DATA_VOLUMES, Key(namespace, name))
    if made is None:  # CDI may take finished ones away; the claim has the same name
        yield _of(await _there(PVCS, Key(namespace, name), objects))
        return
    yield _of(made)
    spec = made.get("spec") or {}
    if source := (spec.get("source") or {}).get("pvc"):
        yield _of(await _there(PVCS, _key(source, namespace), objects))
        return
    reference = spec.get("sourceRef") or {}
    if reference.get("kind", "DataSource") != "DataSource" or not reference.get("name"):
        return
    source = await _there(DATA_SOURCES, _key(reference, namespace), objects)
    yield _of(source)
    if claim := ((source.get("spec") or {}).get("source") or {}).get("pvc"):
        namespace = source["metadata"].get("namespace") or namespace
        yield _of(await _there(PVCS, _key(claim, namespace), objects))


def _key(reference: Mapping[str, Any], namespace: str) -> Key:
    return Key(reference.get("namespace") or namespace, str(reference.get("name") or ""))


async def _there(resource: Resource, key: Key, objects: Reads) -> Obj:
    """Raises _Missing."""
    found = await objects.read(resource, key)
    if found is None:
        raise _Missing(f"unable to infer defaults: there is no {resource.kind} {key}")
    return found


def _of(obj: Obj) -> Mapping[str, str]:
    return obj["metadata"].get("labels") or {}
