"""The launcher pod of a VMI.

Labels, annotations, names of containers and volumes are those that other people's tools look for.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from virtpod.api.traits import grace
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain import paths
from virtpod.domain.facts import Cluster
from virtpod.features import ALL
from virtpod.features.contract import Json, PodPart
from virtpod.features.guest import stopping
from virtpod.render.overhead import overhead

READINESS_GATE = "kubevirt.io/virtual-machine-unpaused"
UNPASSED = (
    "kubectl.kubernetes.io/",
    "kubevirt.io/latest-observed-api-version",
    "kubevirt.io/storage-observed-api-version",
)
"""Annotations of the VMI that say nothing about its pod (prefixes)."""
START_TIMEOUT = 240
"""Seconds that a launcher waits for its VMI."""


def pod_name(vmi: VMI) -> str:
    """The pod's name: follows from the VMI's uid, so that creating it twice finds the first."""
    digest = sha256((vmi.metadata.uid or "").encode()).hexdigest()[:5]
    return f"virt-launcher-{(vmi.metadata.name or '')[:225]}-{digest}"


def pod(vmi: VMI, cluster: Cluster) -> Json:
    """The manifest."""
    parts = [
        feature.pod(part, vmi, cluster)
        for feature in ALL
        if feature.pod and (part := feature.asked(vmi))
    ]
    extra = overhead(parts, cluster)
    spec: Json = {
        "restartPolicy": "Never",
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "securityContext": {
            "fsGroup": paths.QEMU_UID,
            "runAsUser": paths.QEMU_UID,
            "runAsGroup": paths.QEMU_UID,
            "runAsNonRoot": True,
            "seccompProfile": _seccomp(cluster),
            **_selinux(cluster),
        },
        "readinessGates": [{"conditionType": READINESS_GATE}],
        "nodeSelector": {
            "kubevirt.io/schedulable": "true",
            **_merged(part.node_selector for part in parts),
        },
        "containers": [_compute(vmi, cluster, parts, extra), *_joined(parts, "containers")],
        "volumes": _unique([*_volumes(), *_joined(parts, "volumes")]),
    }
    if inits := _unique(_joined(parts, "init_containers")):
        spec["initContainers"] = inits
    for part in parts:
        spec |= part.spec
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod_name(vmi),
            "namespace": vmi.metadata.namespace,
            "labels": _labels(vmi, parts),
            "annotations": _annotations(vmi, parts, extra),
            "ownerReferences": [
                {
                    "apiVersion": "kubevirt.io/v1",
                    "kind": "VirtualMachineInstance",
                    "name": vmi.metadata.name,
                    "uid": vmi.metadata.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": spec,
    }


def _seccomp(cluster: Cluster) -> Json:
    """https://kubernetes.io/docs/tutorials/security/seccomp/"""
    given = cluster.config.seccomp_configuration
    profile = given and given.virtual_machine_instance_profile
    custom = profile and profile.custom_profile
    if custom and custom.localhost_profile and "KubevirtSeccompProfile" in cluster.gates:
        return {"type": "Localhost", "localhostProfile": custom.localhost_profile}
    return {"type": "RuntimeDefault"}


def _selinux(cluster: Cluster) -> Json:
    given = cluster.config.selinux_launcher_type
    return {"seLinuxOptions": {"type": given}} if given else {}


def _verbosity(cluster: Cluster) -> list[Json]:
    developer = cluster.config.developer_configuration
    given = developer and developer.log_verbosity and developer.log_verbosity.virt_launcher
    return [] if given is None else [{"name": paths.VERBOSITY_ENV, "value": str(given)}]


def _labels(vmi: VMI, parts: list[PodPart]) -> dict[str, str]:
    name = vmi.metadata.name or ""
    short = name if len(name) <= 63 else name[:54] + sha256(name.encode()).hexdigest()[:8]
    return {
        **(vmi.metadata.labels or {}),
        **_merged(part.labels for part in parts),
        "kubevirt.io": "virt-launcher",
        "kubevirt.io/created-by": vmi.metadata.uid or "",
        "vmi.kubevirt.io/id": short,
    }


