"""Each kind through a real API server, as clients use it: kubectl, server-side apply, watches."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.contract.test_crds import SMALLEST, served
from tests.kube.server import BIN
from virtpod.api.crd import KINDS, Kind, crds
from virtpod.kube import errors
from virtpod.kube.client import Client
from virtpod.kube.resources import Resource

__all__ = ["served"]

Json = dict[str, Any]
pytestmark = [pytest.mark.apiserver, pytest.mark.asyncio(loop_scope="module")]
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)


def newest(kind: Kind) -> Resource:
    version = "v1" if "v1" in kind.versions else kind.versions[0]
    return Resource(kind.group, version, kind.plural, kind.kind, kind.namespaced)


def named(kind: Kind, name: str, **metadata: Any) -> Json:
    resource = newest(kind)
    place = {"namespace": "default"} if kind.namespaced else {}
    return {
        "apiVersion": resource.api_version,
        "kind": kind.kind,
        "metadata": {"name": name, **place, **metadata},
        **({} if SMALLEST[kind.kind] is None else {"spec": SMALLEST[kind.kind]}),
    }


async def kubectl(served: Client, folder: Path, *words: str, stdin: str = "") -> str:
    """What it prints. It finds the API server by itself, and keeps what it learns in `folder`."""
    config = served.config
    process = await asyncio.create_subprocess_exec(
        str(BIN / "kubectl"),
        f"--server={config.server}",
        f"--token={config.token}",
        "--insecure-skip-tls-verify",
        f"--cache-dir={folder}",
        *words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        said, complaint = await process.communicate(stdin.encode())
    assert process.returncode == 0, complaint.decode()
    return said.decode()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kubectl")


@each_kind
async def test_it_is_applied_and_changed(served: Client, cache: Path, kind: Kind) -> None:
    resource, full = newest(kind), f"{kind.plural}.{kind.group}"
    key = ("default" if kind.namespaced else "", "applied")
    for flags in ((), ("--server-side", "--force-conflicts")):
        for labels in ({"step": "one"}, {"step": "two"}):
            body = json.dumps(named(kind, "applied", labels=labels))
            await kubectl(served, cache, "apply", *flags, "--filename=-", stdin=body)
            assert (await served.get(resource, key))["metadata"]["labels"] == labels
    await served.patch(resource, key, {"metadata": {"annotations": {"merge": "1"}}})
    operation = {"op": "add", "path": "/metadata/annotations/json", "value": "1"}
    await served.patch(resource, key, [operation], type="json")
    seen = (await served.get(resource, key))["metadata"]["annotations"]
    assert (seen["merge"], seen["json"]) == ("1", "1")
    said = await kubectl(served, cache, "get", full, "-o", "name")
    assert f"{kind.kind.lower()}.{kind.group}/applied" in said


@each_kind
async def test_a_dry_run_leaves_nothing_and_a_watch_sees_the_rest(
    served: Client, kind: Kind
) -> None:
    resource = newest(kind)
    key = ("default" if kind.namespaced else "", "watched")
    version = (await served.list(resource)).resource_version
    await served.create(resource, named(kind, "watched"), dry_run=True)
    with pytest.raises(errors.NotFound):
        await served.get(resource, key)
    await served.create(resource, named(kind, "watched"))
    await served.delete(resource, key)
    seen = []
    async with asyncio.timeout(30):
        async for event in served.watch(resource, resource_version=version):
            if event.type != "BOOKMARK" and event.object["metadata"]["name"] == "watched":
                seen.append(event.type)
            if seen[-1:] == ["DELETED"]:
                break
    assert seen == ["ADDED", "DELETED"]


@each_kind
async def test_all_of_them_go_at_once(served: Client, kind: Kind) -> None:
    resource = newest(kind)
    for name in ("many-1", "many-2"):
        await served.create(resource, named(kind, name, labels={"goes": "together"}))
    await served.create(resource, named(kind, "stays"))
    where = "default" if kind.namespaced else ""
    await served.delete_collection(resource, where, labels="goes=together")
    left = {obj["metadata"]["name"] for obj in (await served.list(resource)).items}
    assert "stays" in left
    assert not {"many-1", "many-2"} & left


@each_kind
async def test_people_read_it(served: Client, cache: Path, kind: Kind) -> None:
    """Columns of a table, and what each field means."""
    body = json.dumps(named(kind, "read"))
    await kubectl(served, cache, "apply", "--server-side", "--filename=-", stdin=body)
    [crd] = [each for each in crds() if each["spec"]["names"]["kind"] == kind.kind]
    version = next(each for each in crd["spec"]["versions"] if each["storage"])
    columns = version.get("additionalPrinterColumns", ())
    short = [each["name"].upper() for each in columns if not each.get("priority")]
    full = f"{kind.plural}.{kind.group}"
    header = (await kubectl(served, cache, "get", full)).splitlines()[0]
    for name in ("NAME", *short):
        assert name in header
    wide = (await kubectl(served, cache, "get", full, "-o", "wide")).splitlines()[0]
    for each in columns:
        assert each["name"].upper() in wide
    smallest = SMALLEST[kind.kind]
    part = "status" if smallest is None else "spec"
    said = await kubectl(served, cache, "explain", f"{full}.{part}")
    fields = said.partition("FIELDS:\n")[2]
    for field in ("devices",) if smallest is None else smallest:
        assert f"  {field}\t" in fields, said
    assert "<no description>" not in fields
