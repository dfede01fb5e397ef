"""What a volume's labels say that its VM takes, wherever they are, and what is an error."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from virtpod.apiserver import choosing
from virtpod.domain.facts import Cluster
from virtpod.kube.resources import (
    CLUSTER_INSTANCETYPES,
    CLUSTER_PREFERENCES,
    DATA_SOURCES,
    DATA_VOLUMES,
    PREFERENCES,
    PVCS,
    Key,
    Obj,
    Resource,
)
from virtpod.render import admit
from virtpod.render.expand import Named

GROUP = "instancetype.kubevirt.io/default-"
LABELS = {
    f"{GROUP}instancetype": "small",
    f"{GROUP}preference": "liked",
    f"{GROUP}preference-kind": "VirtualMachinePreference",
}
SMALL = {"cpu": {"guest": 2}, "memory": {"guest": "2Gi"}}
UUID = "5d307ca9-b3ef-428c-8861-06e72d69f223"


class Store:
    def __init__(self, *objects: tuple[Resource, str, Obj]) -> None:
        self.objects: dict[tuple[Resource, Key], Obj] = {}
        for resource, key, body in (
            (CLUSTER_INSTANCETYPES, "small", {"spec": SMALL}),
            (CLUSTER_PREFERENCES, "liked", {"spec": {}}),
            (PREFERENCES, "team/liked", {"spec": {}}),
            *objects,
        ):
            namespace, _, name = key.rpartition("/")
            metadata = {"name": name, "namespace": namespace, **body.pop("metadata", {})}
            self.objects[resource, Key(namespace, name)] = {**body, "metadata": metadata}

    async def read(self, resource: Resource, key: Key) -> Obj | None:
        return self.objects.get((resource, key))


def labelled(**spec: Any) -> Obj:
    return {"metadata": {"labels": LABELS}, "spec": spec}


def bare(**spec: Any) -> Obj:
    return {"spec": spec}


def machine(volume: Obj, *templates: Obj, memory: str = "", **policy: str) -> Obj:
    domain: Obj = {"devices": {}, **({"memory": {"guest": memory}} if memory else {})}
    infer = {"inferFromVolume": "root", **policy}
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "demo", "namespace": "team"},
        "spec": {
            "runStrategy": "Halted",
            "instancetype": infer,
            "preference": infer,
            "dataVolumeTemplates": list(templates),
            "template": {"spec": {"domain": domain, "volumes": [{"name": "root", **volume}]}},
        },
    }


CLAIM = {"persistentVolumeClaim": {"claimName": "disk"}}
VOLUME = {"dataVolume": {"name": "disk"}}
CONTAINER = {"containerDisk": {"image": "registry.example/a"}}
FROM_CLAIM = {"pvc": {"namespace": "images", "name": "golden"}}
FROM_SOURCE = {"kind": "DataSource", "namespace": "images", "name": "golden"}


async def named(vm: Obj, *objects: tuple[Resource, str, Obj]) -> Named:
    body = msgspec.json.encode({"request": {"object": vm}})
    return await choosing.named("/virtualmachines-mutate", body, Store(*objects))


@pytest.mark.parametrize(
    ("volume", "template", "objects"),
    [
        (CLAIM, None, [(PVCS, "team/disk", labelled())]),
        (VOLUME, None, [(DATA_VOLUMES, "team/disk", labelled())]),
        (VOLUME, None, [(PVCS, "team/disk", labelled())]),
        (
            VOLUME,
            None,
            [
                (DATA_VOLUMES, "team/disk", bare(source=FROM_CLAIM)),
                (PVCS, "images/golden", labelled()),
            ],
        ),
        (
            VOLUME,
            None,
            [
                (DATA_VOLUMES, "team/disk", bare(sourceRef=FROM_SOURCE)),
                (DATA_SOURCES, "images/golden", bare(source=FROM_CLAIM)),
                (PVCS, "images/golden", labelled()),
            ],
        ),
        (VOLUME, bare(source=FROM_CLAIM), [(PVCS, "images/golden", labelled())]),
        (VOLUME, bare(sourceRef=FROM_SOURCE), [(DATA_SOURCES, "images/golden", labelled())]),
        (VOLUME, labelled(source={"blank": {}}), []),
    ],
    ids=[
        *("claim", "volume", "claim of a volume that is gone", "volume of a claim"),
        *("volume of a source of a claim", "template of a claim", "template of a source"),
        "template",
    ],
)
async def test_what_is_behind_a_volume_is_asked(
    volume: Obj, template: Obj | None, objects: list[tuple[Resource, str, Obj]]
) -> None:
    templates = []
    if template is not None:
        metadata = {"name": "disk", **template.get("metadata", {})}
        templates = [{**template, "metadata": metadata}]
    found = await named(
        machine(volume, *templates), *((kind, key, {**body}) for kind, key, body in objects)
    )
    assert found.causes == ()
    assert found.matchers == {
        "instancetype": {"name": "small", "kind": "VirtualMachineClusterInstancetype"},
        "preference": {"name": "liked", "kind": "VirtualMachinePreference"},
    }
    assert found.choice.instancetype is not None
    assert not found.frees_memory


@pytest.mark.parametrize(
    ("volume", "objects", "told", "ignored"),
    [
        (CLAIM, [(PVCS, "team/disk", bare())], "default-instancetype label", True),
        (CONTAINER, [], "as type is not supported", True),
        (
            VOLUME,
            [(DATA_VOLUMES, "team/disk", bare(source={"http": {}}))],
            "default-instancetype label",
            True,
        ),
        (CLAIM, [], "there is no PersistentVolumeClaim team/disk", False),
        ({"name": "other", **CLAIM}, [], "unable to find volume root", False),
        (
            VOLUME,
            [(DATA_VOLUMES, "team/disk", bare(sourceRef=FROM_SOURCE))],
            "there is no DataSource images/golden",
            False,
        ),
    ],
)
async def test_silence_may_be_ignored_and_what_is_missing_may_not(
    volume: Obj, objects: list[tuple[Resource, str, Obj]], told: str, ignored: bool
) -> None:
    def copies() -> list[tuple[Resource, str, Obj]]:
        return [(kind, key, {**body}) for kind, key, body in objects]

    refused = await named(machine(volume), *copies())
    assert [cause.field for cause in refused.causes] == [
        "spec.instancetype.inferFromVolume",
        "spec.preference.inferFromVolume",
    ]
    assert told in refused.causes[0].message
    policy = {"inferFromVolumeFailurePolicy": "Ignore"}
    found = await named(machine(volume, **policy), *copies())
    assert bool(found.causes) != ignored
    if ignored:
        assert found.matchers == {"instancetype": None, "preference": None}
        assert not found.frees_memory


async def test_memory_for_the_case_of_silence_gives_way() -> None:
    """As `virtctl create vm` writes it."""
    policy = {"inferFromVolumeFailurePolicy": "Ignore"}
    vm = machine(CLAIM, memory="512Mi", **policy)
    found = await named(vm, (PVCS, "team/disk", labelled()))
    assert found.frees_memory
    admitted = admit.vm(vm, Cluster(), uuid=UUID, named=found)
    assert admitted.causes == []
    removed = [each["path"] for each in admitted.patch if each["op"] == "remove"]
    assert "/spec/template/spec/domain/memory" in removed
    # Whoever insists on the volume meant the memory.
    insists = machine(CLAIM, memory="512Mi")
    found = await named(insists, (PVCS, "team/disk", labelled()))
    (cause,) = admit.vm(insists, Cluster(), uuid=UUID, named=found).causes
    assert cause.field == "spec.template.spec.domain.memory.guest"
