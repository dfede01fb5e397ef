"""Whether KVM boots a stock kernel on the cluster's nodes: found out by trying.

/dev/kvm may be there, take a machine, and still not run it (a guest of a cloud that passes only a
part of the hardware on). So a short pod boots the demo guest by KVM, or the firmware alone where
pods cannot mount images, and looks for a sign of life.
"""

from __future__ import annotations

import asyncio
from typing import Any

from virtpod.kube.client import Client
from virtpod.kube.errors import NotFound
from virtpod.kube.resources import PODS

NAME = "virtpod-kvm-probe"
SECONDS = 60
SCRIPT = """
test -c /dev/kvm || exit 1
qemu="timeout -k 1 10 qemu-system-x86_64 -accel kvm -M q35 -m 128 -display none -nodefaults"
if [ -f /disk/disk/disk.qcow2 ]; then
    $qemu -serial stdio -blockdev driver=file,filename=/disk/disk/disk.qcow2,node-name=f,\
read-only=on -blockdev driver=qcow2,file=f,node-name=d,read-only=on \
        -device virtio-blk-pci,drive=d </dev/null 2>/dev/null | grep -q -m1 'demo guest'
else
    $qemu -chardev stdio,id=d -device isa-debugcon,iobase=0x402,chardev=d \
        </dev/null 2>/dev/null | grep -q -m1 'No bootable device'
fi
"""


def _pod(namespace: str, launcher: str, guest: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "probe",
                    "image": launcher,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["/bin/sh", "-c", SCRIPT],
                    "securityContext": {"privileged": True, "runAsUser": 0},
                    "volumeMounts": [{"name": "guest", "mountPath": "/disk"}],
                }
            ],
            "volumes": [
                {"name": "guest", "image": {"reference": guest, "pullPolicy": "IfNotPresent"}}
            ],
        },
    }


async def boots(client: Client, namespace: str, launcher: str, guest: str) -> bool:
    """Tries it on the node that the scheduler picks. What cannot be tried counts as no."""
    await _gone(client, namespace)
    pod = await client.create(PODS, _pod(namespace, launcher, guest), namespace=namespace)
    try:
        async with asyncio.timeout(SECONDS):
            return await _phase(client, namespace, pod) == "Succeeded"
    except TimeoutError:
        return False
    finally:
        await _gone(client, namespace)


async def _phase(client: Client, namespace: str, pod: dict[str, Any]) -> str:
    version = pod["metadata"]["resourceVersion"]
    field = f"metadata.name={NAME}"
    while True:
        async for event in client.watch(
            PODS, resource_version=version, namespace=namespace, fields=field
        ):
            phase: str = event.object.get("status", {}).get("phase", "")
            if phase in ("Succeeded", "Failed"):
                return phase


async def _gone(client: Client, namespace: str) -> None:
    try:
        await client.delete(PODS, (namespace, NAME), grace=0)
    except NotFound:
        return
