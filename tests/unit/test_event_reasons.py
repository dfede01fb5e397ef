"""Reasons of events: those that KubeVirt's users know, where what they mean can come about."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import virtpod

SOURCE = Path(virtpod.__file__).parent
TELLERS = ("apiserver", "controller", "controllers", "kube", "node")
REASON = re.compile(r"[A-Z][A-Za-z]+")
CALLS = {"Event", "Failure", "_cannot", "_event", "_warning", "event", "warn", "warning"}
"""What makes events, or what they are made of; a reason is among the arguments."""

TOLD = {
    # By virt-handler
    *("Started", "ShuttingDown", "Stopped", "SyncFailed", "GuestPanicked", "IOerror"),
    *("AccessCredentialsSyncFailed", "AccessCredentialsSyncSuccess", "FreezeError"),
    *("HotplugFailed", "NicHotplug"),
    *("VolumeMountedToPod", "VolumeReady", "VolumeUnMountedFromPod"),
    *("MemoryDumpInProgress", "MemoryDumpCompleted", "MemoryDumpFailed"),
    # By virt-controller
    *("SuccessfulEvict", "FailedEvict"),
    *("SuccessfulCreate", "FailedCreate", "SuccessfulDelete", "FailedPvcNotFound", "PVCNotReady"),
    *("FailedBackendStorageCreate", "NodeUnresponsive", "SuccessfulPaused", "SuccessfulResumed"),
    # By virt-api
    *("PresetFailed", "Override"),
}
"""KubeVirt's."""
OURS = {
    "AddressChanged": "addresses that a guest is to keep",
    "EvictionRefused": "an eviction that nothing can heed",
    "ExpansionFailed": "a disk that does not grow with its claim",
    "FailedAttachVolume": "a claim that a lost node has",
    "FailedExpand": "an instance type that does not fit",
    "FailedNetworkNotFound": "a network that is not there",
    "HostDeviceHealthy": "devices of the node that are well again",
    "HostDeviceUnhealthy": "a device of the node, or a guest's, that is not well",
    "HostDevicesPlugged": "devices of the node that came while the guest runs",
    "InternalError": "a bug",
    "NetworkFailed": "a guest whose network cannot be made",
    "StartTimeout": "a guest that takes too long to start",
    "VirtualMachineInstanceGone": "a launcher whose VMI somebody took away",
    "VolumeInUse": "a claim that another guest has",
    "RevisionUpgraded": "a copy of an instance type in an older API",
}
NOT_TOLD = {
    "Created": "one write more on the way to Running, which Started tells of",
    "Deleted": "Stopped says that it was ended, and ShuttingDown that it was asked",
    "Resumed": "condition Paused goes",
    "FailedDelete": "a deletion is tried until it succeeds",
    "FailedGuaranteeResources": "condition and scheduling say what a pod lacks",
    "GuestAgentPingFailed": "the kubelet tells of probes",
    "MissingAttachmentPod": "it is made again",
    "VolumesNotPopulated": "nothing here fills volumes",
    "SuccessfulDataVolumeCreate": "nothing here makes DataVolumes",
    "FailedDataVolumeImport": "nothing here fills volumes",
    "SuccessfulMigration": "no guest moves",
    "Migrated": "no guest moves",
    "HostModelIsObsolete": "labels of nodes say what models there are",
}
"""KubeVirt's that are not here, and why."""


def _constants(tree: ast.Module) -> dict[str, str]:
    """Texts that have a name in a module."""
    return {
        name: value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        for name, value in _pairs(target, node.value)
    }


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, str]]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for one, other in zip(target.elts, value.elts, strict=True):
            yield from _pairs(one, other)
    elif (
        isinstance(target, ast.Name)
        and isinstance(value, ast.Constant)
        and isinstance(value.value, str)
    ):
        yield target.id, value.value


@cache
def _trees() -> tuple[ast.Module, ...]:
    paths = [path for folder in TELLERS for path in (SOURCE / folder).rglob("*.py")]
    return tuple(ast.parse(path.read_text(encoding="utf-8")) for path in paths)


def written() -> set[str]:
    """All texts in the modules that tell events which may be a reason."""
    return {
        node.value
        for tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and REASON.fullmatch(node.value)
    }


def told() -> set[str]:
    """Reasons that stand in a call which makes an event."""
    found = set()
    for tree in _trees():
        names = _constants(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _name(node.func) in CALLS:
                found |= set(list(_reasons(node, names))[:1])
    return found


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _reasons(call: ast.Call, names: Mapping[str, str]) -> Iterator[str]:
    """Arguments that may be one; the first is."""
    for argument in call.args:
        text: object = None
        if isinstance(argument, ast.Constant):
            text = argument.value
        elif isinstance(argument, ast.Name):
            text = names.get(argument.id)
        if isinstance(text, str) and text not in ("Normal", "Warning") and REASON.fullmatch(text):
            yield text


def test_what_is_told_has_a_known_reason() -> None:
    assert told() <= TOLD | OURS.keys()


def test_reasons_that_are_told_are_there() -> None:
    assert written() >= TOLD | OURS.keys()


def test_what_is_not_told_is_not() -> None:
    assert not told() & NOT_TOLD.keys()
    assert not (TOLD | OURS.keys()) & NOT_TOLD.keys()
