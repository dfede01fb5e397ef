"""Each field of instance types and preferences, and what becomes of it."""

from __future__ import annotations

import functools
import typing
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tests.kube.fake import json_patch
from virtpod.api import instancetype, preference
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.domain.facts import Cluster
from virtpod.render import admit, expand

Json = dict[str, Any]

GPU = {"name": "gpu", "deviceName": "example.com/gpu"}
NO_DISPLAY = {"display": {"enabled": False}}
TIMER = {"hpet": {"present": False}}
CARD = "spec.domain.devices.interfaces.0"
DISK = "spec.domain.devices.disks.0"
BLOCKS = {"custom": {"logical": 512, "physical": 4096}}

INSTANCETYPE: list[tuple[str, Any, str]] = [
    ("annotations", {"a": "b"}, "metadata.annotations"),
    ("cpu.guest", 2, "spec.domain.cpu.sockets"),
    ("cpu.dedicatedCPUPlacement", True, "spec.domain.cpu.dedicatedCpuPlacement"),
    ("cpu.isolateEmulatorThread", True, "spec.domain.cpu.isolateEmulatorThread"),
    ("cpu.maxSockets", 8, "spec.domain.cpu.maxSockets"),
    ("cpu.model", "Haswell", "spec.domain.cpu.model"),
    ("cpu.numa", {"guestMappingPassthrough": {}}, "spec.domain.cpu.numa"),
    ("cpu.realtime", {"mask": "0-1"}, "spec.domain.cpu.realtime"),
    ("gpus", [GPU], "spec.domain.devices.gpus"),
    ("hostDevices", [GPU], "spec.domain.devices.hostDevices"),
    ("ioThreads", {"supplementalPoolThreadCount": 2}, "spec.domain.ioThreads"),
    ("ioThreadsPolicy", "auto", "spec.domain.ioThreadsPolicy"),
    ("launchSecurity", {"sev": {}}, "spec.domain.launchSecurity"),
    ("memory.guest", "2Gi", "spec.domain.memory.guest"),
    ("memory.hugepages", {"pageSize": "2Mi"}, "spec.domain.memory.hugepages"),
    ("memory.maxGuest", "4Gi", "spec.domain.memory.maxGuest"),
    ("nodeSelector", {"a": "b"}, "spec.nodeSelector"),
    ("schedulerName", "mine", "spec.schedulerName"),
]
"""Each, a value, and where that value is afterwards; a VM that has it there too conflicts."""

DEVICES = "spec.domain.devices"
PREFERENCE: list[tuple[str, Any, str, Json]] = [
    ("annotations", {"a": "b"}, "metadata.annotations", {}),
    ("clock.preferredClockOffset.timezone", "Europe/Berlin", "spec.domain.clock.timezone", {}),
    ("clock.preferredClockOffset.utc", {"offsetSeconds": 9}, "spec.domain.clock.utc", {}),
    ("clock.preferredTimer", TIMER, "spec.domain.clock.timer", {}),
    ("cpu.preferredCPUFeatures", [{"name": "aes"}], "spec.domain.cpu.features", {}),
    *(
        (f"devices.preferred{name[0].upper()}{name[1:]}", value, f"{DEVICES}.{name}", {})
        for name, value in {
            "autoattachGraphicsDevice": False,
            "autoattachInputDevice": True,
            "autoattachMemBalloon": False,
            "autoattachPodInterface": False,
            "autoattachSerialConsole": False,
            "blockMultiQueue": True,
            "disableHotplug": True,
            "rng": {},
            "useVirtioTransitional": True,
        }.items()
    ),
    ("devices.preferredTPM", {"persistent": True}, f"{DEVICES}.tpm", {}),
    (
        "devices.preferredNetworkInterfaceMultiQueue",
        True,
        f"{DEVICES}.networkInterfaceMultiqueue",
        {},
    ),
    ("devices.preferredDiskBus", "sata", f"{DISK}.disk.bus", {"disks": [{"disk": {}}]}),
    ("devices.preferredCdromBus", "sata", f"{DISK}.cdrom.bus", {"disks": [{"cdrom": {}}]}),
    ("devices.preferredLunBus", "scsi", f"{DISK}.lun.bus", {"disks": [{"lun": {}}]}),
    ("devices.preferredDiskBlockSize", BLOCKS, f"{DISK}.blockSize", {"disks": [{"disk": {}}]}),
    ("devices.preferredDiskCache", "none", f"{DISK}.cache", {"disks": [{"disk": {}}]}),
    ("devices.preferredDiskIO", "native", f"{DISK}.io", {"disks": [{"disk": {}}]}),
    (
        "devices.preferredDiskDedicatedIoThread",
        True,
        f"{DISK}.dedicatedIOThread",
        {"disks": [{"disk": {"bus": "virtio"}}]},
    ),
    (
        "devices.preferredInputBus",
        "virtio",
        f"{DEVICES}.inputs.0.bus",
        {"inputs": [{"name": "pen", "type": "tablet"}]},
    ),
    (
        "devices.preferredInputType",
        "tablet",
        f"{DEVICES}.inputs.0.type",
        {"autoattachInputDevice": True},
    ),
    (
        "devices.preferredInterfaceMasquerade",
        {},
        f"{CARD}.masquerade",
        {"interfaces": [{"name": "default"}]},
    ),
    ("devices.preferredInterfaceModel", "e1000", f"{CARD}.model", {}),
    (
        "devices.preferredPanicDeviceModel",
        "isa",
        f"{DEVICES}.panicDevices.0.model",
        {"panicDevices": [{}]},
    ),
    ("devices.preferredSoundModel", "ac97", f"{DEVICES}.sound.model", {"sound": {"name": "s"}}),
    ("devices.preferredVideoType", "virtio", f"{DEVICES}.video.type", {}),
    (
        "devices.preferredVirtualGPUOptions",
        NO_DISPLAY,
        f"{DEVICES}.gpus.0.virtualGPUOptions",
        {"gpus": [GPU]},
    ),
    *(
        (
            f"features.preferred{name[0].upper()}{name[1:]}",
            value,
            f"spec.domain.features.{name}",
            {},
        )
        for name, value in {
            "acpi": {"enabled": False},
            "apic": {"endOfInterrupt": True},
            "hyperv": {"relaxed": {"enabled": True}},
            "kvm": {"hidden": True},
            "pvspinlock": {"enabled": False},
            "smm": {"enabled": True},
        }.items()
    ),
    (
        "firmware.preferredEfi",
        {"secureBoot": False},
        "spec.domain.firmware.bootloader.efi",
        {},
    ),
    ("firmware.preferredUseBios", True, "spec.domain.firmware.bootloader.bios", {}),
    ("firmware.preferredUseEfi", True, "spec.domain.firmware.bootloader.efi", {}),
    ("machine.preferredMachineType", "q35", "spec.domain.machine.type", {}),
    ("preferredArchitecture", "arm64", "spec.architecture", {}),
    ("preferredLaunchSecurity", {"sev": {}}, "spec.domain.launchSecurity", {}),
    ("preferredSubdomain", "guests", "spec.subdomain", {}),
    (
        "preferredTerminationGracePeriodSeconds",
        7,
        "spec.terminationGracePeriodSeconds",
        {},
    ),
]
"""Each, a value, where that value is afterwards, and devices that the VM has before."""

