"""Virtual processors: how many, in which topology, of which model.

https://libvirt.org/formatdomain.html#cpu-model-and-topology
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from virtpod.api.machine import CPU
from virtpod.api.traits import dedicated, emulator_cpus, topology, vcpus
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.quantity import milli
from virtpod.domain.xml import E, Element
from virtpod.features.contract import DUPLICATE, UNSUPPORTED, Cause, Feature, Json, PodPart, always
from virtpod.wire.messages import DomainChanged

MODES = ("host-model", "host-passthrough", "maximum")
MPX = "mpx"
NAME = re.compile(r"[A-Za-z0-9_.-]+")
POLICIES = ("force", "require", "optional", "disable", "forbid")
MOST_THREADS = 2
"""Of a core, where its CPUs are the node's own."""
MOST = 512
"""More vCPUs than this no machine type of QEMU takes."""
DEFAULT_ALLOCATION_RATIO = 10
NO_REQUEST = "100m"
"""The cluster's cpuRequest that says nothing: it is KubeVirt's default, which it takes so."""


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
    if vcpus(vmi) > MOST:
        yield Cause(
            "spec.domain.cpu", f"spec.domain.cpu asks for {vcpus(vmi)} vCPUs; at most {MOST} work"
        )
    if vmi.spec.architecture == "arm64" and (cpu.threads or 1) > 1:
        yield Cause("spec.domain.cpu.threads", "spec.domain.cpu.threads must be 1 on arm64")
    if (cpu.max_sockets or 0) * (cpu.cores or 1) * (cpu.threads or 1) > MOST:
        yield Cause(
            "spec.domain.cpu.maxSockets",
            f"spec.domain.cpu.maxSockets lets the guest have more than {MOST} vCPUs",
        )
    if cpu.max_sockets and (cpu.sockets or 1) > cpu.max_sockets:
        yield Cause(
            "spec.domain.cpu.sockets",
            "Number of sockets in CPU topology is greater than the maximum sockets allowed",
        )
    wrong = list(_validate_amounts(vmi))
    yield from wrong
    if dedicated(vmi) and not wrong:
        yield from _validate_dedicated(vmi, cpu)
    yield from _validate_numa(vmi, cpu)
    if cpu.model and not NAME.fullmatch(cpu.model):
        where = "spec.domain.cpu.model"
        yield Cause(where, f"{where} must be host-model, host-passthrough or a name of libvirt's")
    names = [feature.name for feature in cpu.features or ()]
    for index, name in enumerate(names):
        where = f"spec.domain.cpu.features[{index}].name"
        if not NAME.fullmatch(name):
            yield Cause(where, f"{where} must be a name of libvirt's, such as aes")
        elif name in names[:index]:
            yield Cause(where, f"{where}: {name} is there already; name it once", DUPLICATE)
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
    usual = cluster.config.cpu_request
    if usual in (None, NO_REQUEST):
        usual = f"{vcpus(vmi) * 1000 // ratio}m"
    wanted = requested.get("cpu") or limits.get("cpu") or usual
    if cluster.limits_cpu and "cpu" not in limits:
        limits = {"cpu": str(vcpus(vmi))}
    if dedicated(vmi):
        # As many whole CPUs as it may want and no more: the kubelet's static policy then gives the
        # container CPUs of its own.
        wanted = str(vcpus(vmi) + emulator_cpus(vmi))
        limits = {"cpu": wanted}
    selector = {"kubevirt.io/cpumanager": "true"} if dedicated(vmi) else {}
    if cpu.realtime:
        selector["kubevirt.io/realtime"] = "true"
    if cpu.model and cpu.model not in MODES:
        selector[f"cpu-model.node.kubevirt.io/{cpu.model}"] = "true"
    for feature in cpu.features or ():
        if feature.policy in (None, "", "require"):
            selector[f"cpu-feature.node.kubevirt.io/{feature.name}"] = "true"
    return PodPart(
        requests={"cpu": str(wanted)},
        limits={"cpu": str(limits["cpu"])} if "cpu" in limits else {},
        node_selector=selector,
        overhead=8 * 2**20 * vcpus(vmi) + (100 * 2**20 if dedicated(vmi) else 0),
    )


def devices(part: VMI, vmi: VMI, facts: Guest) -> Iterable[Element]:
    cpu = vmi.spec.domain.cpu or CPU()
    sockets, cores, threads = topology(vmi)
    most = max(sockets, (cpu.max_sockets or 0) if vmi.spec.architecture != "arm64" else 0)
    current = vcpus(vmi) if most > sockets else None
    yield E("vcpu", str(most * cores * threads), placement="static", current=current)
    if dedicated(vmi):
        yield _pinned(vmi, facts)
    named = [E("feature", name=f.name, policy=f.policy or "require") for f in cpu.features or ()]
    shape = E("topology", sockets=most, cores=cores, threads=threads)
    model = cpu.model or "host-model"
    if facts.emulation and model in ("host-model", "host-passthrough"):
        # QEMU's own processor knows more than the host here; five-level page tables are what
        # makes it slow in software.
        x86 = vmi.spec.architecture in (None, "amd64")
        slow = E("feature", name="la57", policy="disable") if x86 else None
        yield E("cpu", shape, slow, *named, mode="maximum")
    elif model in MODES:
        yield E("cpu", shape, *named, mode=model)
    else:
        if vmi.spec.architecture in (None, "amd64") and all(
            f.name != MPX for f in cpu.features or ()
        ):
            # Models that have it are on nodes that do not: Linux and Intel have given it up.
            named.append(E("feature", name=MPX, policy="disable"))
        yield E("cpu", E("model", model), shape, *named, mode="custom", match="exact")


