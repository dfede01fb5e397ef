"""What a launcher's pod tells of itself: whether it runs, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from virtpod.controllers.lifecycle import FINAL
from virtpod.kube.resources import Obj, going

WAITING = (
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
)
"""Reasons for which a container does not start that the VMI's user should see."""


def ended(pod: Mapping[str, Any]) -> bool:
    """Whether `compute` is over; containers that serve a disk may well outlive it."""
    over = ((_compute(pod) or {}).get("state") or {}).get("terminated") is not None
    return over or lies(pod)


def lies(pod: Mapping[str, Any]) -> bool:
    """Whether all its containers are over."""
    return (pod.get("status") or {}).get("phase") in FINAL


def outlived(pod: Mapping[str, Any]) -> bool:
    """Whether containers go on that nobody ends: native side-cars the kubelet ends itself."""
    states = (pod.get("status") or {}).get("containerStatuses") or ()
    return not lies(pod) and any((each.get("state") or {}).get("running") for each in states)


def running(pod: Mapping[str, Any]) -> bool:
    """Whether `compute` runs; whether it is ready, and what else is there, makes no difference."""
    state = (_compute(pod) or {}).get("state") or {}
    return bool(pod["spec"].get("nodeName")) and state.get("running") is not None


def end_of(pod: Mapping[str, Any]) -> str:
    """Why a pod ended, as well as its status tells."""
    status = pod.get("status") or {}
    parts = [status.get("reason"), status.get("message")]
    for container in [*(status.get("initContainerStatuses") or []), *_statuses(pod)]:
        over = (container.get("state") or {}).get("terminated")
        if over and over.get("exitCode"):
            said = (over.get("message") or over.get("reason") or "").strip()
            parts.append(f"{container['name']} exited with {over['exitCode']}")
            parts.append(said[-600:])
    told = [part for part in parts if part]
    if not told and going(pod):
        return "the pod was deleted"
    return "; ".join(told) or "the pod ended"


def _statuses(pod: Mapping[str, Any]) -> list[Obj]:
    return list((pod.get("status") or {}).get("containerStatuses") or [])


def _compute(pod: Mapping[str, Any]) -> Obj | None:
    return next((status for status in _statuses(pod) if status.get("name") == "compute"), None)


def waiting(pod: Mapping[str, Any]) -> tuple[str, str] | None:
    status = pod.get("status") or {}
    for container in [*(status.get("initContainerStatuses") or []), *_statuses(pod)]:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in WAITING:
            return waiting["reason"], waiting.get("message") or waiting["reason"]
    return None