ELSEWHERE = {
    "cpu.preferredCPUTopology": "test_expand.py: shapes",
    "cpu.spreadOptions.across": "test_expand.py: shapes",
    "cpu.spreadOptions.ratio": "test_expand.py: shapes",
    "preferSpreadSocketToCoreRatio": "below",
    "firmware.preferredUseBiosSerial": "below",
    "firmware.preferredUseSecureBoot": "below",
    "memory.overcommitPercent": "test_expand.py: the pod's request",
    "requirements.architecture": "test_expand.py: when it is not enough",
    "requirements.cpu.guest": "test_expand.py: when it is not enough",
    "requirements.memory.guest": "test_expand.py: when it is not enough",
    "volumes.preferredStorageClassName": "below",
}


def leaves(type: Any, path: str = "") -> Iterator[str]:
    """Fields of the types that these two kinds have to themselves; what is a VMI's is one."""
    hints = typing.get_type_hints(type)
    for field in msgspec.structs.fields(type):
        at = f"{path}.{field.encode_name}".removeprefix(".")
        (inner, *_) = [
            each
            for each in (typing.get_args(hints[field.name]) or (hints[field.name],))
            if each is not None.__class__
        ]
        own = getattr(inner, "__module__", "") in (instancetype.__name__, preference.__name__)
        yield from leaves(inner, at) if own else [at]


def test_every_field_is_here() -> None:
    for type, rows in (
        (instancetype.VirtualMachineInstancetypeSpec, INSTANCETYPE),
        (preference.VirtualMachinePreferenceSpec, PREFERENCE),
    ):
        missing = set(leaves(type)) - {row[0] for row in rows} - set(ELSEWHERE)
        assert missing == set()


def nested(path: str, value: Any) -> Json:
    """{"a": {"b": value}}"""
    return functools.reduce(lambda inner, key: {key: inner}, reversed(path.split(".")), value)


MISSING = object()


def at(whole: Any, path: str, otherwise: Any = MISSING) -> Any:
    try:
        for key in path.split("."):
            whole = whole[int(key)] if isinstance(whole, list) else whole[key]
    except (KeyError, IndexError):
        if otherwise is MISSING:
            raise
        return otherwise
    return whole


def merged(one: Json, other: Json) -> Json:
    found = {**one, **other}
    for key in one.keys() & other.keys():
        if isinstance(one[key], dict):
            found[key] = merged(one[key], other[key])
    return found


