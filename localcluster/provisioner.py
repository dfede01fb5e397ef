"""The default StorageClass: a folder of the node where the first pod that wants it has landed.

Kept small on purpose: a claim that the scheduler has given a node becomes a folder in that node's
/var and a hostPath volume bound to that node; a released volume's folder is deleted. It runs
beside the control plane, on the host's file system, where all nodes' folders are within reach.

Source: the annotations volume.kubernetes.io/selected-node and storage-provisioner of
kubernetes.io/docs/reference/labels-annotations-taints; "Volume Binding Mode" of StorageClass.
"""

import json
import shutil
import sys
import threading
import time
from collections.abc import Callable

from . import layout
from .api import Api, Object, Refused
from .machine import Service

NAME = "virtpod.local/host-path"
VOLUMES = "var/lib/volumes"  # beneath the node's folder; /var/lib/volumes on the node
WATCH_SECONDS = 300
LOG = layout.LOGS / "provisioner.log"
KUBECONFIG = layout.PKI / "provisioner.kubeconfig"

STORAGE_CLASS: Object = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {
        "name": "local",
        "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
    },
    "provisioner": NAME,
    "reclaimPolicy": "Delete",
    "volumeBindingMode": "WaitForFirstConsumer",
}


def service() -> Service:
    command = [sys.executable, "-m", f"{__package__}.provisioner"]
    return Service("provisioner", command, LOG, {"PYTHONPATH": str(layout.ROOT)})


def main() -> None:
    """Two watches, a thread each; when one fails the process ends, and is started again."""
    watches = (
        ("/api/v1/persistentvolumeclaims", provision),
        ("/api/v1/persistentvolumes", reclaim),
    )
    ended = threading.Event()

    def run(path: str, act: Callable[[Api, Object], None]) -> None:
        try:
            _follow(path, act)
        except Exception as error:  # told, then cured by a new process
            print(f"watching {path}: {error!r}", file=sys.stderr, flush=True)
        finally:
            ended.set()

    for path, act in watches:
        threading.Thread(target=run, args=(path, act), daemon=True).start()
    ended.wait()
    sys.exit(1)


def provision(api: Api, claim: Object) -> None:
    """A volume for a claim of our class that has a node and no volume yet."""
    metadata = claim["metadata"]
    annotations = metadata.get("annotations", {})
    provisioner = annotations.get("volume.kubernetes.io/storage-provisioner")
    node = annotations.get("volume.kubernetes.io/selected-node")
    if provisioner != NAME or not node or claim["spec"].get("volumeName"):
        return
    if node not in {each.name for each in layout.ALL_NODES}:
        return
    if claim["spec"].get("volumeMode", "Filesystem") != "Filesystem":
        _event(api, claim, "ProvisioningFailed", "only volumeMode Filesystem is offered")
        return

    name = f"pvc-{metadata['uid']}"
    folder = layout.machine_folder(node) / VOLUMES / name
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o777)  # hostPath knows no fsGroup
    try:
        api.post("/api/v1/persistentvolumes", _volume(name, node, claim))
    except Refused as refused:
        if refused.code != 409:
            raise


def reclaim(api: Api, volume: Object) -> None:
    """Delete a released volume of ours, contents first."""
    annotations = volume["metadata"].get("annotations", {})
    if annotations.get("pv.kubernetes.io/provisioned-by") != NAME:
        return
    if volume.get("status", {}).get("phase") != "Released":
        return
    if volume["spec"].get("persistentVolumeReclaimPolicy") != "Delete":
        return
    name = volume["metadata"]["name"]
    for node in layout.ALL_NODES:
        shutil.rmtree(node.folder / VOLUMES / name, ignore_errors=True)
    try:
        api.delete(f"/api/v1/persistentvolumes/{name}")
    except Refused as refused:
        if refused.code != 404:
            raise


def _volume(name: str, node: str, claim: Object) -> Object:
    spec, metadata = claim["spec"], claim["metadata"]
    term = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": NAME}},
        "spec": {
            "accessModes": spec["accessModes"],
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "hostPath": {"path": f"/{VOLUMES}/{name}", "type": "Directory"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [term]}]}},
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": spec["storageClassName"],
            "volumeMode": "Filesystem",
        },
    }


def _event(api: Api, claim: Object, reason: str, message: str) -> None:
    namespace, uid = claim["metadata"]["namespace"], claim["metadata"]["uid"]
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    event: Object = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{claim['metadata']['name']}.{uid[:8]}", "namespace": namespace},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": namespace,
            "name": claim["metadata"]["name"],
            "uid": uid,
        },
        "type": "Warning",
        "reason": reason,
        "message": message,
        "source": {"component": NAME},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
    try:
        api.post(f"/api/v1/namespaces/{namespace}/events", event)
    except Refused as refused:
        if refused.code != 409:  # said before
            raise


def _follow(path: str, act: Callable[[Api, Object], None]) -> None:
    """List, then watch from there, for ever: each object as it now is goes to `act`."""
    api = Api(KUBECONFIG, timeout=WATCH_SECONDS + 30)
    while True:
        listed = api.get(path)
        for item in listed["items"]:
            act(api, item)
        version = listed["metadata"]["resourceVersion"]
        query = f"?watch=true&resourceVersion={version}&timeoutSeconds={WATCH_SECONDS}"
        with api.watch(path + query) as answer:
            for line in answer:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    break
                if event["type"] != "DELETED":
                    act(api, event["object"])


if __name__ == "__main__":
    main()