def _pinned(vmi: VMI, facts: Guest) -> Element:
    """Each virtual CPU on a CPU of its own, QEMU's threads on the last or on all of them."""
    count = vcpus(vmi)
    own = facts.cpus[:count] or tuple(range(count))
    rest = facts.cpus[count : count + emulator_cpus(vmi)] or own
    cpu = vmi.spec.domain.cpu or CPU()
    pins = [E("vcpupin", vcpu=index, cpuset=each) for index, each in enumerate(own)]
    pins.append(E("emulatorpin", cpuset=",".join(str(each) for each in rest)))
    if cpu.realtime:
        mask = cpu.realtime.mask or (f"0-{count - 1}" if count > 1 else "0")
        pins.append(E("vcpusched", vcpus=mask, scheduler="fifo", priority=1))
    return E("cputune", *pins)


def _validate_amounts(vmi: VMI) -> Iterable[Cause]:
    resources = vmi.spec.domain.resources
    found: dict[str, int] = {}
    for name in ("requests", "limits"):
        given = (getattr(resources, name) or {}) if resources else {}
        path = f"spec.domain.resources.{name}.cpu"
        if "cpu" not in given:
            continue
        try:
            found[name] = milli(given["cpu"])
        except ValueError as error:
            yield Cause(path, f"{path}: {error}")
            return
        if found[name] < 0:
            yield Cause(path, f"{path} '{given['cpu']}': must be greater than or equal to 0.")
            return
    if len(found) == 2 and found["requests"] > found["limits"]:
        path = "spec.domain.resources.requests.cpu"
        yield Cause(path, f"{path} is greater than spec.domain.resources.limits.cpu")


def _validate_dedicated(vmi: VMI, cpu: CPU) -> Iterable[Cause]:
    resources = vmi.spec.domain.resources
    requested = ((resources and resources.requests) or {}).get("cpu")
    limit = ((resources and resources.limits) or {}).get("cpu")
    where = "spec.domain.cpu.dedicatedCpuPlacement"
    if (cpu.threads or 1) > MOST_THREADS:
        yield Cause(
            "spec.domain.cpu.threads",
            f"Not more than two threads must be provided at spec.domain.cpu.threads "
            f"(got {cpu.threads}) when DedicatedCPUPlacement is true",
        )
    for name, value in (("requests", requested), ("limits", limit)):
        if value is not None and milli(value) % 1000:
            path = f"spec.domain.resources.{name}.cpu"
            yield Cause(path, f"{path} must be an integer for dedicated CPUs")
    if requested is not None and limit is not None and milli(requested) != milli(limit):
        yield Cause(where, "requests and limits of CPU must be equal for dedicated CPUs")
    said = next((value for value in (limit, requested) if value is not None), None)
    if said is not None and milli(said) != vcpus(vmi) * 1000:
        yield Cause(
            where, "the CPU's topology and its requests or limits must not say different numbers"
        )


def _validate_numa(vmi: VMI, cpu: CPU) -> Iterable[Cause]:
    memory = vmi.spec.domain.memory
    if cpu.isolate_emulator_thread and not dedicated(vmi):
        yield Cause(
            "spec.domain.cpu.isolateEmulatorThread",
            "IsolateEmulatorThread should be only set in combination with DedicatedCPUPlacement",
        )
    passthrough = cpu.numa and cpu.numa.guest_mapping_passthrough is not None
    if passthrough:
        where = "spec.domain.cpu.numa.guestMappingPassthrough"
        if not dedicated(vmi):
            yield Cause(where, f"{where} must be used in combination with dedicatedCpuPlacement")
        if not (memory and memory.hugepages):
            yield Cause(where, f"{where} must be used in combination with hugepages")
    if cpu.realtime and not dedicated(vmi):
        yield Cause(
            "spec.domain.cpu.realtime", "spec.domain.cpu.realtime requires dedicatedCpuPlacement"
        )
    if cpu.realtime and not passthrough:
        yield Cause(
            "spec.domain.cpu.realtime",
            "spec.domain.cpu.realtime requires numa.guestMappingPassthrough",
        )


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
        "domain.cpu.dedicatedCpuPlacement",
        "domain.cpu.isolateEmulatorThread",
        "domain.cpu.realtime",
    ),
    asked=always,
    defaults=defaults,
    validate=validate,
    pod=pod,
    devices=devices,
    observe=observe,
)
