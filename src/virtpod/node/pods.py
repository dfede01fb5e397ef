"""What virt-handler keeps of the launcher pods on its node."""

from __future__ import annotations

import msgspec

from virtpod.controllers.node_vmi import Pod

KVM = "devices.kubevirt.io/kvm"
COMPUTE = "compute"


class _Wire(msgspec.Struct, rename="camel"):
    pass


class _Owner(_Wire):
    kind: str
    name: str
    uid: str
    controller: bool = False


class _Metadata(_Wire):
    name: str
    namespace: str
    uid: str
    owner_references: list[_Owner] = []


class _Resources(_Wire):
    limits: dict[str, str | int] = {}


class _Container(_Wire):
    name: str
    resources: _Resources = _Resources()


class _Spec(_Wire):
    containers: list[_Container] = []


class _Condition(_Wire):
    type: str
    status: str


class _Terminated(_Wire):
    exit_code: int = 0
    reason: str = ""
    message: str = ""


class _State(_Wire):
    terminated: _Terminated | None = None


class _ContainerStatus(_Wire):
    name: str
    state: _State = _State()


class _Ip(_Wire):
    ip: str = ""


class _Status(_Wire):
    phase: str = ""
    conditions: list[_Condition] = []
    container_statuses: list[_ContainerStatus] = []
    pod_ips: list[_Ip] = msgspec.field(default_factory=list, name="podIPs")


class _Pod(_Wire):
    metadata: _Metadata
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)


_decoder = msgspec.json.Decoder(_Pod)


def project(raw: bytes) -> Pod:
    """From the pod's JSON. Whose it is tells its controller, never a label."""
    pod = _decoder.decode(raw)
    owner = next(
        (
            each
            for each in pod.metadata.owner_references
            if each.controller and each.kind == "VirtualMachineInstance"
        ),
        None,
    )
    status = next((each for each in pod.status.container_statuses if each.name == COMPUTE), None)
    over = status.state.terminated if status else None
    return Pod(
        namespace=pod.metadata.namespace,
        name=pod.metadata.name,
        uid=pod.metadata.uid,
        vmi=owner.name if owner else "",
        vmi_uid=owner.uid if owner else "",
        phase=pod.status.phase,
        ready=any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions),
        ips=tuple(each.ip for each in pod.status.pod_ips if each.ip),
        exit_code=over.exit_code if over else None,
        exit_message=(over.message or over.reason).strip()[-600:] if over else "",
        emulation=not any(
            each.name == COMPUTE and KVM in each.resources.limits for each in pod.spec.containers
        ),
    )
