"""Virtual processors: how many, in which topology, of which model.

https://libvirt.org/formatdomain.html#cpu-model-and-topology
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.machine import CPU
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.quantity import milli
from virtpod.domain.xml import E, Element
from virtpod.features.contract import UNSUPPORTED, Cause, Feature, Json, PodPart, always
from virtpod.wire.messages import DomainChanged

MODES = ("host-model", "host-passthrough", "maximum")
POLICIES = ("force", "require", "optional", "disable", "forbid")
MOST = 512
"""More vCPUs than this no machine type of QEMU takes."""
DEFAULT_ALLOCATION_RATIO = 10


def topology(vmi: VMI) -> tuple[int, int, int]:
    """Sockets, cores, threads; 1 where nothing is said."""
    cpu = vmi.spec.domain.cpu or CPU()
    return cpu.sockets or 1, cpu.cores or 1, cpu.threads or 1


def count(vmi: VMI) -> int:
    """The number of vCPUs."""
    sockets, cores, threads = topology(vmi)
    return sockets * cores * threads


def defaults(part: VMI, vmi: VMI, cluster: Cluster) -> None:
    domain = vmi.spec.domain
    cpu = domain.cpu = domain.cpu or CPU()
    if not (cpu.sockets or cpu.cores or cpu.threads):
        cpu.sockets = _sockets_from_resources(vmi)
    cpu.sockets, cpu.cores, cpu.threads = topology(vmi)
    if not cpu.model:
        host = "host-passthrough" if vmi.spec.architecture == "arm64" else "host-model"
        cpu.model = cluster.config.cpu_model or host


def _sockets_from_resources(vmi: VMI) -> int:
    resources = vmi.spec.domain.resources
    for given in (resources and resources.limits, resources and resources.requests):
        if given and "cpu" in given:
            try:
                return max(1, -(-milli(given["cpu"]) // 1000))
            except ValueError:
                return 1
    return 1


def validate(part: VMI, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    cpu = vmi.spec.domain.cpu or CPU()
    for name, value in (("sockets", cpu.sockets), ("cores", cpu.cores), ("threads", cpu.threads)):
        if value is not None and value < 0:
            yield Cause(f"spec.domain.cpu.{name}", f"spec.domain.cpu.{name} must not be negative")
            return
    if count(vmi) > MOST:
        yield Cause(
            "spec.domain.cpu", f"spec.domain.cpu asks for {count(vmi)} vCPUs; at most {MOST} work"
        )
    if vmi.spec.architecture == "arm64" and (cpu.threads or 1) > 1:
        yield Cause("spec.domain.cpu.threads", "spec.domain.cpu.threads must be 1 on arm64")
    if cpu.max_sockets and (cpu.sockets or 1) > cpu.max_sockets:
        yield Cause(
            "spec.domain.cpu.sockets",
            "Number of sockets in CPU topology is greater than the maximum sockets allowed",
        )
    for index, feature in enumerate(cpu.features or ()):
        if feature.policy and feature.policy not in POLICIES:
            yield Cause(
                f"spec.domain.cpu.features[{index}].policy",
                f"policy {feature.policy!r} is not known; one of {', '.join(POLICIES)}",
                UNSUPPORTED,
            )


def pod(part: VMI, vmi: VMI, cluster: Cluster) -> PodPart:
    cpu = vmi.spec.domain.cpu or CPU()
    resources = vmi.spec.domain.resources
    requested = dict((resources and resources.requests) or {})
    limits = dict((resources and resources.limits) or {})
    developer = cluster.config.developer_configuration
    ratio = (developer and developer.cpu_allocation_ratio) or DEFAULT_ALLOCATION_RATIO
    wanted = requested.get("cpu") or limits.get("cpu") or f"{count(vmi) * 1000 // ratio}m"
    selector = {}
    if cpu.model and cpu.model not in MODES:
        selector[f"cpu-model.node.kubevirt.io/{cpu.model}"] = "true"
    for feature in cpu.features or ():
        if feature.policy in (None, "", "require"):
            selector[f"cpu-feature.node.kubevirt.io/{feature.name}"] = "true"
    return PodPart(
        requests={"cpu": str(wanted)},
        limits={"cpu": str(limits["cpu"])} if "cpu" in limits else {},
        node_selector=selector,
        overhead=8 * 2**20 * count(vmi),
    )


def devices(part: VMI, vmi: VMI, facts: Guest) -> Iterable[Element]:
    cpu = vmi.spec.domain.cpu or CPU()
    sockets, cores, threads = topology(vmi)
    yield E("vcpu", str(count(vmi)), placement="static")
    named = [E("feature", name=f.name, policy=f.policy or "require") for f in cpu.features or ()]
    shape = E("topology", sockets=sockets, cores=cores, threads=threads)
    model = cpu.model or "host-model"
    if facts.emulation and model in ("host-model", "host-passthrough"):
        # QEMU's own processor knows more than the host here; five-level page tables are what
        # makes it slow in software.
        slow = E("feature", name="la57", policy="disable")
        yield E("cpu", shape, slow, *named, mode="maximum")
    elif model in MODES:
        yield E("cpu", shape, *named, mode=model)
    else:
        yield E("cpu", E("model", model), shape, *named, mode="custom", match="exact")


def observe(part: VMI, vmi: VMI, domain: DomainChanged) -> Json:
    sockets, cores, threads = topology(vmi)
    return {"currentCPUTopology": {"sockets": sockets, "cores": cores, "threads": threads}}


FEATURE = Feature(
    name="cpu",
    owns=(
        "domain.cpu.sockets",
        "domain.cpu.cores",
        "domain.cpu.threads",
        "domain.cpu.maxSockets",
        "domain.cpu.model",
        "domain.cpu.features",
    ),
    asked=always,
    defaults=defaults,
    validate=validate,
    pod=pod,
    devices=devices,
    observe=observe,
)
