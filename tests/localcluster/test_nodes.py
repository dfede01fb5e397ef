"""What a node offers to pods: exec, logs, propagated mounts, image volumes, storage."""

import json
import subprocess
from typing import Any

import pytest

from tests.localcluster.support import ROOT, Kubectl, eventually, localcluster, pod

pytestmark = pytest.mark.cluster


def test_exec_and_logs(kubectl: Kubectl, nodes: list[str], tools: str) -> None:
    for node in nodes:
        name = f"talks-{node}"
        kubectl.apply(pod(name, tools, node, "sh", "-c", "echo said; exec sleep infinity"))
        kubectl.wait_ready(name)
        assert kubectl("logs", name) == "said\n"
        assert kubectl("exec", name, "--", "echo", "heard") == "heard\n"


def test_each_node_has_files_of_its_own(kubectl: Kubectl, nodes: list[str], tools: str) -> None:
    for node in nodes:
        volume = {"name": "own", "hostPath": {"path": "/var/lib/own", "type": "DirectoryOrCreate"}}
        container = {"volumeMounts": [{"name": "own", "mountPath": "/own"}]}
        name = f"owns-{node}"
        kubectl.apply(pod(name, tools, node, volumes=[volume], container=container))
        kubectl.wait_ready(name)
        kubectl("exec", name, "--", "touch", f"/own/{name}")
        assert kubectl("exec", name, "--", "ls", "/own").split() == [name]
        kubectl("exec", name, "--", "rm", f"/own/{name}")


def test_a_mount_in_a_bidirectional_host_path_is_seen_by_the_node(
    kubectl: Kubectl, nodes: list[str], tools: str
) -> None:
    path = f"/var/lib/{kubectl.namespace}"
    volume = {"name": "shared", "hostPath": {"path": path, "type": "DirectoryOrCreate"}}
    mount = {"name": "shared", "mountPath": "/shared", "mountPropagation": "Bidirectional"}
    container = {"volumeMounts": [mount], "securityContext": {"privileged": True}}
    kubectl.apply(pod("mounts", tools, nodes[0], volumes=[volume], container=container))
    kubectl.wait_ready("mounts")
    script = "mkdir /shared/inner && mount -t tmpfs inner /shared/inner && touch /shared/inner/seen"
    kubectl("exec", "mounts", "--", "sh", "-c", script)
    assert localcluster("enter", nodes[0], "--", "ls", f"{path}/inner").stdout == "seen\n"

    kubectl("exec", "mounts", "--", "umount", "/shared/inner")
    assert localcluster("enter", nodes[0], "--", "ls", f"{path}/inner").stdout == ""
    localcluster("enter", nodes[0], "--", "rmdir", f"{path}/inner")


def test_an_image_can_be_a_volume(kubectl: Kubectl, nodes: list[str], tools: str) -> None:
    for node in nodes:
        volume = {"name": "image", "image": {"reference": tools, "pullPolicy": "Never"}}
        container = {"volumeMounts": [{"name": "image", "mountPath": "/image"}]}
        name = f"reads-{node}"
        kubectl.apply(pod(name, tools, node, volumes=[volume], container=container))
        kubectl.wait_ready(name)
        page = kubectl("exec", name, "--", "cat", "/image/www/index.html")
        assert page == "hello from a pod\n"


def test_the_default_storage_class_makes_and_removes_a_volume(
    kubectl: Kubectl, nodes: list[str], tools: str
) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    wants: dict[str, Any] = {
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        "container": {"volumeMounts": [{"name": "data", "mountPath": "/data"}]},
        "securityContext": {"runAsUser": 107},
        # Not nodeName: the scheduler has to choose the node, as it tells the provisioner.
        "nodeName": None,
        "nodeSelector": {"kubernetes.io/hostname": nodes[1]},
    }
    kubectl.apply(claim, pod("writes", tools, nodes[1], **wants))
    kubectl.wait_ready("writes")
    kubectl("exec", "writes", "--", "sh", "-c", "echo kept > /data/file")
    volume = kubectl.get("pvc", "data")["spec"]["volumeName"]

    kubectl("delete", "pod", "writes")
    kubectl.apply(pod("reads-again", tools, nodes[1], **wants))
    kubectl.wait_ready("reads-again")
    assert kubectl("exec", "reads-again", "--", "cat", "/data/file") == "kept\n"

    kubectl("delete", "pod", "reads-again")
    kubectl("delete", "pvc", "data")
    kubectl("wait", "--for=delete", f"pv/{volume}", "--timeout=60s")


