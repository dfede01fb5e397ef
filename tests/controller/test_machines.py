"""What dashboards are told of the machines, out of virt-controller's caches."""

from __future__ import annotations

import asyncio
from typing import Any

from prometheus_client import CollectorRegistry

from tests.kube.fake import FakeCluster
from virtpod.controller.held import Held, project_node
from virtpod.controller.machines import Machines
from virtpod.kube.resources import NODES, PODS, VMIS, VMS, Key, Obj, Resource
from virtpod.kube.store import Informer

DOMAIN = {
    "cpu": {"cores": 2},
    "memory": {"guest": "128Mi"},
    "resources": {"requests": {"memory": "64Mi", "cpu": "500m"}, "limits": {"memory": "1Gi"}},
    "devices": {
        "interfaces": [
            {"name": "default", "masquerade": {}},
            {"name": "second", "binding": {"name": "slip"}, "model": "e1000"},
        ]
    },
}
NETWORK = {
    "networks": [
        {"name": "default", "pod": {}},
        {"name": "second", "multus": {"networkName": "blue"}},
    ]
}
VOLUMES = [
    {"name": "root", "containerDisk": {"image": "demo:1"}},
    {"name": "second", "persistentVolumeClaim": {"claimName": "data"}},
    {"name": "third", "dataVolume": {"name": "imported"}},
    {"name": "fourth", "persistentVolumeClaim": {"claimName": "missing"}},
]
CLAIMS: dict[Key, Obj] = {
    Key("default", "data"): {
        "volumeMode": "Block",
        "requests": {"storage": "2Gi"},
        "capacity": {"storage": "3Gi"},
    },
    Key("default", "imported"): {"volumeMode": "Filesystem", "capacity": {"storage": "1Mi"}},
}
NODE = {
    "metadata": {"name": "node1", "labels": {"kubevirt.io/schedulable": "true"}},
    "status": {"allocatable": {"devices.kubevirt.io/kvm": "1k"}},
}


def vm(name: str, status: str) -> dict[str, Any]:
    changed = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:10Z"}
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {"app.kubernetes.io/part-of": "shop", "app-kubernetes_io/part.of": "other"},
        },
        "spec": {
            "instancetype": {"name": "small"},
            "template": {"spec": {"domain": DOMAIN, "volumes": VOLUMES, **NETWORK}},
        },
        "status": {"printableStatus": status, "conditions": [changed]},
    }


def vmi(name: str) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": f"uid-{name}",
            "labels": {"kubevirt.io/outdatedLauncherImage": ""},
            "annotations": {
                "vm.kubevirt.io/os": "debian",
                "kubevirt.io/cluster-instancetype-name": "small",
            },
        },
        "spec": {"evictionStrategy": "LiveMigrate", "domain": DOMAIN, **NETWORK},
        "status": {
            "phase": "Running",
            "nodeName": "node1",
            "interfaces": [
                {"name": "default", "interfaceName": "eth0", "ipAddresses": ["10.0.0.9"]}
            ],
            "guestOSInfo": {"name": "Debian", "versionId": "13", "kernelRelease": "6.12"},
        },
    }


def pod(name: str, of: str) -> dict[str, Any]:
    owner = {"kind": "VirtualMachineInstance", "name": of, "uid": f"uid-{of}", "controller": True}
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {"kubevirt.io": "virt-launcher"},
            "annotations": {"kubevirt.io/memory-overhead-bytes": "302252032"},
            "ownerReferences": [owner],
        },
        "spec": {"containers": []},
    }


