"""The CRDs beside the reference's table of kinds, in writing and on a real API server."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.contract.test_round_trip import FULL, normal
from virtpod.api.crd import KINDS, Kind, crds, schema
from virtpod.controllers import unattended as unattended_controller
from virtpod.kube import resources
from virtpod.kube.client import Client
from virtpod.kube.config import Config
from virtpod.kube.errors import AlreadyExists
from virtpod.kube.resources import CRDS, Resource
from virtpod.render import unattended

Json = dict[str, Any]
TABLE = Path(__file__).parent / "kinds.txt"

OLD = {
    ("kubevirt.io", "v1alpha3"),
    ("export.kubevirt.io", "v1beta1"),
    ("instancetype.kubevirt.io", "v1alpha1"),
    ("instancetype.kubevirt.io", "v1alpha2"),
}


def line_of(crd: Json) -> str:
    spec, versions = crd["spec"], crd["spec"]["versions"]
    (columns,) = {
        " ".join(
            "+" * bool(each.get("priority")) + each["name"]
            for each in version.get("additionalPrinterColumns", ())
        )
        for version in versions
    }
    return "|".join(
        (
            spec["group"],
            " ".join(each["name"] + "*" * each["storage"] for each in versions if each["served"]),
            spec["names"]["kind"],
            " ".join(spec["names"].get("shortNames", ())),
            {"Namespaced": "all", "Cluster": "cluster"}[spec["scope"]],
            " ".join(versions[0].get("subresources", ())),
            columns,
        )
    )


def test_the_kinds_are_those_of_the_reference() -> None:
    table = [line for line in TABLE.read_text().splitlines() if not line.startswith("#")]
    assert [line_of(crd) for crd in crds()] == table
    for crd in crds():
        spec = crd["spec"]
        assert spec["names"].get("categories") == (
            ["all"] if spec["scope"] == "Namespaced" else None
        )
        assert spec["conversion"] == {"strategy": "None"}
        for version in spec["versions"]:
            old = (spec["group"], version["name"]) in OLD or "Preset" in spec["names"]["kind"]
            assert bool(version.get("deprecated")) == old, (spec["names"]["kind"], version["name"])


def test_each_can_be_applied_with_kubectl() -> None:
    """Which keeps the whole manifest in an annotation: 256 KiB for all annotations together."""
    for crd in crds():
        assert len(json.dumps(crd)) < 230 * 1024, crd["metadata"]["name"]


def test_the_client_knows_every_kind_by_its_newest_version() -> None:
    known = {resource for resource in vars(resources).values() if isinstance(resource, Resource)}
    for kind in KINDS:
        version = "v1" if "v1" in kind.versions else kind.versions[0]
        assert Resource(kind.group, version, kind.plural, kind.kind, kind.namespaced) in known


LOCAL: Json = {"kind": "VirtualMachine", "name": "a"}
SELECTOR: Json = {"matchLabels": {"a": "b"}}
TEMPLATE: Json = {"metadata": {"labels": {"a": "b"}}, "spec": {"domain": {"devices": {}}}}
SMALLEST: Json = {
    "VirtualMachineInstance": TEMPLATE["spec"],
    "VirtualMachine": {"template": TEMPLATE},
    "VirtualMachineInstancePreset": {"selector": SELECTOR},
    "VirtualMachineInstanceReplicaSet": {"selector": SELECTOR, "template": TEMPLATE},
    "VirtualMachineInstanceMigration": {"vmiName": "a"},
    "KubeVirt": {},
    "VirtualMachinePool": {
        "selector": SELECTOR,
        "virtualMachineTemplate": {"spec": {"template": TEMPLATE}},
        "maxUnavailable": "50%",
    },
    "VirtualMachineSnapshot": {"source": LOCAL},
    "VirtualMachineSnapshotContent": {"source": {"virtualMachine": {}}},
    "VirtualMachineRestore": {"target": LOCAL, "virtualMachineSnapshotName": "a"},
    "VirtualMachineExport": {"source": LOCAL, "ttlDuration": "2h"},
    "VirtualMachineClone": {"source": LOCAL},
    "VirtualMachineBackup": {"source": LOCAL},
    "VirtualMachineBackupTracker": {"source": LOCAL},
    "VirtualMachineInstancetype": {"cpu": {"guest": 1}, "memory": {"guest": "1Gi"}},
    "VirtualMachineClusterInstancetype": {"cpu": {"guest": 1}, "memory": {"guest": "1.5Gi"}},
    "VirtualMachinePreference": {"cpu": {"preferredCPUTopology": "cores"}},
    "VirtualMachineClusterPreference": {"devices": {"preferredRng": {}}},
    "MigrationPolicy": {"selectors": {}, "bandwidthPerMigration": "64Mi"},
    "QATNodePolicy": {"services": ["sym", "asym"], "numVFs": 16},
    "QATNodeState": None,
    "Plugin": {"nodeHooks": [{"socket": "/a", "permittedHooks": ["PreVMStart"]}]},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(apiserver: Config) -> AsyncIterator[Client]:
    """A real API server with all CRDs established, and no complaint about a schema."""
    async with Client(apiserver, component="contract") as client:
        for crd in crds():
            with contextlib.suppress(AlreadyExists):  # another module's
                await client.create(CRDS, crd)
        for crd in crds():
            while True:
                seen = await client.get(CRDS, ("", crd["metadata"]["name"]))
                conditions = {
                    each["type"]: each["status"] for each in seen["status"].get("conditions") or ()
                }
                if conditions.get("Established") == "True":
                    break
                await asyncio.sleep(0.2)
            assert conditions["NamesAccepted"] == "True"
            assert "NonStructuralSchema" not in conditions, seen["status"]["conditions"]
        yield client


@pytest.mark.apiserver
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
async def test_an_object_written_in_one_version_is_read_in_all(served: Client, kind: Kind) -> None:
    spec = SMALLEST[kind.kind]
    whole = {} if spec is None else {"spec": spec}
    for writing in kind.versions:
        resource = Resource(kind.group, writing, kind.plural, kind.kind, kind.namespaced)
        name = f"from-{writing}"
        await served.create(resource, {"metadata": {"name": name, "namespace": "default"}, **whole})
        for reading in kind.versions:
            other = Resource(kind.group, reading, kind.plural, kind.kind, kind.namespaced)
            seen = await served.get(other, ("default", name))
            assert seen.get("spec") == spec
            assert seen["apiVersion"] == f"{kind.group}/{reading}"


def test_virt_controller_knows_whose_status_has_conditions() -> None:
    told = {(each.group, each.plural) for each in unattended_controller.TOLD}
    assert told == {(each.group, each.plural) for each in unattended.telling()}
    for kind in unattended.kinds():
        status = schema(kind.type).get("properties", {}).get("status", {}).get("properties", {})
        assert ("conditions" in status) == ((kind.group, kind.plural) in told), kind


@pytest.mark.apiserver
@pytest.mark.asyncio(loop_scope="module")
async def test_who_makes_what_nothing_acts_on_is_warned(served: Client) -> None:
    """By the API server itself, which may take a moment to learn of a policy."""
    policy, binding = unattended.policy()
    await served.create(resources.of(policy), policy)
    await served.create(resources.of(binding), binding)
    warning = ""
    async with asyncio.timeout(60):
        while not warning:
            await asyncio.sleep(0.2)
            warning = await _warning(served, resources.CLONES)
    assert "a VirtualMachineClone and does not act on it" in warning
    assert await _warning(served, resources.VMS) == ""


async def _warning(client: Client, resource: Resource) -> str:
    answer = await client.request(
        "POST",
        resource.path("default"),
        {"dryRun": "All"},
        json.dumps(
            {
                "apiVersion": resource.api_version,
                "kind": resource.kind,
                "metadata": {"generateName": "a-"},
                "spec": SMALLEST[resource.kind],
            }
        ).encode(),
        {"Content-Type": "application/json"},
    )
    return answer.headers.get("Warning", "")


def sensible(value: Any, schema: Json) -> Any:
    """Real choices in place of fillers, and no integer that JSON readers take for a float."""
    match value:
        case dict():
            named = schema.get("properties", {})
            rest = schema.get("additionalProperties", {})
            return {key: sensible(each, named.get(key, rest)) for key, each in value.items()}
        case list():
            return [sensible(each, schema.get("items", {})) for each in value]
        case str() if "enum" in schema:
            return schema["enum"][0]
        case int() if abs(value) >= 2**63:
            return 1
    return value


@pytest.mark.apiserver
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.skipif(not FULL, reason="VIRTPOD_REFERENCE names no folder with the full data")
@pytest.mark.parametrize("path", FULL, ids=lambda path: path.stem)
async def test_the_full_objects_are_stored_as_they_are(served: Client, path: Path) -> None:
    """With strict validation: no field is unknown, none has another type."""
    given = json.loads(path.read_bytes())
    resource = resources.of(given)
    kind = next(kind for kind in KINDS if kind.kind == given["kind"])
    given = sensible(given, schema(kind.type))
    body = {**given, "metadata": {"name": "full", "namespace": "default"}}
    answer = await served.request(
        "POST",
        resource.path("default"),
        {"fieldValidation": "Strict"},
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    assert normal(answer.json()["spec"]) == normal(given["spec"])