def _annotations(vmi: VMI, parts: list[PodPart], extra: int) -> dict[str, str]:
    given = vmi.metadata.annotations or {}
    return {
        **{name: value for name, value in given.items() if not name.startswith(UNPASSED)},
        **_merged(part.annotations for part in parts),
        "kubevirt.io/domain": vmi.metadata.name or "",
        "kubectl.kubernetes.io/default-container": "compute",
        "kubevirt.io/migrationTransportUnix": "true",
        "descheduler.alpha.kubernetes.io/request-evict-only": "",
        "kubevirt.io/memory-overhead-bytes": str(extra),
    }


def _compute(vmi: VMI, cluster: Cluster, parts: list[PodPart], extra: int) -> Json:
    limits = _merged(part.limits for part in parts)
    requests = _merged(part.requests for part in parts)
    resources = vmi.spec.domain.resources
    if not (resources and resources.overcommit_guest_overhead):
        requests["memory"] = str(int(requests["memory"]) + extra)
    if "memory" in limits:
        limits["memory"] = str(int(limits["memory"]) + extra)
    devices = {name: value for name, value in limits.items() if "/" in name}
    blocks = _joined(parts, "devices")
    claims = _unique(_joined(parts, "claims"))
    return {
        "name": "compute",
        "image": cluster.launcher_image,
        "imagePullPolicy": cluster.image_pull_policy,
        "command": ["/usr/bin/virt-launcher"],
        "args": [
            "--name",
            vmi.metadata.name,
            "--namespace",
            vmi.metadata.namespace,
            "--uid",
            vmi.metadata.uid,
            "--grace-period-seconds",
            str(grace(vmi) + stopping.RESERVE),
            "--qemu-timeout",
            str(START_TIMEOUT),
            *_joined(parts, "args"),
        ],
        "env": [
            {"name": "XDG_CACHE_HOME", "value": paths.PRIVATE},
            {"name": "XDG_CONFIG_HOME", "value": paths.PRIVATE},
            {"name": "XDG_RUNTIME_DIR", "value": "/var/run"},
            {"name": "LIBVIRT_DEFAULT_URI", "value": paths.LIBVIRT_URI},
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            *_verbosity(cluster),
            *_unique(_joined(parts, "env")),
        ],
        "resources": {
            "requests": requests | devices,
            "limits": limits,
            **({"claims": claims} if claims else {}),
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
            "runAsNonRoot": True,
            "runAsUser": paths.QEMU_UID,
            "runAsGroup": paths.QEMU_UID,
            **_merged(part.security for part in parts),
        },
        "volumeMounts": _unique([*_mounts(), *_joined(parts, "mounts")]),
        **({"volumeDevices": blocks} if blocks else {}),
        "ports": [
            {"containerPort": port.port, "protocol": port.protocol or "TCP"}
            | ({"name": port.name} if port.name else {})
            for interface in vmi.spec.domain.devices.interfaces or ()
            for port in interface.ports or ()
        ],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **_merged(part.compute for part in parts),
    }


PLACES = (
    ("private", paths.PRIVATE),
    ("public", paths.SHARE),
    ("sockets", paths.SOCKETS),
    ("ephemeral-disks", paths.EPHEMERAL),
    ("libvirt-runtime", paths.LIBVIRT_RUNTIME),
)
"""The compute container's own folders: volume name, mount path. Each is an emptyDir."""


def _volumes() -> list[Json]:
    return [{"name": name, "emptyDir": {}} for name, _ in PLACES]


def _mounts() -> list[Json]:
    return [{"name": name, "mountPath": path} for name, path in PLACES]


def _merged(mappings: Any) -> dict[str, str]:
    whole: dict[str, str] = {}
    for mapping in mappings:
        whole |= mapping
    return whole


def _joined(parts: list[PodPart], attribute: str) -> list[Any]:
    return [item for part in parts for item in getattr(part, attribute)]


def _unique(items: list[Json]) -> list[Json]:
    """Two features may want the same thing: it is there once. Different things of one name both
    stay, for the API server to refuse: a user's volume must not take the place of one of ours."""
    return [item for index, item in enumerate(items) if item not in items[:index]]
