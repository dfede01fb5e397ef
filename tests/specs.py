"""Specs of machines as the API's types allow them, most of them nonsense in some place.

What admission finds wrong with one is taken out of it until it is let in, so that each of them ends
up as a machine that somebody could have asked for.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from hypothesis import strategies as st
from msgspec import inspect as types

from virtpod.api.domain import DomainSpec
from virtpod.domain.facts import Cluster
from virtpod.render import admit

Json = dict[str, Any]

SIZES = ("1Mi", "2Mi", "64Mi", "100M", "128Mi", "256Mi", "1Gi", "3Gi", "64Gi", "1.5Gi")
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
WORDS = st.one_of(st.sampled_from(["a", "b", "x-1", "none", "true"]), TEXT)
NUMBERS = st.one_of(st.integers(-1, 9), st.sampled_from([255, 256, 4096, 2**31, 2**40]))
KNOWN: dict[str, tuple[Any, ...]] = {
    "accelerator": (),
    "action": ("reset", "poweroff", "shutdown"),
    "bus": ("virtio", "sata", "scsi", "usb"),
    "cache": ("none", "writethrough", "writeback"),
    "capacity": SIZES,
    "dedicatedIOThread": (True, False),
    "errorPolicy": ("stop", "ignore", "report", "enospace"),
    "io": ("native", "threads"),
    "ioThreadsPolicy": ("shared", "auto", "supplementalPool"),
    "msdmNameRef": ("secret",),
    "name": ("a", "b", "secret", "scratch", "sse4.2", "aes", "vmx"),
    "pageSize": ("2Mi", "1Gi"),
    "pciAddress": ("0000:05:00.0", "0000:00:07.0"),
    "policy": ("force", "require", "optional", "disable", "forbid"),
    "rebootPolicy": ("Terminate",),
    "slicNameRef": ("secret",),
    "tickPolicy": ("delay", "catchup", "discard", "merge"),
    "timezone": ("Europe/Berlin", "America/New_York"),
    "track": ("guest", "wall"),
    "uuid": ("5d307ca9-b3ef-428c-8861-06e72d69f223",),
}
"""Words that mean something, by the field's name; for `model` and `type` see below."""
MEANT: dict[str, tuple[str, ...]] = {
    "cpu.model": ("host-model", "host-passthrough", "maximum", "Nehalem", "qemu64"),
    "machine.type": ("q35", "pc-q35-10.0"),
    "video.type": ("vga", "cirrus", "virtio", "ramfb", "bochs"),
    "sound.model": ("ich9", "ac97"),
    "inputs.type": ("tablet",),
    "panicDevices.model": ("hyperv", "isa", "pvpanic"),
    "hyperv.vendorid": ("AuthenticAMD",),
}
ELSEWHERE = frozenset(
    (
        "hostDevices",
        "gpus",
        "interfaces",
        "filesystems",
        "launchSecurity",
        "kernelBoot",
        "resources",
    )
)
"""What needs more than a spec: devices of the node, links, images, a processor of a kind."""
VOLUMES: dict[str, Json] = {
    "a": {"emptyDisk": {"capacity": "1Gi"}},
    "b": {"cloudInitNoCloud": {"userData": "#cloud-config"}},
    "secret": {"secret": {"secretName": "licence"}},
    "scratch": {"configMap": {"name": "texts"}},
}
ANNOTATIONS = (
    "kubevirt.io/placePCIDevicesOnRootComplex",
    "kubevirt.io/disablePCIHole64",
    "kubevirt.io/memfd",
)


def _of(shape: types.Type, path: str) -> st.SearchStrategy[Any]:
    """Values of a type; a field's own words are likelier than any others."""
    name = path.rpartition(".")[2]
    known = MEANT.get(".".join(path.split(".")[-2:]), KNOWN.get(name, ()))
    if isinstance(shape, types.Metadata):
        closed = (shape.extra_json_schema or {}).get("enum")
        return st.sampled_from(closed) if closed else _of(shape.type, path)
    if isinstance(shape, types.UnionType):
        given = [each for each in shape.types if not isinstance(each, types.NoneType)]
        if len(given) > 1:
            return st.one_of(st.sampled_from(SIZES), st.integers(-1, 2**40))
        return _of(given[0], path)
    if isinstance(shape, types.ListType):
        return st.lists(_of(shape.item_type, path), max_size=3)
    if isinstance(shape, types.StructType):
        return _struct(shape, path)
    if isinstance(shape, types.BoolType):
        return st.booleans()
    if isinstance(shape, types.IntType):
        return NUMBERS
    if known:
        return st.one_of(st.sampled_from(known), st.sampled_from(known), WORDS)
    return WORDS


def _struct(shape: types.StructType, path: str) -> st.SearchStrategy[Json]:
    required, optional = {}, {}
    for field in shape.fields:
        if field.encode_name in ELSEWHERE:
            continue
        made = _of(field.type, f"{path}.{field.encode_name}")
        (required if field.required else optional)[field.encode_name] = made
    return st.fixed_dictionaries(required, optional=optional)


def machines() -> st.SearchStrategy[Json]:
    """VirtualMachineInstances as somebody may send them."""
    shape = types.type_info(DomainSpec)
    assert isinstance(shape, types.StructType)
    annotations = st.dictionaries(
        st.sampled_from(ANNOTATIONS), st.sampled_from(["true", "false"]), max_size=2
    )
    topology = st.sampled_from([{}, {"kubevirt.io/pci-topology-version": "v3"}])
    return st.builds(_machine, _struct(shape, "domain"), annotations, topology)


def _machine(domain: Json, annotations: Json, topology: Json) -> Json:
    memory = domain.setdefault("memory", {})
    memory.setdefault("guest", "128Mi")
    domain.setdefault("devices", {})
    volumes = [{"name": name, **source} for name, source in VOLUMES.items()]
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {
            "name": "vm",
            "namespace": "default",
            "uid": "0a5f8f0e-6a0e-4a53-9d0c-0f6f6d1c9b11",
            "annotations": annotations | topology,
        },
        "spec": {"architecture": "amd64", "domain": domain, "volumes": volumes},
    }


def mended(machine: Json, cluster: Cluster) -> admit.Admission | None:
    """The admission of what is left when all that is wrong with it is gone; None: nothing is."""
    for _ in range(60):
        now, uuid = "2026-01-01T00:00:00Z", "5d307ca9-b3ef-428c-8861-06e72d69f223"
        answer = admit.vmi(copy.deepcopy(machine), cluster, now=now, uuid=uuid)
        if not answer.causes:
            return answer
        taken = [_without(machine, cause.field) for cause in answer.causes]
        if not any(taken):
            return None
    return None


def _without(machine: Json, path: str) -> bool:
    """Takes away what is nearest to the path, or puts what must be there; False: there is nothing
    of it."""
    domain = machine["spec"]["domain"]
    at: Any = machine
    found: tuple[Any, Any] | None = None
    for depth, step in enumerate(re.findall(r"[^.\[\]]+", path)):
        key = int(step) if isinstance(at, list) and step.isdigit() else step
        there = key < len(at) if isinstance(key, int) else isinstance(at, dict) and key in at
        if not there:
            break
        if depth > 1:
            found = at, key
        at = at[key]
    if found is None and path.startswith("spec.domain.ioThreads"):
        return domain.pop("ioThreadsPolicy", None) is not None
    if found is None:
        return False
    del found[0][found[1]]
    domain.setdefault("devices", {})
    domain.setdefault("memory", {}).setdefault("guest", "128Mi")
    return True
