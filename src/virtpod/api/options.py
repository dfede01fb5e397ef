"""Bodies of the subresources (start, stop, pause ...) and the guest agent's answers."""

from __future__ import annotations

from virtpod.api.base import AtomicList, Duration, Int32, Int64, Wire
from virtpod.api.disks import Disk
from virtpod.api.meta import ListMeta
from virtpod.api.vmi import VirtualMachineInstanceGuestOSInfo
from virtpod.api.volumes import HotplugVolumeSource


class AddVolumeOptions(Wire):
    volume_source: HotplugVolumeSource
    name: str
    disk: Disk
    dry_run: AtomicList[str] | None = None


class EvacuateCancelOptions(Wire):
    evacuation_node_name: str
    api_version: str | None = None
    dry_run: AtomicList[str] | None = None
    kind: str | None = None


class FreezeUnfreezeTimeout(Wire):
    unfreeze_timeout: Duration


class GuestAgentCommandInfo(Wire):
    name: str
    enabled: bool | None = None


class MigrateOptions(Wire):
    added_node_selector: dict[str, str] | None = None
    api_version: str | None = None
    dry_run: AtomicList[str] | None = None
    kind: str | None = None


class PauseOptions(Wire):
    api_version: str | None = None
    dry_run: AtomicList[str] | None = None
    kind: str | None = None


class RemoveVolumeOptions(Wire):
    name: str
    dry_run: AtomicList[str] | None = None


class RestartOptions(Wire):
    api_version: str | None = None
    dry_run: AtomicList[str] | None = None
    grace_period_seconds: Int64 | None = None
    kind: str | None = None


class StartOptions(Wire):
    api_version: str | None = None
    dry_run: AtomicList[str] | None = None
    kind: str | None = None
    paused: bool | None = None


class StopOptions(Wire):
    api_version: str | None = None
    dry_run: AtomicList[str] | None = None
    grace_period: Int64 | None = None
    kind: str | None = None


class UnpauseOptions(Wire):
    api_version: str | None = None
    dry_run: AtomicList[str] | None = None
    kind: str | None = None


class VirtualMachineInstanceFileSystemDisk(Wire):
    bus_type: str
    serial: str | None = None


class VirtualMachineInstanceFileSystem(Wire):
    used_bytes: Int32
    total_bytes: Int32
    mount_point: str
    file_system_type: str
    disk_name: str
    disk: list[VirtualMachineInstanceFileSystemDisk] | None = None


class VirtualMachineInstanceFileSystemInfo(Wire):
    disks: list[VirtualMachineInstanceFileSystem]


class VirtualMachineInstanceFileSystemList(Wire):
    items: list[VirtualMachineInstanceFileSystem]
    api_version: str | None = None
    kind: str | None = None
    metadata: ListMeta | None = None


class VirtualMachineInstanceGuestOSUser(Wire):
    user_name: str
    domain: str | None = None
    login_time: float | None = None


class VirtualMachineInstanceGuestAgentInfo(Wire):
    api_version: str | None = None
    fs_freeze_status: str | None = None
    fs_info: VirtualMachineInstanceFileSystemInfo | None = None
    guest_agent_version: str | None = None
    hostname: str | None = None
    kind: str | None = None
    os: VirtualMachineInstanceGuestOSInfo | None = None
    supported_commands: AtomicList[GuestAgentCommandInfo] | None = None
    timezone: str | None = None
    user_list: list[VirtualMachineInstanceGuestOSUser] | None = None


class VirtualMachineInstanceGuestOSUserList(Wire):
    items: list[VirtualMachineInstanceGuestOSUser]
    api_version: str | None = None
    kind: str | None = None
    metadata: ListMeta | None = None
