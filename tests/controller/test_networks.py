"""NetworkAttachmentDefinitions that VMIs name: awaited, and what they say goes into the pod."""

from __future__ import annotations

import json

import pytest

from tests.controller.test_claims import instance, status, told
from tests.controller.test_loops import controller, until, wrote
from tests.kube.fake import FakeCluster
from virtpod.api.base import decode
from virtpod.api.kubevirt import (
    InterfaceBindingPlugin,
    KubeVirtConfiguration,
    NetworkConfiguration,
)
from virtpod.api.network import Network
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.controllers import networks, vmi
from virtpod.domain import network_status
from virtpod.domain.facts import Cluster
from virtpod.features.network import multus, names
from virtpod.kube.resources import NETWORK_DEFINITIONS, PODS, VMIS, Obj


def joined(name: str) -> Obj:
    """With a secondary network by a definition of another namespace."""
    made = instance(name)
    made["spec"]["domain"]["devices"]["interfaces"] = [
        {"name": "default", "masquerade": {}},
        {"name": "red", "sriov": {}},
        {"name": "green", "sriov": {}},
    ]
    made["spec"]["networks"] = [
        {"name": "default", "pod": {}},
        {"name": "red", "multus": {"networkName": "infra/lan"}},
        {"name": "green", "multus": {"networkName": "infra/lan"}},
    ]
    return made


async def test_a_network_that_is_missing_is_awaited_and_its_resource_asked_for(
    fake: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vmi, "NETWORK_AGAIN", 0.2)
    async with controller(fake):
        fake.put(VMIS, joined("demo"))
        await until(lambda: told(fake, "demo")[0] == networks.MISSING)
        assert told(fake, "demo")[1] == (
            "NetworkAttachmentDefinition infra/lan does not exist; "
            "spec.networks[1].multus.networkName names it"
        )
        assert not fake.objects(PODS)
        definition: Obj = {
            "metadata": {
                "name": "lan",
                "namespace": "infra",
                "annotations": {networks.RESOURCE: "example.com/vf"},
            },
            "spec": {"config": "{}"},
        }
        fake.put(NETWORK_DEFINITIONS, definition)
        await until(lambda: status(fake, "demo")["phase"] != "Pending")
        assert told(fake, "demo") == ("", "")
    (pod,) = fake.objects(PODS).values()
    selected = json.loads(pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/networks"])
    assert [(each["namespace"], each["name"]) for each in selected] == [("infra", "lan")] * 2
    assert len({each["interface"] for each in selected}) == 2
    assert pod["spec"]["containers"][0]["resources"]["limits"]["example.com/vf"] == "2"
    assert wrote(fake, "create", "pods") == 1


def test_what_multus_noted_of_a_device_is_handed_to_the_side_car_that_wants_it() -> None:
    device = {"type": "pci", "version": "1.1.0", "pci": {"pci-address": "0000:81:02.1"}}
    noted = [
        {"name": "pods", "interface": "eth0", "default": True},
        {"name": "infra/lan", "interface": names(Network(name="red")).pod, "device-info": device},
        {"name": "infra/lan", "interface": names(Network(name="green")).pod, "device-info": device},
    ]
    plugins = {
        "curious": InterfaceBindingPlugin(downward_api="device-info"),
        "plain": InterfaceBindingPlugin(),
    }
    cluster = Cluster(config=KubeVirtConfiguration(network=NetworkConfiguration(binding=plugins)))
    seen = joined("demo")
    nics = seen["spec"]["domain"]["devices"]["interfaces"]
    nics[1] = {"name": "red", "binding": {"name": "curious"}}
    nics[2] = {"name": "green", "binding": {"name": "plain"}}
    pod: Obj = {"metadata": {"annotations": {network_status.ANNOTATION: json.dumps(noted)}}}
    told = json.loads(networks.info(seen, pod, cluster))
    assert told == {"interfaces": [{"network": "red", "deviceInfo": device}]}
    for bad in ("", "[", "[1]", '{"a": 1}', "x" * 300_000):
        pod["metadata"]["annotations"][network_status.ANNOTATION] = bad
        assert networks.info(seen, pod, cluster) == ""
        assert network_status.read(bad) == ()


def test_a_device_that_is_no_address_is_none() -> None:
    odd = [{"interface": "net1", "device-info": {"pci": {"pci-address": "../../etc"}}}]
    assert network_status.read(json.dumps(odd))[0].pci == ""


def test_a_pod_asks_for_what_the_machine_has_now() -> None:
    """And keeps what the guest has not let go of yet."""
    cluster = Cluster()
    seen = joined("demo")
    seen["metadata"]["uid"] = "1"
    made = multus.selected(decode(seen, VirtualMachineInstance), cluster)
    pod: Obj = {"metadata": {"annotations": {multus.NETWORKS: json.dumps(made, indent=1)}}}
    assert networks.selection(seen, pod, cluster) == ""

    nics = seen["spec"]["domain"]["devices"]["interfaces"]
    nics.append({"name": "blue", "bridge": {}})
    seen["spec"]["networks"].append({"name": "blue", "multus": {"networkName": "lan"}})
    more = json.loads(networks.selection(seen, pod, cluster))
    assert more[:2] == made
    assert (more[2]["namespace"], more[2]["name"]) == ("default", "lan")

    pod["metadata"]["annotations"][multus.NETWORKS] = json.dumps(more)
    nics[-1]["state"] = "absent"
    seen["status"]["interfaces"] = [{"name": "blue", "infoSource": "domain, multus-status"}]
    assert networks.selection(seen, pod, cluster) == ""
    seen["status"]["interfaces"] = [{"name": "blue", "infoSource": "multus-status"}]
    assert json.loads(networks.selection(seen, pod, cluster)) == made

    nics[1:] = seen["spec"]["networks"][1:] = []
    assert networks.selection(seen, pod, cluster) == "[]"
    seen["metadata"]["annotations"] = pod["metadata"]["annotations"]
    assert networks.selection(seen, pod, cluster) == "", "the user asked for it, not the spec"
