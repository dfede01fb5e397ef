"""The disk that cloud-init reads at first boot: NoCloud and ConfigDrive.

https://cloudinit.readthedocs.io/en/latest/reference/datasources/nocloud.html
https://cloudinit.readthedocs.io/en/latest/reference/datasources/configdrive.html
https://docs.openstack.org/nova/latest/user/metadata.html (device tags)
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID, uuid5

import msgspec

from virtpod.api.traits import hostname
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.api.volumes import CloudInitConfigDriveSource, CloudInitNoCloudSource
from virtpod.domain import paths
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.steps import BootStep, MakeIso
from virtpod.features.contract import REQUIRED, Cause, Feature, Json, PodPart
from virtpod.features.network import absent, at, joined, mac

Source = CloudInitNoCloudSource | CloudInitConfigDriveSource
Part = tuple[tuple[int, str, Source], ...]

INSTANCE_TYPES = ("kubevirt.io/instancetype-name", "kubevirt.io/cluster-instancetype-name")
"""Annotations that say it."""
LIMIT = 2048
"""Bytes of user or network data that may stand in the spec itself."""
_INSTANCES = UUID("8f6f9bd6-52a1-4f0c-9c1e-0b4f3a1f5a37")


def asked(vmi: VMI) -> Part:
    found: list[tuple[int, str, Source]] = []
    for index, volume in enumerate(vmi.spec.volumes or ()):
        given = volume.cloud_init_no_cloud or volume.cloud_init_config_drive
        if given is not None:
            found.append((index, volume.name, given))
    return tuple(found)


def kind(source: Source) -> str:
    return (
        "cloudInitNoCloud"
        if isinstance(source, CloudInitNoCloudSource)
        else ("cloudInitConfigDrive")
    )


def validate(part: Part, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    for index, _, source in part:
        where = f"spec.volumes[{index}].{kind(source)}"
        yield from _validate_data(
            where, "user", source.user_data, source.user_data_base64, source.secret_ref
        )
        yield from _validate_data(
            where,
            "network",
            source.network_data,
            source.network_data_base64,
            source.network_data_secret_ref,
        )
        if not any(
            (
                source.user_data,
                source.user_data_base64,
                source.secret_ref,
                source.network_data,
                source.network_data_base64,
                source.network_data_secret_ref,
            )
        ):
            yield Cause(
                where,
                f"{where} must have at least one userdatasource or one networkdatasource set.",
                REQUIRED,
            )


def _validate_data(
    where: str, data: str, plain: str | None, encoded: str | None, secret: object
) -> Iterable[Cause]:
    if sum(1 for given in (plain, encoded, secret) if given) > 1:
        yield Cause(where, f"{where} must have only one {data}datasource set.")
    if encoded:
        try:
            size = len(b64decode(encoded, validate=True))
        except (binascii.Error, ValueError):
            field = f"{where}.{data}DataBase64"
            yield Cause(field, f"{field} is not a valid base64 value.")
            return
    else:
        size = len((plain or "").encode())
    if size > LIMIT:
        reference = "UserDataSecretRef" if data == "user" else "NetworkDataSecretRef"
        yield Cause(
            where,
            f"{where} {data}data exceeds {LIMIT} byte limit. "
            f"Should use {reference} for larger data.",
        )


def pod(part: Part, vmi: VMI, cluster: Cluster) -> PodPart:
    volumes, mounts = [], []
    for _, name, source in part:
        for suffix, reference in (
            ("udata", source.secret_ref),
            ("ndata", source.network_data_secret_ref),
        ):
            if reference and reference.name:
                volume = f"{name}-{suffix}"
                volumes.append({"name": volume, "secret": {"secretName": reference.name}})
                mounts.append(
                    {
                        "name": volume,
                        "mountPath": f"{paths.SECRETS}/{volume}",
                        "readOnly": True,
                    }
                )
    return PodPart(volumes=tuple(volumes), mounts=tuple(mounts))


def boot(part: Part, vmi: VMI, facts: Guest) -> Iterable[BootStep]:
    meta = vmi.metadata
    for _, name, source in part:
        user, network = _content(name, source, facts)
        about = _about(source, vmi, facts)
        if changed := facts.cloud_init.get(name):
            user, network = (_bytes(changed, key) for key in ("UserData", "NetworkData"))
            about = changed.get(_about_key(source)) or about
        if isinstance(source, CloudInitNoCloudSource):
            files = [("meta-data", msgspec.json.encode(about)), ("user-data", user)]
            if network:
                files.append(("network-config", network))
            label, flavour = "cidata", "noCloud"
        else:
            base = "openstack/latest"
            files = [
                (f"{base}/meta_data.json", msgspec.json.encode(about)),
                (f"{base}/user_data", user),
            ]
            if network:
                files.append((f"{base}/network_data.json", network))
            label, flavour = "config-2", "configdrive"
        path = paths.cloud_init_iso(meta.namespace or "", meta.name or "", flavour)
        yield MakeIso(path, label, tuple(files))


def described(vmi: VMI, facts: Guest) -> Iterable[tuple[str, Json]]:
    """Each volume and what cloud-init is to read of it, by the names that hook side-cars know."""
    for _, name, source in asked(vmi):
        user, network = _content(name, source, facts)
        no_cloud = isinstance(source, CloudInitNoCloudSource)
        yield (
            name,
            {
                "DataSource": "noCloud" if no_cloud else "configDrive",
                "NoCloudMetaData": None,
                "ConfigDriveMetaData": None,
                _about_key(source): _about(source, vmi, facts),
                "UserData": user.decode(errors="replace"),
                "NetworkData": network.decode(errors="replace"),
                "DevicesData": None,
                "VolumeName": name,
            },
        )


def _content(name: str, source: Source, facts: Guest) -> tuple[bytes, bytes]:
    """User data and network data."""
    user = _data(source.user_data, source.user_data_base64) or _secret(
        facts, f"{name}-udata", "userdata", "userData"
    )
    network = _data(source.network_data, source.network_data_base64) or _secret(
        facts, f"{name}-ndata", "networkdata", "networkData"
    )
    return user, network


def _about(source: Source, vmi: VMI, facts: Guest) -> Json:
    if isinstance(source, CloudInitNoCloudSource):
        return _meta_data(vmi) | _named("public-keys", _keys(vmi, facts, "no_cloud"))
    return (
        _config_drive_meta_data(vmi)
        | _named("public_keys", _keys(vmi, facts, "config_drive"))
        | _named(
            "devices",
            [*_tagged_cards(vmi, facts), *_tagged_own(vmi, facts), *_tagged_disks(vmi)],
        )
    )


def _about_key(source: Source) -> str:
    no_cloud = isinstance(source, CloudInitNoCloudSource)
    return "NoCloudMetaData" if no_cloud else "ConfigDriveMetaData"


def _bytes(changed: Mapping[str, Any], key: str) -> bytes:
    return str(changed.get(key) or "").encode()


def _meta_data(vmi: VMI) -> Json:
    return _named("instance-type", _instance_type(vmi)) | {
        "instance-id": _instance_id(vmi),
        "local-hostname": hostname(vmi),
    }


def _config_drive_meta_data(vmi: VMI) -> Json:
    firmware = vmi.spec.domain.firmware
    return _named("instance_type", _instance_type(vmi)) | {
        "instance_id": f"{vmi.metadata.name}.{vmi.metadata.namespace}",
        "hostname": hostname(vmi),
        "uuid": (firmware and firmware.uuid) or _instance_id(vmi),
    }


def _instance_type(vmi: VMI) -> str:
    """The name of the instance type that the VM was made with, "" without one."""
    given = vmi.metadata.annotations or {}
    return next((given[name] for name in INSTANCE_TYPES if name in given), "")


def _named(name: str, value: object) -> Json:
    return {name: value} if value else {}


def _keys(vmi: VMI, facts: Guest, way: str) -> dict[str, str]:
    """The SSH keys that reach the guest this way, numbered."""
    lines: list[str] = []
    for each in vmi.spec.access_credentials or ():
        given = each.ssh_public_key
        if given and given.source.secret and getattr(given.propagation_method, way) is not None:
            folder = paths.credentials_folder(given.source.secret.secret_name).rpartition("/")[2]
            for _, content in sorted(facts.secrets.get(folder, {}).items()):
                lines += content.decode(errors="replace").splitlines()
    keys = dict.fromkeys(line.strip() for line in lines if line.strip())
    return {str(number): key for number, key in enumerate(keys)}


def tells_places(vmi: VMI) -> bool:
    """Whether what cloud-init reads says where devices are."""
    drive = any(volume.cloud_init_config_drive for volume in vmi.spec.volumes or ())
    devices = vmi.spec.domain.devices
    placed = [*(devices.interfaces or ()), *(devices.gpus or ()), *(devices.host_devices or ())]
    return drive and any(device.tag for device in placed)


def _tagged_cards(vmi: VMI, facts: Guest) -> list[Json]:
    """The network cards that have a tag, as OpenStack's metadata describes devices."""
    return [
        {"type": "nic", "bus": "pci"}
        | _named("address", facts.places.get(nic.name))
        # A function of the node's card has the address that its CNI plugin gave it.
        | _named("mac", "" if nic.sriov else at(facts, network).mac or mac(vmi, nic))
        | {"tags": [nic.tag]}
        for _, nic, network in joined(vmi)
        if nic.tag and not absent(nic)
    ]


