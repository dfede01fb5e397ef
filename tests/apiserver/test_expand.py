"""expand-spec and expand-vm-spec: a VM with all that it takes written out."""

from __future__ import annotations

import json
from typing import Any

from tests.apiserver.site import Running, put_vm
from virtpod.apiserver.routes import GROUP
from virtpod.kube.resources import CLUSTER_INSTANCETYPES, VMS

SMALL = {
    "apiVersion": "instancetype.kubevirt.io/v1beta1",
    "kind": "VirtualMachineClusterInstancetype",
    "metadata": {"name": "small"},
    "spec": {"cpu": {"guest": 2}, "memory": {"guest": "256Mi"}},
}
VM: dict[str, Any] = {
    "apiVersion": "kubevirt.io/v1",
    "kind": "VirtualMachine",
    "metadata": {"name": "new"},
    "spec": {
        "runStrategy": "Halted",
        "instancetype": {"name": "small"},
        "template": {"spec": {"domain": {"devices": {}}}},
    },
}


async def _put(api: Running, body: bytes) -> tuple[int, dict[str, Any]]:
    url = f"{api.url}/apis/{GROUP}/v1/namespaces/default/expand-vm-spec"
    async with api.session() as session, session.put(url, data=body) as reply:
        return reply.status, await reply.json()


async def test_a_stored_vm(api: Running) -> None:
    api.fake.put(CLUSTER_INSTANCETYPES, SMALL)
    stored = put_vm(api)
    stored["spec"]["instancetype"] = {
        "name": "small",
        "kind": "VirtualMachineClusterInstancetype",
    }
    stored["spec"]["template"]["spec"]["domain"].pop("memory", None)
    stored["spec"]["template"]["spec"]["domain"].pop("cpu", None)
    api.fake.put(VMS, stored)
    url = api.path("virtualmachines", "demo", "expand-spec")
    async with api.session() as session, session.get(url) as reply:
        assert reply.status == 200
        whole = await reply.json()
    domain = whole["spec"]["template"]["spec"]["domain"]
    assert domain["memory"]["guest"] == "256Mi"
    assert domain["cpu"]["sockets"] == 2
    assert "instancetype" not in whole["spec"]
    assert api.fake.get(VMS, "default", "demo")["spec"]["instancetype"], "nothing is written"


async def test_a_vm_without_any_is_as_it_is(api: Running) -> None:
    stored = put_vm(api)
    url = api.path("virtualmachines", "demo", "expand-spec")
    async with api.session() as session, session.get(url) as reply:
        assert (await reply.json())["spec"]["template"]["spec"] == stored["spec"]["template"][
            "spec"
        ]


async def test_a_vm_that_nobody_stored(api: Running) -> None:
    api.fake.put(CLUSTER_INSTANCETYPES, SMALL)
    code, whole = await _put(api, json.dumps(VM).encode())
    assert code == 200
    assert whole["spec"]["template"]["spec"]["domain"]["memory"]["guest"] == "256Mi"
    assert whole["metadata"]["namespace"] == "default"


async def test_what_cannot_be_expanded_is_said(api: Running) -> None:
    assert (await _put(api, b""))[1]["message"] == "empty request body"
    code, said = await _put(api, json.dumps(VM).encode())
    assert code == 400
    assert "small" in said["message"]
    assert said["details"]["causes"][0]["field"] == "spec.instancetype"
    other = {**VM, "metadata": {"name": "new", "namespace": "other"}}
    code, said = await _put(api, json.dumps(other).encode())
    assert (code, said["message"]) == (400, "VM namespace must be empty or default")
    for body in (b"[]", b"{", b'{"spec": 3}', b'{"spec": {"template": {"spec": {"domain": 7}}}}'):
        code, said = await _put(api, body)
        assert code == 400
        assert "not a valid VirtualMachine" in said["message"]
