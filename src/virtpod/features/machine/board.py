"""The board: architecture, machine type, what the domain is called.

https://libvirt.org/formatdomain.html#operating-system-booting
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from virtpod.api.kubevirt import ArchSpecificConfiguration
from virtpod.api.machine import Machine
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.xml import E, Element
from virtpod.features.contract import UNSUPPORTED, Cause, Feature, Json, PodPart, always
from virtpod.wire.messages import DomainChanged

TYPES = {"amd64": "q35", "arm64": "virt", "s390x": "s390-ccw-virtio"}
ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64", "s390x": "s390x"}
PATTERNS = {"amd64": ("q35*", "pc-q35*"), "arm64": ("virt*",), "s390x": ("s390-ccw-virtio*",)}


def _special(architecture: str, cluster: Cluster) -> ArchSpecificConfiguration | None:
    """What the cluster says of machines of this architecture."""
    given = cluster.config.architecture_configuration
    found: ArchSpecificConfiguration | None = getattr(given, architecture, None) if given else None
    return found


def allowed(vmi: VMI, cluster: Cluster) -> tuple[str, ...]:
    """The machine types that the cluster's configuration admits, as patterns."""
    architecture = vmi.spec.architecture or cluster.architecture
    special = _special(architecture, cluster)
    configured = (special and special.emulated_machines) or cluster.config.emulated_machines
    return tuple(configured or PATTERNS.get(architecture, ()))


def defaults(part: VMI, vmi: VMI, cluster: Cluster) -> None:
    vmi.spec.architecture = vmi.spec.architecture or cluster.architecture
    domain = vmi.spec.domain
    if domain.machine is None or not domain.machine.type:
        special = _special(vmi.spec.architecture, cluster)
        chosen = (special and special.machine_type) or cluster.config.machine_type
        domain.machine = Machine(type=chosen or TYPES.get(vmi.spec.architecture, "q35"))


def validate(part: VMI, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    architecture = vmi.spec.architecture
    if architecture not in ARCHITECTURES:
        yield Cause(
            "spec.architecture",
            f"unsupported architecture: {architecture}; one of {', '.join(ARCHITECTURES)}",
            UNSUPPORTED,
        )
        return
    machine = (vmi.spec.domain.machine and vmi.spec.domain.machine.type) or ""
    patterns = allowed(vmi, cluster)
    if not any(fnmatchcase(machine, pattern) for pattern in patterns):
        yield Cause(
            "spec.domain.machine.type",
            f"spec.domain.machine.type is not supported: {machine} "
            f"(allowed values: [{' '.join(patterns)}])",
        )


def pod(part: VMI, vmi: VMI, cluster: Cluster) -> PodPart:
    machine = (vmi.spec.domain.machine and vmi.spec.domain.machine.type) or ""
    return PodPart(
        node_selector={
            "kubernetes.io/arch": vmi.spec.architecture or cluster.architecture,
            f"machine-type.node.kubevirt.io/{machine}": "true",
        }
    )


def devices(part: VMI, vmi: VMI, facts: Guest) -> Iterable[Element]:
    meta, machine = vmi.metadata, vmi.spec.domain.machine
    yield E("name", f"{meta.namespace}_{meta.name}")
    architecture = ARCHITECTURES[vmi.spec.architecture or "amd64"]
    yield E(
        "os",
        E("type", "hvm", arch=architecture, machine=(machine and machine.type) or "q35"),
        E("smbios", mode="sysinfo") if architecture != "s390x" else None,
    )


def observe(part: VMI, vmi: VMI, domain: DomainChanged) -> Json:
    return {"machine": {"type": domain.machine}} if domain.machine else {}


FEATURE = Feature(
    name="board",
    owns=("architecture", "domain.machine"),
    asked=always,
    defaults=defaults,
    validate=validate,
    pod=pod,
    devices=devices,
    observe=observe,
)
