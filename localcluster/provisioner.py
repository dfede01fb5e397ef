"""The default StorageClass: a folder of the node where the first pod that wants it has landed.

Kept small on purpose: a claim that the scheduler has given a node becomes a folder in that node's
/var and a hostPath volume bound to that node, or a file there and a loop device that shows it; a
released volume's folder or file is deleted; a claim that asks for more gets it at once, for a
folder is as large as its disk. It runs beside the control plane, on the host's file system, where
all nodes' folders are within reach.

Source: the annotations volume.kubernetes.io/selected-node and storage-provisioner of
kubernetes.io/docs/reference/labels-annotations-taints; "Volume Binding Mode" of StorageClass.
"""

import json
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from . import layout, loops
from .api import Api, Object, Refused
from .machine import Service

NAME = "virtpod.local/host-path"
VOLUMES = "var/lib/volumes"  # beneath the node's folder; /var/lib/volumes on the node
WATCH_SECONDS = 300
LOG = layout.LOGS / "provisioner.log"
KUBECONFIG = layout.PKI / "provisioner.kubeconfig"

SCALES = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 10**3, "M": 10**6, "G": 10**9}

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
    "allowVolumeExpansion": True,
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
    if provisioner != NAME or not node:
        return
    if claim["spec"].get("volumeName"):
        _expand(api, claim)
        return
    if node not in {each.name for each in layout.ALL_NODES}:
        return

    name = f"pvc-{metadata['uid']}"
    place = layout.machine_folder(node) / VOLUMES / name
    if claim["spec"].get("volumeMode") == "Block":
        try:
            source = _block(place, claim["spec"]["resources"]["requests"]["storage"])
        except (OSError, ValueError) as error:
            _event(api, claim, "ProvisioningFailed", str(error))
            return
    else:
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(0o777)  # hostPath knows no fsGroup
        source = {"hostPath": {"path": f"/{VOLUMES}/{name}", "type": "Directory"}}
    try:
        api.post("/api/v1/persistentvolumes", _volume(name, node, claim, source))
    except Refused as refused:
        if refused.code != 409:
            raise


def _block(place: Path, size: str) -> Object:
    """A sparse file and a loop device that shows it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("ab") as file:
        file.truncate(_bytes(size))
    return {"local": {"path": loops.attach(place)}}


def _expand(api: Api, claim: Object) -> None:
    """Gives a bound claim of ours the size that it asks for."""
    spec, metadata = claim["spec"], claim["metadata"]
    wanted = spec["resources"]["requests"]["storage"]
    have = (claim.get("status") or {}).get("capacity", {}).get("storage")
    if not have or _bytes(wanted) <= _bytes(have):
        return
    path = f"/api/v1/persistentvolumes/{spec['volumeName']}"
    volume = api.get(path)
    if spec.get("volumeMode") == "Block":
        places = [_place(node, volume) for node in layout.ALL_NODES]
        [place] = [place for place in places if place.is_file()]
        with place.open("ab") as file:
            file.truncate(_bytes(wanted))
        loops.grow(place)
    api.patch(path, {"spec": {"capacity": {"storage": wanted}}})
    own = f"/api/v1/namespaces/{metadata['namespace']}/persistentvolumeclaims/{metadata['name']}"
    api.patch(f"{own}/status", {"status": {"capacity": {"storage": wanted}}})


def _place(node: layout.Node, volume: Object) -> Path:
    return node.folder / VOLUMES / str(volume["metadata"]["name"])


def _bytes(quantity: str) -> int:
    """Of the quantities that people write for disks."""
    for suffix, scale in SCALES.items():
        if quantity.endswith(suffix):
            return int(float(quantity.removesuffix(suffix)) * scale)
    return int(quantity)


def reclaim(api: Api, volume: Object) -> None:
    """Delete a released volume of ours, contents first; a device that the host lost with its
    power is made again."""
    annotations = volume["metadata"].get("annotations", {})
    if annotations.get("pv.kubernetes.io/provisioned-by") != NAME:
        return
    if device := volume["spec"].get("local", {}).get("path"):
        for node in layout.ALL_NODES:
            if _place(node, volume).is_file():
                loops.attach(_place(node, volume), device)
    if volume.get("status", {}).get("phase") != "Released":
        return
    if volume["spec"].get("persistentVolumeReclaimPolicy") != "Delete":
        return
    name = volume["metadata"]["name"]
    for node in layout.ALL_NODES:
        place = _place(node, volume)
        if place.is_file():
            loops.detach(place)
            place.unlink()
        else:
            shutil.rmtree(place, ignore_errors=True)
    try:
        api.delete(f"/api/v1/persistentvolumes/{name}")
    except Refused as refused:
        if refused.code != 404:
            raise


def _volume(name: str, node: str, claim: Object, source: Object) -> Object:
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
            **source,
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [term]}]}},
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": spec["storageClassName"],
            "volumeMode": spec.get("volumeMode", "Filesystem"),
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
