"""SSH keys and passwords from secrets, for the users of the guest.

Those for cloud-init stand on its disk when the guest starts (`disks/cloud_init.py`). The others are
handed to the guest's agent (`launcher/credentials.py`), again whenever the kubelet brings a new
content of the secret.

https://kubevirt.io/user-guide/user_workloads/accessing_virtual_machines/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from virtpod.api.access import AccessCredential
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain import paths
from virtpod.domain.facts import Cluster
from virtpod.features.contract import DUPLICATE, NOT_FOUND, REQUIRED, Cause, Feature, PodPart
from virtpod.features.guest import secret_of

MOST = 256
"""Credentials of one guest."""
CLOUD_INIT = {"no_cloud": "cloudInitNoCloud", "config_drive": "cloudInitConfigDrive"}
"""Ways by cloud-init, and the volume that each needs."""


def asked(vmi: VMI) -> list[AccessCredential]:
    return list(vmi.spec.access_credentials or ())


def validate(part: list[AccessCredential], vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    if len(part) > MOST:
        where = "spec.accessCredentials"
        yield Cause(where, f"{where} must not have more than {MOST} items")
        return
    passwords: dict[str, int] = {}
    for index, each in enumerate(part):
        where = f"spec.accessCredentials[{index}]"
        if (each.ssh_public_key is None) == (each.user_password is None):
            wanted = "exactly one of sshPublicKey and userPassword"
            yield Cause(where, f"{where} must have {wanted} set", REQUIRED)
            continue
        kind = "sshPublicKey" if each.ssh_public_key else "userPassword"
        yield from _validate_source(f"{where}.{kind}", each)
        yield from _validate_way(f"{where}.{kind}.propagationMethod", each, vmi)
        secret = secret_of(each)
        if each.user_password and secret:
            if secret in passwords:
                yield Cause(
                    f"{where}.{kind}.source.secret.secretName",
                    f"{where} names secret {secret!r}, as "
                    f"spec.accessCredentials[{passwords[secret]}] does; name it once",
                    DUPLICATE,
                )
            passwords.setdefault(secret, index)


def _validate_source(where: str, each: AccessCredential) -> Iterable[Cause]:
    given = each.ssh_public_key or each.user_password
    if given is not None and given.source.secret is None:
        yield Cause(f"{where}.source", f"{where}.source must have a secret set", REQUIRED)
    elif not secret_of(each):
        field = f"{where}.source.secret.secretName"
        yield Cause(field, f"{field} is a required field", REQUIRED)


def _validate_way(where: str, each: AccessCredential, vmi: VMI) -> Iterable[Cause]:
    if each.user_password is not None:
        if each.user_password.propagation_method.qemu_guest_agent is None:
            yield Cause(where, f"{where} must have qemuGuestAgent set", REQUIRED)
        return
    assert each.ssh_public_key is not None
    method = each.ssh_public_key.propagation_method
    ways = [way for way in (*CLOUD_INIT, "qemu_guest_agent") if getattr(method, way) is not None]
    if len(ways) != 1:
        yield Cause(
            where,
            f"{where} must have exactly one of noCloud, configDrive and qemuGuestAgent set",
            REQUIRED,
        )
        return
    if method.qemu_guest_agent is not None:
        users = method.qemu_guest_agent.users
        if not users:
            yield Cause(f"{where}.qemuGuestAgent.users", f"{where} must have one user at least")
        elif not all(users):
            yield Cause(f"{where}.qemuGuestAgent.users", f"{where} has a user without a name")
        return
    needed = CLOUD_INIT[ways[0]]
    volumes = vmi.spec.volumes or ()
    attribute = {"no_cloud": "cloud_init_no_cloud"}.get(ways[0], "cloud_init_config_drive")
    if not any(getattr(volume, attribute) for volume in volumes):
        yield Cause(
            where,
            f"{where} requires a {needed} volume to exist when it is propagated that way",
            NOT_FOUND,
        )


def pod(part: list[AccessCredential], vmi: VMI, cluster: Cluster) -> PodPart:
    """Each secret once, whoever is to have what is in it."""
    volumes, mounts = [], []
    for secret in dict.fromkeys(secret_of(each) for each in part):
        name = paths.credentials_volume(secret)
        volumes.append({"name": name, "secret": {"secretName": secret}})
        mounts.append(
            {"name": name, "mountPath": paths.credentials_folder(secret), "readOnly": True}
        )
    return PodPart(volumes=tuple(volumes), mounts=tuple(mounts))


def by_agent(spec: Mapping[str, object]) -> bool:
    """Whether the agent is to be given any; `spec` as JSON."""
    given = spec.get("accessCredentials")
    return "qemuGuestAgent" in str(given) if given else False


FEATURE = Feature(
    name="access_credentials",
    owns=("accessCredentials",),
    asked=asked,
    validate=validate,
    pod=pod,
)
