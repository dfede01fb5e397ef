"""What a guest's agent told, as the API shows it; and the one option that it is asked with."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from virtpod.features.guest.agent import os_info
from virtpod.wire.messages import AgentTold, GuestFileSystem, GuestUser

Json = dict[str, Any]

API = "kubevirt.io/v1"
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def info(told: AgentTold) -> Json:
    """VirtualMachineInstanceGuestAgentInfo."""
    whole: Json = {"kind": "VirtualMachineInstanceGuestAgentInfo", "apiVersion": API}
    whole["guestAgentVersion"] = told.version
    whole["supportedCommands"] = [{"name": name, "enabled": True} for name in told.commands]
    if told.hostname:
        whole["hostname"] = told.hostname
    whole["os"] = os_info(told.os) if told.os else {}
    if told.timezone:
        whole["timezone"] = told.timezone
    whole["userList"] = [_user(each) for each in told.users]
    whole["fsInfo"] = {"disks": [_filesystem(each) for each in told.filesystems]}
    if told.frozen:
        whole["fsFreezeStatus"] = "frozen"
    return whole


def users(told: AgentTold) -> Json:
    """VirtualMachineInstanceGuestOSUserList."""
    return _list("VirtualMachineInstanceGuestOSUserList", [_user(each) for each in told.users])


def filesystems(told: AgentTold) -> Json:
    """VirtualMachineInstanceFileSystemList."""
    items = [_filesystem(each) for each in told.filesystems]
    return _list("VirtualMachineInstanceFileSystemList", items)


def unfreeze_timeout(body: bytes) -> float:
    """Seconds after which a freeze is undone. Raises ValueError where none is given."""
    try:
        given = msgspec.json.decode(body or b"{}", type=_Options).unfreeze_timeout
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"the body is no FreezeUnfreezeTimeout: {error}") from None
    if given is None:
        raise ValueError('unfreezeTimeout is missing: say when to thaw at the latest, as in "5m"')
    return seconds(given)


def seconds(duration: str) -> float:
    """Go's notation: "5m", "1h30m", "0". Raises ValueError."""
    if duration == "0":
        return 0.0
    parts = list(_PART.finditer(duration))
    if not parts or "".join(part[0] for part in parts) != duration or len(duration) > 64:
        raise ValueError(f"{duration[:64]!r} is no duration such as 5m or 90s")
    return sum(float(part[1]) * _UNITS[part[2]] for part in parts)


class _Options(msgspec.Struct, rename="camel"):
    unfreeze_timeout: str | None = None


def _list(kind: str, items: list[Json]) -> Json:
    return {"kind": kind, "apiVersion": API, "metadata": {}, "items": items}


def _user(told: GuestUser) -> Json:
    shown: Json = {"userName": told.name}
    if told.domain:
        shown["domain"] = told.domain
    if told.login_time:
        shown["loginTime"] = told.login_time
    return shown


def _filesystem(told: GuestFileSystem) -> Json:
    shown: Json = {
        "diskName": told.name,
        "mountPoint": told.mount_point,
        "fileSystemType": told.type,
        "usedBytes": told.used,
        "totalBytes": told.total,
    }
    if told.disks:
        shown["disk"] = [
            {"busType": each.bus} | ({"serial": each.serial} if each.serial else {})
            for each in told.disks
        ]
    return shown
