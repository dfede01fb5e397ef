"""The pods that bring claims, and devices of its node, to a guest while it runs.

Each holds what it brings and does nothing else; virt-handler takes that over into the launcher's
container. They go with the launcher's pod, which owns them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256

from virtpod.domain import paths, support
from virtpod.domain.facts import Cluster
from virtpod.features.contract import Json

LABEL = "hotplug-disk"
"""Value of the label kubevirt.io."""
DEVICE_LABEL = "hotplug-device"
"""The same of a pod with a device."""
DEVICE = "virtpod.io/device"
"""Annotation of such a pod: the device's name in the VMI's spec."""
NODE_LABEL = "kubevirt.io/nodeName"
CONTAINER = "hotplug-disk"
SOCKET = "hotplug-disks"
USUAL = {
    "limits": {"cpu": "100m", "memory": "80M"},
    "requests": {"cpu": "10m", "memory": "2M"},
}
LETS_GO_WITHIN = 30
"""Seconds that a guest has to let a device go whose pod is told to end: so long the kubelet gives
it to nobody else."""


def name(launcher_uid: str, volumes: Mapping[str, str]) -> str:
    """Follows from what it holds, so that making it twice finds the first."""
    held = ",".join(f"{volume}={claim}" for volume, claim in sorted(volumes.items()))
    return f"hp-volume-{_short(launcher_uid, held)}"


def device_name(launcher_uid: str, device: str, resource: str) -> str:
    """The same of a pod with a device."""
    return f"hp-device-{_short(launcher_uid, f'{device}={resource}')}"


def _short(launcher_uid: str, held: str) -> str:
    return sha256(f"{launcher_uid}:{held}".encode()).hexdigest()[:10]


def pod(
    launcher: Mapping[str, Json],
    volumes: Mapping[str, Json],
    blocks: Sequence[str],
    cluster: Cluster,
) -> Json:
    """`volumes`: name to persistentVolumeClaim source. `blocks`: those that are block devices."""
    devices = [
        {"name": each, "devicePath": paths.attachment(each)} for each in volumes if each in blocks
    ]
    mounts = [
        {"name": each, "mountPath": paths.attachment(each)}
        for each in volumes
        if each not in blocks
    ]
    claims = {volume: source["claimName"] for volume, source in volumes.items()}
    return _holding(
        launcher,
        cluster,
        {"name": name(launcher["metadata"]["uid"], claims), "labels": {"kubevirt.io": LABEL}},
        {
            "command": ["/usr/bin/container-disk", "--copy-path", "/path/hp"],
            "volumeMounts": [{"name": SOCKET, "mountPath": "/path"}, *mounts],
            **({"volumeDevices": devices} if devices else {}),
        },
        {
            "terminationGracePeriodSeconds": 0,
            "volumes": [
                {"name": SOCKET, "emptyDir": {}},
                *({"name": each, "persistentVolumeClaim": volumes[each]} for each in volumes),
            ],
        },
    )


def device_pod(launcher: Mapping[str, Json], device: str, resource: str, cluster: Cluster) -> Json:
    """For one unit of a resource. Its process, the container's first, heeds no SIGTERM:
    virt-handler ends it when the guest has let the device go."""
    uid = launcher["metadata"]["uid"]
    made = _holding(
        launcher,
        cluster,
        {
            "name": device_name(uid, device, resource),
            "labels": {
                "kubevirt.io": DEVICE_LABEL,
                NODE_LABEL: launcher["spec"]["nodeName"],
            },
            "annotations": {DEVICE: device},
        },
        {"command": ["/usr/bin/sleep", "infinity"]},
        {"terminationGracePeriodSeconds": LETS_GO_WITHIN},
    )
    resources = made["spec"]["containers"][0]["resources"]
    for amounts in ("limits", "requests"):
        resources[amounts] = {**resources.get(amounts, {}), resource: "1"}
    return made


def _holding(
    launcher: Mapping[str, Json], cluster: Cluster, metadata: Json, container: Json, spec: Json
) -> Json:
    """A pod on the launcher's node, and for its sake."""
    owner, placed = launcher["metadata"], launcher["spec"]
    term = {
        "key": "kubernetes.io/hostname",
        "operator": "In",
        "values": [placed["nodeName"]],
    }
    affinity = {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [term]}]
        }
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **metadata,
            "namespace": owner["namespace"],
            "ownerReferences": [
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": owner["name"],
                    "uid": owner["uid"],
                    "controller": True,
                }
            ],
        },
        "spec": {
            "restartPolicy": "Never",
            "enableServiceLinks": False,
            "automountServiceAccountToken": False,
            "affinity": {"nodeAffinity": affinity},
            "tolerations": placed.get("tolerations") or [],
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
                    "resources": support.resources(support.HOTPLUG_DISK, USUAL, cluster),
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "readOnlyRootFilesystem": True,
                    },
                    **container,
                }
            ],
            **spec,
        },
    }
