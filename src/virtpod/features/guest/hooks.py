"""Hook side-cars: containers of the user's, or of a network binding plugin, that are asked about
the domain and cloud-init before the guest starts.

They are native side-cars: the kubelet starts them before the launcher and ends them after it, so
they hear of the guest's end, and a pod whose guest has powered off is done, even where an older
side-car would run for ever.

https://kubevirt.io/user-guide/user_workloads/hook-sidecar/
https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from virtpod.api.base import Wire
from virtpod.api.traits import dedicated
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain import paths, support
from virtpod.domain.facts import Cluster
from virtpod.features.contract import REQUIRED, UNSUPPORTED, Cause, Feature, Json, PodPart
from virtpod.features.network._plugins import INFO_FOLDER, INFO_VOLUME, used

ANNOTATION = "hooks.kubevirt.io/hookSidecars"
FIELD = "metadata.annotations"
SOCKETS = "hook-sidecar-sockets"
POLICIES = (None, "", "Always", "IfNotPresent", "Never")
MOST = 16
OURS = ("/var/run", "/run", "/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/dev", "/proc")
"""Folders of the compute container in which a claim would be in the launcher's way."""
FREE = ("/var/run/debug",)
"""KubeVirt's documented example of a shared path."""
SECURITY: Json = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": paths.QEMU_UID,
    "runAsGroup": paths.QEMU_UID,
}


class Script(Wire):
    """A key of a ConfigMap as a file of the side-car's."""

    name: str
    key: str
    hook_path: str


class SharedClaim(Wire):
    """A claim in the side-car, and in the compute container where a path is given there."""

    name: str
    volume_path: str
    shared_compute_path: str | None = None


class SideCar(Wire):
    """One entry of the annotation."""

    image: str | None = None
    image_pull_policy: str | None = None
    command: list[str] | None = None
    args: list[str] | None = None
    config_map: Script | None = None
    pvc: SharedClaim | None = None


@dataclass(frozen=True)
class Asked:
    annotation: str
    plugins: bool
    """Whether an interface has a binding plugin, which may have a side-car."""


def asked(vmi: VMI) -> Asked | None:
    annotation = (vmi.metadata.annotations or {}).get(ANNOTATION, "")
    plugins = any(nic.binding for nic in vmi.spec.domain.devices.interfaces or ())
    return Asked(annotation, plugins) if annotation or plugins else None


def side_cars(annotation: str) -> list[SideCar]:
    """Raises msgspec.DecodeError."""
    return msgspec.json.decode(annotation or "[]", type=list[SideCar])


