"""The objects that a machine stands on, as one tree."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.apiserver.site import Running, put_vm, put_vmi
from virtpod.kube.resources import VMIS, VMS

TYPE = "kubevirt.io/dependency-type"
SPEC: dict[str, Any] = {
    "domain": {"devices": {"tpm": {"persistent": True}}},
    "networks": [{"name": "a", "multus": {"networkName": "nets/blue"}}],
    "volumes": [
        {"name": "root", "dataVolume": {"name": "root"}},
        {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "layer", "ephemeral": {"persistentVolumeClaim": {"claimName": "base"}}},
        {
            "name": "init",
            "cloudInitNoCloud": {"secretRef": {"name": "user"}, "userData": "x"},
        },
        {"name": "conf", "configMap": {"name": "settings"}},
        {"name": "key", "secret": {"secretName": "key"}},
        {"name": "account", "serviceAccount": {"serviceAccountName": "robot"}},
        {"name": "answers", "sysprep": {"configMap": {"name": "unattend"}}},
        {"name": "scratch", "emptyDisk": {"capacity": "1Gi"}},
    ],
}
STANDS_ON = [
    "DataVolume root",
    "PersistentVolumeClaim root",
    "PersistentVolumeClaim data",
    "PersistentVolumeClaim base",
    "Secret user",
    "ConfigMap settings",
    "Secret key",
    "ServiceAccount robot",
    "ConfigMap unattend",
    "PersistentVolumeClaim persistent-state-for-demo",
    "NetworkAttachmentDefinition blue",
]


def told(node: dict[str, Any]) -> Any:
    name = f"{node['objectReference']['kind']} {node['objectReference']['name']}"
    below = [told(each) for each in node.get("children", ())]
    return {name: below} if below else name


async def graph(api: Running, kind: str, options: dict[str, Any] | None = None) -> tuple[int, Any]:
    url = api.path(kind, "demo", "objectgraph")
    body = json.dumps(options).encode() if options is not None else b""
    async with api.session() as session, session.get(url, data=body) as reply:
        return reply.status, await reply.json()


@pytest.fixture
def whole(api: Running) -> Running:
    """A VM with an instance type, and its instance."""
    api.gates = frozenset({"ObjectGraph"})
    machine, instance = put_vm(api), put_vmi(api)
    machine["spec"]["template"]["spec"] = SPEC
    machine["spec"]["instancetype"] = {"name": "small"}
    machine["spec"]["dataVolumeTemplates"] = [{"metadata": {"name": "root"}, "spec": {}}]
    machine["status"]["instancetypeRef"] = {"controllerRevisionRef": {"name": "small-1"}}
    instance["spec"] = SPEC
    instance["metadata"]["uid"] = "0a5f8f0e-6a0e-4a53-9d0c-0f6f6d1c9b11"
    api.fake.put(VMS, machine)
    api.fake.put(VMIS, instance)
    return api


async def test_a_vm_with_all_that_it_stands_on(whole: Running) -> None:
    code, root = await graph(whole, "virtualmachines")
    assert code == 200
    size = {"VirtualMachineClusterInstancetype small": ["ControllerRevision small-1"]}
    found = told(root)
    [pod_node] = [
        each
        for each in root["children"][-1]["children"]
        if each["objectReference"]["kind"] == "Pod"
    ]
    instance = {"VirtualMachineInstance demo": [told(pod_node), *STANDS_ON]}
    assert found == {"VirtualMachine demo": [size, "DataVolume root", instance]}
    assert pod_node["objectReference"]["name"].startswith("virt-launcher-demo-")
    assert root["labels"] == {TYPE: "compute"}
    [network] = [
        each["objectReference"]
        for each in root["children"][-1]["children"]
        if each["labels"][TYPE] == "network"
    ]
    assert network == {
        "kind": "NetworkAttachmentDefinition",
        "name": "blue",
        "namespace": "nets",
        "apiGroup": "k8s.cni.cncf.io",
    }


async def test_a_vm_that_does_not_run(whole: Running) -> None:
    whole.fake.remove(VMIS, ("default", "demo"))
    _, root = await graph(whole, "virtualmachines", {"includeOptionalNodes": False})
    assert told(root) == {"VirtualMachine demo": ["DataVolume root", *STANDS_ON]}


async def test_a_part_of_it(whole: Running) -> None:
    storage = {"matchLabels": {TYPE: "storage"}}
    _, root = await graph(whole, "virtualmachineinstances", {"labelSelector": storage})
    assert told(root) == {
        "VirtualMachineInstance demo": [
            each for each in STANDS_ON if each.startswith(("DataV", "Persis"))
        ]
    }
    wish = {
        "key": TYPE,
        "operator": "NotIn",
        "values": ["storage", "config"],
    }
    options = {"labelSelector": {"matchExpressions": [wish]}, "includeOptionalNodes": False}
    _, root = await graph(whole, "virtualmachineinstances", options)
    assert told(root) == {"VirtualMachineInstance demo": ["NetworkAttachmentDefinition blue"]}
    wish["operator"] = "Near"
    code, status = await graph(whole, "virtualmachineinstances", options)
    assert (code, "'Near' is no operator" in status["message"]) == (400, True)


async def test_without_its_gate_there_is_none(whole: Running) -> None:
    whole.gates = frozenset()
    code, status = await graph(whole, "virtualmachines")
    assert (code, "ObjectGraph" in status["message"]) == (400, True)