def samples(registry: CollectorRegistry) -> dict[str, dict[tuple[str, ...], float]]:
    """Of the machine `runs` and of all: by metric, then by the labels beyond its name."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for sample in (sample for family in registry.collect() for sample in family.samples):
        labels = dict(sample.labels)
        name = labels.pop("name", "runs")
        whose = ("node", "namespace")
        rest = tuple(value for label, value in labels.items() if label not in whose)
        if name == "runs":
            found.setdefault(sample.name.removeprefix("kubevirt_"), {})[rest] = sample.value
    return found


async def test_machines_are_counted_and_described_while_we_lead() -> None:
    async with FakeCluster() as cluster, cluster.client("virt-controller") as client:
        cluster.put(VMS, vm("runs", "Running"))
        cluster.put(VMS, vm("broken", "CrashLoopBackOff"))
        cluster.put(VMIS, vmi("runs"))
        cluster.put(PODS, pod("virt-launcher-runs-1", "runs"))

        def informer(resource: Resource) -> Informer[Held]:
            index = {"owner": lambda _key, held: [held.owner_uid]}
            return Informer(client, resource, project=Held.project, indices=index)

        cluster.put(NODES, NODE)
        nodes = Informer(client, NODES, project=project_node)
        stores = [informer(each) for each in (VMS, VMIS, PODS)]
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(each.run()) for each in (*stores, nodes)]
            for each in (*stores, nodes):
                await each.wait_synced()
            leads = [False]
            registry = CollectorRegistry()
            registry.register(Machines(*stores, nodes, lambda: leads[0], CLAIMS.get))
            assert not list(registry.collect())
            leads[0] = True

            def value(metric: str, /, **labels: str) -> float | None:
                return registry.get_sample_value(metric, labels)

            assert value("kubevirt_number_of_vms", namespace="default") == 2
            name = {"name": "broken", "namespace": "default"}
            since = "kubevirt_vm_error_status_last_transition_timestamp_seconds"
            assert value(since, **name) == 1767225610
            assert value(since, **name | {"name": "runs"}) == 0
            [info] = [each for each in registry.collect() if each.name == "kubevirt_vmi_info"]
            [sample] = info.samples
            assert sample.labels["vmi_pod"] == "virt-launcher-runs-1"
            assert sample.labels["phase"] == "running"
            assert sample.labels["guest_os_name"] == "Debian"
            assert sample.labels["instance_type"] == "small"
            where = {"node": "node1", "namespace": "default", "name": "runs"}
            assert value("kubevirt_vmi_non_evictable", **where) == 1

            whole = sample.labels
            kept = (*where, "phase", "os", "workload", "flavor", "instance_type", "preference")
            phase = {label: whole[label] for label in kept}
            assert value("kubevirt_vmi_phase", **phase) == 1

            overhead = "kubevirt_vmi_launcher_memory_overhead_bytes"
            assert value(overhead, namespace="default", name="runs") == 302252032
            labels = {"label_app_kubernetes_io_part_of": "other"}
            labels["label_app_kubernetes_io_part_of_conflict1"] = "shop"
            assert value("kubevirt_vm_labels", **name, **labels) == 1

            found = samples(registry)
            assert found["vm_resource_requests"] == {
                ("memory", "bytes", "domain"): 64 * 2**20,
                ("memory", "bytes", "guest"): 128 * 2**20,
                ("cpu", "cores", "requests"): 0.5,
                ("cpu", "cores", "domain"): 2,
            }
            assert found["vm_resource_limits"] == {("memory", "bytes"): 2**30}
            nics = {
                ("default", "core", "pod networking", "masquerade", "<none>"): 1,
                ("second", "plugin", "blue", "slip", "e1000"): 1,
            }
            assert found["vm_vnic_info"] == found["vmi_vnic_info"] == nics
            address = ("default", "eth0", "10.0.0.9", "InternalIP")
            assert found["vmi_status_addresses"] == {address: 1}
            assert found["vmi_number_of_outdated"] == {(): 1}
            assert found["allocatable_nodes"] == found["nodes_with_kvm"] == {(): 1}
            assert found["nodes_allocatable"] == {(): 1}
            assert found["non_schedulable_nodes"] == {(): 0}
            assert found["vm_disk_allocated_size_bytes"] == {
                ("data", "Block", "second"): 2 * 2**30,
                ("imported", "Filesystem", "third"): 2**20,
            }
            assert found["vm_create_date_timestamp_seconds"][()] > 1.7e9
            for task in running:
                task.cancel()