def test_a_block_claim_is_a_device_that_grows(
    kubectl: Kubectl, nodes: list[str], tools: str
) -> None:
    def size(want: str) -> dict[str, Any]:
        return {"resources": {"requests": {"storage": want}}}

    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "raw"},
        "spec": {"accessModes": ["ReadWriteOnce"], "volumeMode": "Block", **size("4Mi")},
    }
    wants: dict[str, Any] = {
        "volumes": [{"name": "raw", "persistentVolumeClaim": {"claimName": "raw"}}],
        "container": {"volumeDevices": [{"name": "raw", "devicePath": "/dev/raw-disk"}]},
        "securityContext": {"runAsUser": 107},
        "nodeName": None,
        "nodeSelector": {"kubernetes.io/hostname": nodes[1]},
    }
    kubectl.apply(claim, pod("writes-raw", tools, nodes[1], **wants))
    kubectl.wait_ready("writes-raw")
    kubectl("exec", "writes-raw", "--", "sh", "-c", "echo kept > /dev/raw-disk")
    volume = kubectl.get("pvc", "raw")["spec"]["volumeName"]
    kubectl("delete", "pod", "writes-raw")
    kubectl("patch", "pvc", "raw", "--patch", json.dumps({"spec": size("8Mi")}))
    kubectl(*("wait", "--for=jsonpath={.status.capacity.storage}=8Mi", "pvc/raw", "--timeout=60s"))

    kubectl.apply(pod("reads-raw", tools, nodes[1], **wants))
    kubectl.wait_ready("reads-raw")
    script = "head -n 1 /dev/raw-disk; wc -c </dev/raw-disk"
    assert kubectl("exec", "reads-raw", "--", "sh", "-c", script) == f"kept\n{8 << 20}\n"
    kubectl("delete", "pod", "reads-raw")
    kubectl("delete", "pvc", "raw")
    kubectl("wait", "--for=delete", f"pv/{volume}", "--timeout=60s")
    eventually(
        lambda: volume not in subprocess.check_output(["losetup", "--list"], text=True),
        "its loop devices are gone",
        120,
    )


def test_status_tells_the_truth(nodes: list[str]) -> None:
    answer = localcluster("status")
    status = json.loads(answer.stdout)
    assert answer.returncode == 0, status
    assert status["healthy"]
    assert status["api"] == "ok"
    assert sorted(status["nodes_ready"]) == sorted(nodes)


def test_up_on_a_running_cluster_changes_nothing(kubectl: Kubectl, nodes: list[str]) -> None:
    before = localcluster("status").stdout
    answer = localcluster("up", "--nodes", str(len(nodes)))
    assert answer.returncode == 0, answer.stderr
    assert localcluster("status").stdout == before


def test_the_audit_log_tells_who_asked_what(kubectl: Kubectl) -> None:
    kubectl("get", "configmaps")
    wanted = f"/api/v1/namespaces/{kubectl.namespace}/configmaps"

    def told() -> bool:
        with (ROOT / ".local/cluster/audit.log").open() as log:
            events = [json.loads(line) for line in log if wanted in line]
        return any(
            event["stage"] == "ResponseComplete"
            and event["level"] == "Metadata"
            and event["user"]["username"] == "kubernetes-admin"
            for event in events
        )

    eventually(told, "the request in the audit log")


@pytest.mark.long
def test_a_crashed_node_comes_back_with_its_pods(
    kubectl: Kubectl, nodes: list[str], tools: str
) -> None:
    victim = nodes[-1]
    kubectl.apply(pod("survives", tools, victim))
    kubectl.wait_ready("survives")

    assert localcluster("crash", victim).returncode == 0
    assert localcluster("status").returncode == 1
    assert localcluster("up").returncode == 0

    def restarted() -> bool:
        statuses = kubectl.get("pod", "survives")["status"]["containerStatuses"]
        return any(each["restartCount"] == 1 and each["ready"] for each in statuses)

    eventually(restarted, "the pod runs again", seconds=60)
    assert kubectl("exec", "survives", "--", "echo", "back") == "back\n"
