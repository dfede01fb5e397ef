"""What dashboards are told of the machines, out of virt-controller's caches."""

from __future__ import annotations

import asyncio
from typing import Any

from prometheus_client import CollectorRegistry

from tests.kube.fake import FakeCluster
from virtpod.controller.held import Held
from virtpod.controller.machines import Machines
from virtpod.kube.resources import PODS, VMIS, VMS, Resource
from virtpod.kube.store import Informer


def vm(name: str, status: str) -> dict[str, Any]:
    changed = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:10Z"}
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"instancetype": {"name": "small"}},
        "status": {"printableStatus": status, "conditions": [changed]},
    }


def vmi(name: str) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": f"uid-{name}",
            "annotations": {
                "vm.kubevirt.io/os": "debian",
                "kubevirt.io/cluster-instancetype-name": "small",
            },
        },
        "spec": {"evictionStrategy": "LiveMigrate"},
        "status": {
            "phase": "Running",
            "nodeName": "node1",
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
            "ownerReferences": [owner],
        },
        "spec": {"containers": []},
    }


async def test_machines_are_counted_and_described_while_we_lead() -> None:
    async with FakeCluster() as cluster, cluster.client("virt-controller") as client:
        cluster.put(VMS, vm("runs", "Running"))
        cluster.put(VMS, vm("broken", "CrashLoopBackOff"))
        cluster.put(VMIS, vmi("runs"))
        cluster.put(PODS, pod("virt-launcher-runs-1", "runs"))

        def informer(resource: Resource) -> Informer[Held]:
            index = {"owner": lambda _key, held: [held.owner_uid]}
            return Informer(client, resource, project=Held.project, indices=index)

        stores = [informer(each) for each in (VMS, VMIS, PODS)]
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(each.run()) for each in stores]
            for each in stores:
                await each.wait_synced()
            leads = [False]
            registry = CollectorRegistry()
            registry.register(Machines(*stores, lambda: leads[0]))
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
            for task in running:
                task.cancel()
