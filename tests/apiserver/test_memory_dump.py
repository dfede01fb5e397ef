"""memorydump, removememorydump: which claim may take a dump, and what is noted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.apiserver.site import Running, put_vm, put_vmi
from virtpod.kube.resources import PVCS, VMS


async def _do(api: Running, verb: str, **body: Any) -> tuple[int, str]:
    path = api.path("virtualmachines", "demo", verb)
    code, status = await api.put(path, json.dumps(body).encode())
    return code, status["message"] if status else ""


def _claim(api: Running, name: str = "dump", size: str = "1Gi", **spec: Any) -> None:
    given = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    metadata = {"name": name, "namespace": "default"}
    api.fake.put(PVCS, {"metadata": metadata, "spec": {**given, **spec}})


def _request(api: Running) -> Any:
    return (api.fake.get(VMS, "default", "demo").get("status") or {}).get("memoryDumpRequest")


def _running(api: Running) -> None:
    put_vm(api)
    put_vmi(api)


def _tell(api: Running, phase: str) -> None:
    vm = api.fake.get(VMS, "default", "demo")
    vm["status"]["memoryDumpRequest"]["phase"] = phase
    api.fake.put(VMS, vm)


async def test_a_dump_is_asked_for_once_at_a_time(api: Running) -> None:
    _running(api)
    _claim(api)
    _claim(api, "other")
    assert await _do(api, "memorydump", claimName="dump") == (202, "")
    assert _request(api) == {"claimName": "dump", "phase": "Associating"}
    code, said = await _do(api, "memorydump", claimName="dump")
    assert (code, "already in progress" in said) == (409, True)
    code, said = await _do(api, "memorydump", claimName="other")
    assert (code, "still associated" in said) == (409, True)
    _tell(api, "Completed")
    assert await _do(api, "memorydump") == (202, "")
    assert _request(api)["phase"] == "Associating"
    assert await _do(api, "removememorydump") == (202, "")
    assert _request(api) == {"claimName": "dump", "phase": "Dissociating", "remove": True}


async def test_a_claim_that_cannot_take_it_is_named(api: Running) -> None:
    _running(api)
    code, said = await _do(api, "memorydump")
    assert (code, said) == (400, "Memory dump requires claim name to be set")
    assert (await _do(api, "memorydump", claimName="dump"))[0] == 404
    for spec, words in (
        ({"volumeMode": "Block"}, "pvc should be filesystem pvc"),
        ({"accessModes": ["ReadOnlyMany"]}, "pvc access mode can't be read only"),
        ({"size": "1Mi"}, "pvc size [1Mi] should be bigger then"),
    ):
        _claim(api, **spec)  # type: ignore[arg-type]  # one of them each time
        code, said = await _do(api, "memorydump", claimName="dump")
        assert (code, words in said) == (409, True), said
    _claim(api, "a.name.with.dots")
    code, said = await _do(api, "memorydump", claimName="a.name.with.dots")
    assert (code, "DNS label" in said) == (409, True)
    assert _request(api) is None


async def test_a_disk_of_the_guest_takes_none(api: Running) -> None:
    _running(api)
    _claim(api)
    vm = api.fake.get(VMS, "default", "demo")
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "dump"}}
    vm["spec"]["template"]["spec"]["volumes"] = [volume]
    api.fake.put(VMS, vm)
    code, said = await _do(api, "memorydump", claimName="dump")
    assert (code, "volume data has it" in said) == (409, True)


@pytest.mark.parametrize("verb", ["memorydump", "removememorydump"])
async def test_without_a_guest_or_a_claim_there_is_none(api: Running, verb: str) -> None:
    put_vm(api)
    _claim(api)
    code, said = await _do(api, verb, claimName="dump")
    assert code == 409
    assert ("not running" in said) or ("no association found" in said)
