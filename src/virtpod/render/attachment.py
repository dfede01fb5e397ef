"""The pod that brings claims to a guest's node while the guest runs.

It holds the claims and does nothing else; virt-handler takes them over into the launcher's
container. It goes with the launcher's pod, which owns it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256

from virtpod.domain import paths, support
from virtpod.domain.facts import Cluster
from virtpod.features.contract import Json

LABEL = "hotplug-disk"
"""Value of the label kubevirt.io."""
CONTAINER = "hotplug-disk"
SOCKET = "hotplug-disks"
USUAL = {
    "limits": {"cpu": "100m", "memory": "80M"},
    "requests": {"cpu": "10m", "memory": "2M"},
}


def name(launcher_uid: str, volumes: Mapping[str, str]) -> str:
    """Follows from what it holds, so that making it twice finds the first."""
    held = ",".join(f"{volume}={claim}" for volume, claim in sorted(volumes.items()))
    return f"hp-volume-{sha256(f'{launcher_uid}:{held}'.encode()).hexdigest()[:10]}"


def pod(
    launcher: Mapping[str, Json],
    volumes: Mapping[str, Json],
    blocks: Sequence[str],
    cluster: Cluster,
) -> Json:
    """`volumes`: name to persistentVolumeClaim source. `blocks`: those that are block devices."""
    metadata, spec = launcher["metadata"], launcher["spec"]
    devices = [
        {"name": each, "devicePath": paths.attachment(each)} for each in volumes if each in blocks
    ]
    mounts = [
        {"name": each, "mountPath": paths.attachment(each)}
        for each in volumes
        if each not in blocks
    ]
    term = {
        "key": "kubernetes.io/hostname",
        "operator": "In",
        "values": [spec["nodeName"]],
    }
    affinity = {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [term]}]
        }
    }
    claims = {volume: source["claimName"] for volume, source in volumes.items()}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name(metadata["uid"], claims),
            "namespace": metadata["namespace"],
            "labels": {"kubevirt.io": LABEL},
            "ownerReferences": [
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                    "controller": True,
                }
            ],
        },
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "enableServiceLinks": False,
            "automountServiceAccountToken": False,
            "affinity": {"nodeAffinity": affinity},
            "tolerations": spec.get("tolerations") or [],
            "securityContext": {
                "fsGroup": paths.QEMU_UID,
                "runAsUser": paths.QEMU_UID,
                "runAsGroup": paths.QEMU_UID,
                "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": CONTAINER,
                    "image": cluster.launcher_image,
                    "imagePullPolicy": cluster.image_pull_policy,
                    "command": ["/usr/bin/container-disk", "--copy-path", "/path/hp"],
                    "resources": support.resources(support.HOTPLUG_DISK, USUAL, cluster),
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "readOnlyRootFilesystem": True,
                    },
                    "volumeMounts": [{"name": SOCKET, "mountPath": "/path"}, *mounts],
                    **({"volumeDevices": devices} if devices else {}),
                }
            ],
            "volumes": [
                {"name": SOCKET, "emptyDir": {}},
                *({"name": each, "persistentVolumeClaim": volumes[each]} for each in volumes),
            ],
        },
    }
