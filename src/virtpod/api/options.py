"""Bodies of the subresources (start, stop, pause ...) and the guest agent's answers."""

from __future__ import annotations

from virtpod.api.base import AtomicList, Duration, Int32, Int64, Wire
from virtpod.api.disks import Disk
from virtpod.api.meta import ListMeta
from virtpod.api.vmi import VirtualMachineInstanceGuestOSInfo
from virtpod.api.volumes import HotplugVolumeSource


class AddVolumeOptions(Wire):
    volume_source: HotplugVolumeSource
    """Where the bytes come from."""
    name: str
    """Name of the volume and of its disk."""
    disk: Disk
    """What the guest sees."""
    dry_run: AtomicList[str] | None = None
    """`All`: the request is checked, and nothing is changed."""


class EvacuateCancelOptions(Wire):
    evacuation_node_name: str
    """Node that the guest was to leave."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    dry_run: AtomicList[str] | None = None
    """`All`: the request is checked, and nothing is changed."""
    kind: str | None = None
    """The kind of object this is."""


class FreezeUnfreezeTimeout(Wire):
    unfreeze_timeout: Duration
    """Time after which the file systems are thawed by themselves."""


class GuestAgentCommandInfo(Wire):
    name: str
    """Name of the command."""
    enabled: bool | None = None
    """Whether the agent may run it."""


class MigrateOptions(Wire):
    added_node_selector: dict[str, str] | None = None
    """Further labels that the target's node must have."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    dry_run: AtomicList[str] | None = None
    """`All`: the request is checked, and nothing is changed."""
    kind: str | None = None
    """The kind of object this is."""


class PauseOptions(Wire):
    api_version: str | None = None
    """The group and version that this object is written in."""
    dry_run: AtomicList[str] | None = None
    """`All`: the request is checked, and nothing is changed."""
    kind: str | None = None
    """The kind of object this is."""


class RemoveVolumeOptions(Wire):
    name: str
    """Name of the volume."""
    dry_run: AtomicList[str] | None = None
    """`All`: the request is checked, and nothing is changed."""


class RestartOptions(Wire):
    api_version: str | None = None
    """The group and version that this object is written in."""
    dry_run: AtomicList[str] | None = None
    """`All`: the request is checked, and nothing is changed."""
    grace_period_seconds: Int64 | None = None
    """Seconds that the guest may take to power off; 0 is at once."""
    kind: str | None = None
    """The kind of object this is."""


class StartOptions(Wire):
    api_version: str | None = None
    """The group and version that this object is written in."""
    dry_run: AtomicList[str] | None = None
    """`All`: the request is checked, and nothing is changed."""
    kind: str | None = None
    """The kind of object this is."""
    paused: bool | None = None
    """Whether the guest starts paused."""


class StopOptions(Wire):
    api_version: str | None = None
    """The group and version that this object is written in."""
    dry_run: AtomicList[str] | None = None
    """`All`: the request is checked, and nothing is changed."""
    grace_period: Int64 | None = None
    """Seconds that the guest may take to power off; 0 is at once."""
    kind: str | None = None
    """The kind of object this is."""


class UnpauseOptions(Wire):
    api_version: str | None = None
    """The group and version that this object is written in."""
    dry_run: AtomicList[str] | None = None
    """`All`: the request is checked, and nothing is changed."""
    kind: str | None = None
    """The kind of object this is."""


class VirtualMachineInstanceFileSystemDisk(Wire):
    bus_type: str
    """Bus of the disk."""
    serial: str | None = None
    """Serial number of the disk."""


class VirtualMachineInstanceFileSystem(Wire):
    used_bytes: Int32
    """Bytes in use."""
    total_bytes: Int32
    """Bytes in all."""
    mount_point: str
    """Where it is mounted."""
    file_system_type: str
    """Such as `ext4`."""
    disk_name: str
    """Its device in the guest."""
    disk: list[VirtualMachineInstanceFileSystemDisk] | None = None
    """Disks that it lies on."""


class VirtualMachineInstanceFileSystemInfo(Wire):
    disks: list[VirtualMachineInstanceFileSystem]
    """Mounted file systems."""


class VirtualMachineInstanceFileSystemList(Wire):
    items: list[VirtualMachineInstanceFileSystem]
    """The objects."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ListMeta | None = None
    """Name, namespace, labels and what else every object has."""


class VirtualMachineInstanceGuestOSUser(Wire):
    user_name: str
    """Name of the user."""
    domain: str | None = None
    """Windows domain of the user."""
    login_time: float | None = None
    """When the user logged in, in seconds since 1970."""


class VirtualMachineInstanceGuestAgentInfo(Wire):
    api_version: str | None = None
    """The group and version that this object is written in."""
    fs_freeze_status: str | None = None
    """`frozen` while the file systems are."""
    fs_info: VirtualMachineInstanceFileSystemInfo | None = None
    """Mounted file systems."""
    guest_agent_version: str | None = None
    """Version of the agent."""
    hostname: str | None = None
    """The guest's own host name."""
    kind: str | None = None
    """The kind of object this is."""
    os: VirtualMachineInstanceGuestOSInfo | None = None
    """The guest's system."""
    supported_commands: AtomicList[GuestAgentCommandInfo] | None = None
    """Commands that the agent knows."""
    timezone: str | None = None
    """Time zone of the guest, with its offset in seconds."""
    user_list: list[VirtualMachineInstanceGuestOSUser] | None = None
    """Users who are logged in."""


class VirtualMachineInstanceGuestOSUserList(Wire):
    items: list[VirtualMachineInstanceGuestOSUser]
    """The objects."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    kind: str | None = None
    """The kind of object this is."""
    metadata: ListMeta | None = None
    """Name, namespace, labels and what else every object has."""
