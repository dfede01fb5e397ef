"""What Kubernetes keeps as files, as a disk of the guest's: ConfigMaps, Secrets, fields of the pod,
a service account's token, and the answers for the set-up of Windows.

The kubelet mounts the files into the launcher's container; the guest gets a disk with what is in
them when it starts.

https://kubernetes.io/docs/concepts/storage/volumes/
https://learn.microsoft.com/windows-hardware/manufacture/desktop/windows-setup-automation-overview
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.api.volumes import Volume
from virtpod.domain import paths
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.steps import BootStep, MakeIso
from virtpod.features.contract import REQUIRED, Cause, Feature, Json, PodPart
from virtpod.features.disks import configured, shown

LABEL, SYSPREP_LABEL = "cfgdata", "unattend"
LONGEST_LABEL = 32
"""Characters of an ISO 9660 image's label."""
ANSWERS = ("autounattend.xml", "unattend.xml")
"""What Windows looks for, in any case of letters."""
TOKEN_SECONDS = 3607
"""The life that Kubernetes itself asks for; it knows by the odd number that nobody renews the token
where it lies, and lets it live for a year."""

Part = tuple[tuple[int, Volume], ...]


def asked(vmi: VMI) -> Part:
    return tuple(
        (index, volume) for index, volume in enumerate(vmi.spec.volumes or ()) if configured(volume)
    )


def validate(part: Part, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    accounts = 0
    for index, volume in part:
        where = f"spec.volumes[{index}].{configured(volume)}"
        if volume.config_map and not volume.config_map.name:
            yield Cause(f"{where}.name", f"{where}.name is a required field", REQUIRED)
        if volume.secret and not volume.secret.secret_name:
            yield Cause(f"{where}.secretName", f"{where}.secretName is a required field", REQUIRED)
        if volume.service_account is not None:
            accounts += 1
            if not volume.service_account.service_account_name:
                path = f"{where}.serviceAccountName"
                yield Cause(path, f"{path} is a required field", REQUIRED)
            elif vmi.spec.service_account_name not in (
                None,
                "",
                volume.service_account.service_account_name,
            ):
                yield Cause(
                    f"{where}.serviceAccountName",
                    f"{where}.serviceAccountName is another than spec.serviceAccountName: a guest "
                    "can have one",
                )
        if volume.sysprep is not None:
            given = [each for each in (volume.sysprep.config_map, volume.sysprep.secret) if each]
            if len(given) != 1 or not given[0].name:
                yield Cause(where, f"{where} must name either a configMap or a secret", REQUIRED)
        if len(label(volume)) > LONGEST_LABEL:
            path = f"{where}.volumeLabel"
            yield Cause(path, f"{path} must not have more than {LONGEST_LABEL} characters")
    if accounts > 1:
        yield Cause("spec.volumes", "spec.volumes must have max one serviceAccount volume set")


def label(volume: Volume) -> str:
    """Of the guest's disk."""
    if volume.sysprep is not None:
        return SYSPREP_LABEL
    given = volume.config_map or volume.secret or volume.downward_api
    return (given and given.volume_label) or LABEL


def pod(part: Part, vmi: VMI, cluster: Cluster) -> PodPart:
    volumes = tuple({"name": volume.name, **_source(volume)} for _, volume in part)
    mounts = tuple(
        {"name": volume.name, "mountPath": paths.config_folder(volume.name), "readOnly": True}
        for _, volume in part
    )
    account = next((each.service_account for _, each in part if each.service_account), None)
    spec = {"serviceAccountName": account.service_account_name} if account else {}
    return PodPart(volumes=volumes, mounts=mounts, spec=spec)


def _source(volume: Volume) -> Json:
    """As Kubernetes calls it."""
    if volume.config_map:
        return {"configMap": _named(volume.config_map.name, volume.config_map.optional)}
    if volume.secret:
        optional = {"optional": True} if volume.secret.optional else {}
        return {"secret": {"secretName": volume.secret.secret_name, **optional}}
    if volume.downward_api:
        items = msgspec.to_builtins(volume.downward_api.fields or [])
        return {"downwardAPI": {"items": items}}
    if volume.sysprep:
        if volume.sysprep.config_map:
            return {"configMap": _named(volume.sysprep.config_map.name, None)}
        secret = volume.sysprep.secret
        return {"secret": {"secretName": secret.name if secret else ""}}
    token = {"path": "token", "expirationSeconds": TOKEN_SECONDS}
    authority = {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    namespace = {"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}
    sources = [
        {"serviceAccountToken": token},
        {"configMap": authority},
        {"downwardAPI": {"items": [namespace]}},
    ]
    return {"projected": {"sources": sources}}


def _named(name: str | None, optional: bool | None) -> Json:
    return {"name": name, **({"optional": True} if optional else {})}


def boot(part: Part, vmi: VMI, facts: Guest) -> Iterable[BootStep]:
    """Raises OSError where Windows would find no answers."""
    for _, volume in part:
        if volume.name in shown(vmi):
            continue
        mounted = facts.files.get(volume.name)
        files = mounted or {}
        lost = mounted is not None and not any(name.lower() in ANSWERS for name in files)
        if volume.sysprep is not None and lost:
            raise OSError(
                f"volume {volume.name} has no {' or '.join(ANSWERS)}: Windows' set-up would ask; "
                "add one to its ConfigMap or Secret"
            )
        yield MakeIso(paths.config_iso(volume.name), label(volume), tuple(sorted(files.items())))


FEATURE = Feature(
    name="config_disk",
    owns=(
        "volumes.configMap",
        "volumes.downwardAPI",
        "volumes.secret",
        "volumes.serviceAccount",
        "volumes.sysprep",
    ),
    asked=asked,
    validate=validate,
    pod=pod,
    boot=boot,
)
