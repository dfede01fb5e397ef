"""What a machine remembers when it is off: its TPM's state and EFI's variables, on a claim.

The claim belongs to the VM, so that it outlives the instance; virt-controller makes it before the
first pod. Its folders stand where libvirt keeps such state.
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.traits import remembers
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain import paths
from virtpod.domain.facts import Cluster
from virtpod.features.contract import Cause, Feature, Json, PodPart
from virtpod.wire.messages import DomainChanged

SIZE = "10Mi"
VOLUME = "vm-state"
FOLDERS = (
    ("swtpm", f"{paths.PRIVATE}/libvirt/qemu/swtpm"),
    ("nvram", f"{paths.PRIVATE}/libvirt/qemu/nvram"),
)
"""In the claim, and in the launcher."""
OURS = (
    ("private-libvirt", f"{paths.PRIVATE}/libvirt"),
    ("private-libvirt-qemu", f"{paths.PRIVATE}/libvirt/qemu"),
)
"""What lies above those: else the runtime makes it, for root alone."""


def asked(vmi: VMI) -> bool:
    return remembers(vmi)


def name(vmi: VMI) -> str:
    """Of the claim."""
    return f"persistent-state-for-{vmi.metadata.name}"[:253]


def claim(vmi: VMI, cluster: Cluster) -> Json:
    """The claim as it is to be made: owned by the VM, or by an instance that has none."""
    owner = next((each for each in vmi.metadata.owner_references or () if each.controller), None)
    storage_class = cluster.config.vm_state_storage_class
    spec: Json = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": SIZE}},
        "volumeMode": "Filesystem",
    }
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": name(vmi),
            "namespace": vmi.metadata.namespace,
            "labels": {"persistent-state-for": (vmi.metadata.name or "")[:63]},
            "ownerReferences": [
                {
                    "apiVersion": "kubevirt.io/v1",
                    "kind": owner.kind if owner else "VirtualMachineInstance",
                    "name": owner.name if owner else vmi.metadata.name,
                    "uid": owner.uid if owner else vmi.metadata.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": spec | ({"storageClassName": storage_class} if storage_class else {}),
    }


def validate(part: bool, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    if VOLUME in {volume.name for volume in vmi.spec.volumes or ()}:
        yield Cause(
            "spec.volumes",
            f"a volume cannot be called {VOLUME}: that is the machine's own state; call it "
            "something else",
        )


def pod(part: bool, vmi: VMI, cluster: Cluster) -> PodPart:
    return PodPart(
        volumes=(
            {"name": VOLUME, "persistentVolumeClaim": {"claimName": name(vmi)}},
            *({"name": name, "emptyDir": {}} for name, _ in OURS),
        ),
        mounts=(
            *({"name": name, "mountPath": place} for name, place in OURS),
            *({"name": VOLUME, "mountPath": place, "subPath": folder} for folder, place in FOLDERS),
        ),
    )


def blocks_migration(part: bool, vmi: VMI, domain: DomainChanged) -> str | None:
    return "its TPM or EFI keeps a state on a claim that one node can have at a time"


FEATURE = Feature(
    name="state",
    owns=("domain.firmware.bootloader.efi.persistent",),
    asked=asked,
    validate=validate,
    pod=pod,
    blocks_migration=blocks_migration,
)