def _tagged_own(vmi: VMI, facts: Guest) -> list[Json]:
    """The same of devices of the node; one that came as several functions is told with each. What
    has no place on the PCI bus is told without."""
    devices = vmi.spec.domain.devices
    named = [(f"gpu-{gpu.name}", gpu.tag) for gpu in devices.gpus or ()]
    named += [(f"hostdevice-{each.name}", each.tag) for each in devices.host_devices or ()]
    names = {name for name, _ in named}
    found: list[Json] = []
    for name, tag in named:
        if not tag:
            continue
        more = re.compile(f"{re.escape(name)}-[0-9]+")
        places = [
            place
            for device, place in facts.places.items()
            if device == name or (device not in names and more.fullmatch(device))
        ]
        seen: list[Json] = [{"bus": "pci", "address": place} for place in places]
        found += [{"type": "hostdev"} | each | {"tags": [tag]} for each in seen or [{}]]
    return found


def _tagged_disks(vmi: VMI) -> list[Json]:
    """The same of disks; a guest finds one by its serial, or by its place where the spec gives it
    one."""
    found = []
    for disk in vmi.spec.domain.devices.disks or ():
        if disk.tag:
            target = disk.disk or disk.lun or disk.cdrom
            place = disk.disk.pci_address if disk.disk else None
            found.append(
                {"type": "disk", "bus": (target and target.bus) or "sata"}
                | _named("address", place)
                | _named("serial", disk.serial)
                | {"tags": [disk.tag]}
            )
    return found


def _instance_id(vmi: VMI) -> str:
    firmware = vmi.spec.domain.firmware
    machine = (firmware and firmware.uuid) or ""
    return str(uuid5(_INSTANCES, f"{vmi.metadata.name}.{vmi.metadata.namespace}/{machine}"))


def _data(plain: str | None, encoded: str | None) -> bytes:
    return b64decode(encoded) if encoded else (plain or "").encode()


def _secret(facts: Guest, volume: str, *keys: str) -> bytes:
    content = facts.secrets.get(volume, {})
    return next((content[key] for key in keys if key in content), b"")


FEATURE = Feature(
    name="cloud_init",
    owns=(
        "volumes.cloudInitNoCloud",
        "volumes.cloudInitConfigDrive",
        "domain.devices.disks.tag",
        "domain.devices.interfaces.tag",
        "domain.devices.gpus.tag",
        "domain.devices.hostDevices.tag",
    ),
    asked=asked,
    validate=validate,
    pod=pod,
    boot=boot,
)