def validate(part: Asked, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    try:
        given = side_cars(part.annotation)
    except msgspec.DecodeError as error:
        yield Cause(FIELD, f"annotation {ANNOTATION} is not a JSON list of side-cars: {error}")
        return
    if len(given) > MOST:
        yield Cause(FIELD, f"annotation {ANNOTATION} must not have more than {MOST} side-cars")
    for index, each in enumerate(given):
        yield from _validate(f"annotation {ANNOTATION}: [{index}]", each)


def _validate(where: str, each: SideCar) -> Iterable[Cause]:
    if not (each.image or each.config_map or each.pvc):
        yield Cause(FIELD, f"{where} needs an image, or a configMap with a script", REQUIRED)
    if each.image_pull_policy not in POLICIES:
        yield Cause(
            FIELD,
            f"{where}.imagePullPolicy {each.image_pull_policy!r} is not known; "
            "one of Always, IfNotPresent, Never",
            UNSUPPORTED,
        )
    given = {
        **({"configMap.hookPath": each.config_map.hook_path} if each.config_map else {}),
        **({"pvc.volumePath": each.pvc.volume_path} if each.pvc else {}),
    }
    shared = each.pvc and each.pvc.shared_compute_path
    for name, path in {**given, **({"pvc.sharedComputePath": shared} if shared else {})}.items():
        if not _clean(path):
            yield Cause(FIELD, f"{where}.{name} must be an absolute path without '..' or ':'")
    if shared and _clean(shared) and _in_the_way(shared):
        yield Cause(
            FIELD,
            f"{where}.pvc.sharedComputePath {shared} is a place of virt-launcher itself; "
            f"use another, such as {FREE[0]}",
        )


def _clean(path: str) -> bool:
    bad = {"..", "."} & set(path.split("/"))
    return path.startswith("/") and path.strip("/") != "" and not bad and ":" not in path


def _in_the_way(path: str) -> bool:
    under = [path == each or path.startswith(f"{each}/") for each in (*OURS, "/sys")]
    return any(under) and not any(path == f or path.startswith(f"{f}/") for f in FREE)


def pod(part: Asked, vmi: VMI, cluster: Cluster) -> PodPart:
    wanted = side_cars(part.annotation)
    plugged = _plugins(vmi, cluster)
    containers = [
        _container(index, each, vmi, cluster)
        for index, each in enumerate([*wanted, *(each for each, _ in plugged)])
    ]
    for container, (_, informed) in zip(containers[len(wanted) :], plugged, strict=True):
        if informed:
            mount = {"name": INFO_VOLUME, "mountPath": INFO_FOLDER, "readOnly": True}
            container["volumeMounts"].append(mount)
    if not containers:
        return PodPart()
    return PodPart(
        volumes=(
            {"name": SOCKETS, "emptyDir": {}},
            *(volume for each in wanted for volume in _volumes(each)),
        ),
        mounts=(
            {"name": SOCKETS, "mountPath": paths.HOOKS},
            *(
                {"name": each.pvc.name, "mountPath": each.pvc.shared_compute_path}
                for each in wanted
                if each.pvc and each.pvc.shared_compute_path
            ),
        ),
        init_containers=tuple(containers),
        args=("--hook-sidecars", str(len(containers))),
    )


def _plugins(vmi: VMI, cluster: Cluster) -> list[tuple[SideCar, bool]]:
    """One for each plugin that has an image, and whether it reads about the pod's devices."""
    plugins = {nic.binding.name: plugin for nic, _, plugin in used(vmi, cluster) if nic.binding}
    return [
        (
            SideCar(image=plugin.sidecar_image, image_pull_policy=cluster.image_pull_policy),
            plugin.downward_api == "device-info",
        )
        for plugin in plugins.values()
        if plugin.sidecar_image
    ]


def _container(index: int, each: SideCar, vmi: VMI, cluster: Cluster) -> dict[str, Any]:
    name = f"hook-sidecar-{index}"
    mounts: list[Json] = [{"name": SOCKETS, "mountPath": paths.HOOKS, "subPath": name}]
    if each.config_map:
        script = each.config_map
        mounts.append({"name": script.name, "mountPath": script.hook_path, "subPath": script.key})
    if each.pvc:
        mounts.append({"name": each.pvc.name, "mountPath": each.pvc.volume_path})
    command = each.command if each.image else (each.command or [paths.SHIM])
    return {
        "name": name,
        "image": each.image or cluster.launcher_image,
        "imagePullPolicy": each.image_pull_policy or cluster.image_pull_policy,
        **({"command": command} if command else {}),
        **({"args": each.args} if each.args else {}),
        "restartPolicy": "Always",
        **_resources(vmi, cluster),
        "securityContext": SECURITY,
        "volumeMounts": mounts,
    }


def _resources(vmi: VMI, cluster: Cluster) -> Json:
    found = support.resources(support.SIDE_CAR, GUARANTEED if dedicated(vmi) else {}, cluster)
    return {"resources": found} if found else {}


GUARANTEED: Json = {
    "limits": {"cpu": "200m", "memory": "64M"},
    "requests": {"cpu": "200m", "memory": "64M"},
}
"""A pod with CPUs of its own is to be of the QoS class Guaranteed as a whole."""


def _volumes(each: SideCar) -> Iterable[Json]:
    if each.config_map:
        yield {
            "name": each.config_map.name,
            "configMap": {"name": each.config_map.name, "defaultMode": 0o755},
        }
    if each.pvc:
        yield {
            "name": each.pvc.name,
            "persistentVolumeClaim": {"claimName": each.pvc.name},
        }


FEATURE = Feature(
    name="hooks",
    owns=(),
    asked=asked,
    validate=validate,
    pod=pod,
)
