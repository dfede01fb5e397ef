"""What the guest writes to its serial port, in the log of a container of the pod that is called
guest-console-log: `kubectl logs POD -c guest-console-log`.

https://libvirt.org/formatdomain.html#consoles-serial-parallel-channel-devices (log)
https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/
"""

from __future__ import annotations

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain import paths, support
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.xml import E, Element
from virtpod.features.contract import Feature, PodPart

CONTAINER = "guest-console-log"
FOLLOW = """\
trap "exit 0" TERM
until [ -e "$0" ]; do sleep 0.2; done
tail -n +1 -F "$0" 2>/dev/null & wait
"""
"""A container's first process gets no signal that it does not catch."""
USUAL = {
    "requests": {"cpu": "5m", "memory": "35M"},
    "limits": {"cpu": "15m", "memory": "60M"},
}
"""KubeVirt's."""


def asked(vmi: VMI) -> bool:
    """Who asks for it waits for one more container to start; nobody else does."""
    given = vmi.spec.domain.devices
    return bool(given.log_serial_console) and given.autoattach_serial_console is not False


def pod(part: bool, vmi: VMI, cluster: Cluster) -> PodPart:
    container = {
        "name": CONTAINER,
        "image": cluster.launcher_image,
        "imagePullPolicy": cluster.image_pull_policy,
        "restartPolicy": "Always",
        "command": ["/bin/sh", "-c", FOLLOW, paths.serial_log(vmi.metadata.uid or "")],
        "resources": support.resources(support.CONSOLE_LOG, USUAL, cluster),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "runAsUser": paths.QEMU_UID,
            "runAsGroup": paths.QEMU_UID,
        },
        "volumeMounts": [{"name": "private", "mountPath": paths.PRIVATE, "readOnly": True}],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    return PodPart(init_containers=(container,))


def tune(part: bool, vmi: VMI, facts: Guest, domain: Element) -> None:
    serial = domain.find("devices/serial")
    if serial is not None:
        serial.append(E("log", file=paths.serial_log(vmi.metadata.uid or ""), append="on"))


FEATURE = Feature(
    name="serial_log",
    owns=("domain.devices.logSerialConsole",),
    asked=asked,
    pod=pod,
    tune=tune,
)
