"""Devices of the node that come while a guest runs, virt-controller's part: a pod for each, which
the kubelet gives it to.

A pod that runs is left to virt-handler, which ends it when the guest has let the device go; the
kubelet gives the device to nobody else before. So a pod that ends by itself, or is told to by
somebody, takes its device out of the guest, and another takes its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from virtpod.api.traits import plugged
from virtpod.controllers.lifecycle import FINAL
from virtpod.domain.facts import Cluster
from virtpod.kube.plan import Create, Delete, Event, Reference
from virtpod.kube.resources import PODS, VMIS, Obj, going, key_of
from virtpod.render import attachment


def holds_device(pod: Mapping[str, Any]) -> bool:
    """Whether a pod that a launcher's owns is one of these."""
    labels = pod["metadata"].get("labels") or {}
    return bool(labels.get("kubevirt.io") == attachment.DEVICE_LABEL)


def wanted(vmi: Mapping[str, Any]) -> dict[str, str]:
    """The resource of each device that comes and goes."""
    names = plugged(vmi["metadata"].get("annotations"))
    devices = (vmi["spec"].get("domain") or {}).get("devices") or {}
    return {
        each["name"]: each["deviceName"]
        for each in devices.get("hostDevices") or ()
        if each["name"] in names and each.get("deviceName")
    }


def actions(vmi: Obj, launcher: Obj, pods: Sequence[Obj], cluster: Cluster) -> list[Any]:
    """`launcher`: the VMI's pod, on its node; `pods`: those that hold devices for it."""
    asked = wanted(vmi)
    uid = launcher["metadata"]["uid"]
    right = {attachment.device_name(uid, name, resource) for name, resource in asked.items()}
    made: list[Any] = []
    for pod in pods:
        name = pod["metadata"]["name"]
        if not going(pod) and _useless(pod, name in right):
            made.append(Delete(PODS, key_of(pod), uid=pod["metadata"]["uid"]))
            made.append(_event(vmi, "SuccessfulDelete", f"Deleted attachment pod {name}"))
    held = {(pod["metadata"].get("annotations") or {}).get(attachment.DEVICE) for pod in pods}
    for device, resource in asked.items():
        if device not in held:  # another one of that name goes first
            body = attachment.device_pod(launcher, device, resource, cluster)
            what = f"Created attachment pod {body['metadata']['name']} for device {device}"
            made += [Create(PODS, body), _event(vmi, "SuccessfulCreate", what)]
    return made


def _useless(pod: Obj, right: bool) -> bool:
    """Whether it is over, or was never begun and is not wanted any more."""
    status = pod.get("status") or {}
    if status.get("phase") in FINAL:
        return True
    states = [each.get("state") or {} for each in status.get("containerStatuses") or ()]
    return not right and not any("running" in state for state in states)


def _event(vmi: Obj, reason: str, message: str) -> Event:
    return Event(Reference.to(vmi, VMIS), "Normal", reason, message)