def machine(devices: Json, extra: Json | None = None) -> VirtualMachineInstance:
    devices = {**devices}
    if "disks" in devices:
        devices["disks"] = [{"name": "root", **disk} for disk in devices["disks"]]
    volumes = [{"name": "root", "emptyDisk": {"capacity": "1Gi"}}]
    networks = [{"name": "default", "pod": {}}] if "interfaces" in devices else []
    spec = {"domain": {"devices": devices}, "volumes": volumes}
    raw: Json = {"metadata": {"name": "demo", "namespace": "default"}, "spec": spec}
    if networks:
        spec["networks"] = networks
    return msgspec.convert(merged(raw, extra or {}), VirtualMachineInstance)


def expanded(size: Json | None, liked: Json | None, vmi: VirtualMachineInstance) -> Json:
    chosen = msgspec.convert({"instancetype": size, "preference": liked}, expand.Choice)
    expand.expand(chosen, vmi, Cluster())
    found: Json = msgspec.to_builtins(vmi)
    return found


LEAST: Json = {"cpu": {"guest": 1}, "memory": {"guest": "1Gi"}}


@pytest.mark.parametrize(("path", "value", "where"), INSTANCETYPE, ids=lambda each: str(each)[:40])
def test_an_instance_type_decides(path: str, value: Any, where: str) -> None:
    size = merged(LEAST, nested(path, value))
    assert at(expanded(size, None, machine({})), where) == value
    # And nobody else.
    theirs = {"a": "other"} if where == "metadata.annotations" else value
    given = machine({}, nested(where, theirs))
    chosen = msgspec.convert({"instancetype": size, "preference": None}, expand.Choice)
    fields = [cause.field for cause in expand.problems(chosen, given)]
    assert fields == [where if where != "metadata.annotations" else f"{where}.a"]


@pytest.mark.parametrize(
    ("path", "value", "where", "devices"), PREFERENCE, ids=lambda each: str(each)[:40]
)
def test_a_preference_fills_in(path: str, value: Any, where: str, devices: Json) -> None:
    found = at(expanded(LEAST, nested(path, value), machine(devices)), where)
    assert found == ({} if path.startswith("firmware.preferredUse") else value)
    without = expanded(LEAST, {}, machine(devices))
    assert at(without, where, None) != found


def test_bios_may_be_heard_and_efi_may_be_secure() -> None:
    bios = {"preferredUseBios": True, "preferredUseBiosSerial": True}
    whole = expanded(LEAST, {"firmware": bios}, machine({}))
    assert at(whole, "spec.domain.firmware.bootloader") == {"bios": {"useSerial": True}}
    efi = {"preferredUseEfi": True, "preferredUseSecureBoot": False}
    whole = expanded(LEAST, {"firmware": efi}, machine({}))
    assert at(whole, "spec.domain.firmware.bootloader") == {"efi": {"secureBoot": False}}


def test_the_old_word_for_a_ratio() -> None:
    cpu = {"preferredCPUTopology": "preferSpread"}
    size = {**LEAST, "cpu": {"guest": 8}}
    whole = expanded(size, {"cpu": cpu, "preferSpreadSocketToCoreRatio": 4}, machine({}))
    found = at(whole, "spec.domain.cpu")
    assert (found["sockets"], found["cores"], found["threads"]) == (2, 4, 1)


def test_an_input_that_comes_by_default_is_as_it_is_liked() -> None:
    liked = {
        "preferredAutoattachInputDevice": True,
        "preferredInputBus": "virtio",
        "preferredInputType": "tablet",
    }
    whole = expanded(LEAST, {"devices": liked}, machine({}))
    assert at(whole, f"{DEVICES}.inputs") == [
        {"name": "default-0", "type": "tablet", "bus": "virtio"}
    ]
    blind = {"preferredVideoType": "virtio", "preferredAutoattachGraphicsDevice": False}
    assert "video" not in at(expanded(LEAST, {"devices": blind}, machine({})), DEVICES)


def test_data_volumes_get_the_storage_that_is_liked() -> None:
    def template(name: str, **spec: Any) -> Json:
        return {"metadata": {"name": name}, "spec": {"source": {"blank": {}}, **spec}}

    claim = {"accessModes": ["ReadWriteOnce"]}
    vm = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "demo", "namespace": "default"},
        "spec": {
            "runStrategy": "Halted",
            "preference": {"name": "fast"},
            "dataVolumeTemplates": [
                template("a", storage={}),
                template("b", pvc=claim),
                template("c", storage={"storageClassName": "mine"}),
            ],
            "template": {"spec": {"domain": {"devices": {}, "memory": {"guest": "1Gi"}}}},
        },
    }
    liked = {"volumes": {"preferredStorageClassName": "ssd"}}
    chosen = msgspec.convert({"instancetype": None, "preference": liked}, expand.Choice)
    uuid = "5d307ca9-b3ef-428c-8861-06e72d69f223"
    admitted = admit.vm(vm, Cluster(), uuid=uuid, named=expand.Named(chosen))
    found = json_patch(vm, [dict(each) for each in admitted.patch])["spec"]["dataVolumeTemplates"]
    assert [each["spec"].get("storage", each["spec"].get("pvc")) for each in found] == [
        {"storageClassName": "ssd"},
        {**claim, "storageClassName": "ssd"},
        {"storageClassName": "mine"},
    ]
