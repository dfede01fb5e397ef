"""Why no node takes the pod: the scheduler's message taken apart, and compared with the nodes.

The scheduler counts nodes per reason; which label, device or amount it was, it leaves to the
reader. What the nodes have is looked at here, so that the sentence names it.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/kube-scheduler/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from virtpod.controllers.why.case import (
    Case,
    Found,
    Node,
    Rule,
    condition,
    ended,
    listed,
    requests,
    rule,
    size,
)
from virtpod.kube.plan import Reference
from virtpod.kube.resources import NODES

SCHEDULABLE = "kubevirt.io/schedulable"
KVM = "devices.kubevirt.io/kvm"
OWN_DEVICE = "virt-handler offers it on each node: look at its pods and at their logs."
ABILITIES = {
    "cpu-model.node.kubevirt.io/": "CPU model",
    "cpu-feature.node.kubevirt.io/": "CPU feature",
    "host-model-cpu.node.kubevirt.io/": "host CPU model",
    "host-model-required-features.node.kubevirt.io/": "CPU feature",
    "hyperv.node.kubevirt.io/": "Hyper-V feature",
}
MACHINE = "machine-type.node.kubevirt.io/"
ARCHITECTURE = "kubernetes.io/arch"

_COUNTED = re.compile(r"\d+/\d+ nodes are available: (.*)", re.DOTALL)
_REASON = re.compile(r"(?:^|, )(\d+) (.*?)(?=, \d+ |$)", re.DOTALL)
_TAINT = re.compile(r"untolerated taint(?:\(s\))? ?\{?([^:}]*)")


def reasons(message: str) -> dict[str, int]:
    """The scheduler's reasons and on how many nodes each stands; {} for a message that has none.

    What follows about preemption says only what the scheduler thought of next.
    """
    match = _COUNTED.match(message.strip())
    if match is None:
        return {}
    text = re.split(r"\.\s+(?:no new claims|preemption:)", match[1])[0].strip().rstrip(".")
    return {said.strip().rstrip("."): int(count) for count, said in _REASON.findall(text)}


def judged(message: str) -> bool:
    """Whether the scheduler's reasons stand in it."""
    return _COUNTED.search(message) is not None


def said(case: Case) -> str:
    """The scheduler's message; "" where the pod is placed, or waits for nothing of it."""
    if not case.scheduling:
        return ""
    found = condition(case.pod or {}, "PodScheduled") or {}
    if found.get("status") != "False" or found.get("reason") != "Unschedulable":
        return ""
    return str(found.get("message") or "it cannot be scheduled")


def selector(case: Case) -> dict[str, str]:
    """The pod's node selector."""
    return dict(((case.pod or {}).get("spec") or {}).get("nodeSelector") or {})


def _found(case: Case, sentence: str, remedy: str = "", *more: str, node: str = "") -> Found:
    culprit = Reference(NODES.api_version, NODES.kind, "", node) if node else case.pod_reference()
    return Found(sentence, remedy, (f"scheduler: {said(case)}", *more), culprit)


def _unmatched(case: Case) -> dict[str, str]:
    """The labels of the selector that no node has, of those that were looked at."""
    nodes = case.seen.nodes
    if not nodes or not said(case):
        return {}
    return {
        name: value
        for name, value in selector(case).items()
        if not any(node.labels.get(name) == value for node in nodes)
    }


@rule(
    "NoVirtHandler",
    "broken",
    "Look at the DaemonSet virt-handler in Virtpod's namespace and at its pods' logs: a node "
    "takes guests once its virt-handler is ready and writes its heartbeat.",
)
def no_virt_handler(case: Case) -> Found | None:
    """No node is ready for virtual machines: virt-handler does not run, or is not ready, on any."""
    if SCHEDULABLE not in _unmatched(case):
        return None
    nodes = case.seen.nodes or ()
    lines = [
        f"node {node.name}: {SCHEDULABLE}={node.labels.get(SCHEDULABLE, 'not set')}, "
        f"last heartbeat {node.annotations.get('kubevirt.io/heartbeat', 'never')}"
        for node in nodes[:5]
    ]
    return _found(
        case, "No node is ready for virtual machines: virt-handler is on none of them.", "", *lines
    )


def _selected(prefix: str, case: Case) -> list[str]:
    return [name for name in _unmatched(case) if name.startswith(prefix)]


@rule(
    "ArchitectureUnavailable",
    "broken",
    "Add a node of that architecture, or set spec.template.spec.architecture to one there is.",
)
def architecture_unavailable(case: Case) -> Found | None:
    """No node has the guest's CPU architecture."""
    wanted = _unmatched(case).get(ARCHITECTURE)
    if not wanted:
        return None
    there = sorted({node.labels.get(ARCHITECTURE, "?") for node in case.seen.nodes or ()})
    return _found(case, f"No node is of the architecture {wanted}; there is: {listed(there)}.")


@rule(
    "MachineTypeUnavailable",
    "broken",
    "Set domain.machine.type to one that the nodes have, such as q35.",
)
def machine_type_unavailable(case: Case) -> Found | None:
    """QEMU on no node knows the guest's machine type."""
    wanted = _selected(MACHINE, case)
    if not wanted:
        return None
    return _found(
        case, f"QEMU on no node knows the machine type {wanted[0].removeprefix(MACHINE)}."
    )


@rule(
    "CpuModelUnavailable",
    "broken",
    "Choose another in domain.cpu (host-model takes what the node has), or add a node that has it.",
)
def cpu_model_unavailable(case: Case) -> Found | None:
    """No node's CPU has the model or the features that the guest asks for."""
    for prefix, what in ABILITIES.items():
        if wanted := _selected(prefix, case):
            names = listed(name.removeprefix(prefix) for name in wanted)
            return _found(case, f"No node has the {what} {names}.")
    return None


@rule(
    "NodeSelectorUnmatched",
    "broken",
    "Change the VM's spec.template.spec.nodeSelector, or label a node: "
    "kubectl label node NODE NAME=VALUE.",
)
def node_selector_unmatched(case: Case) -> Found | None:
    """No node has the labels of the node selector."""
    text = said(case)
    if not text:
        return None
    missing = _unmatched(case)
    if missing:
        pairs = listed(f"{name}={value}" for name, value in missing.items())
        have = [
            f"node {node.name} has {name}={node.labels[name]}"
            for name in missing
            for node in (case.seen.nodes or ())[:5]
            if name in node.labels
        ]
        return _found(case, f"No node has the label {pairs}, which it asks for.", "", *have)
    if not _all_nodes(text, "didn't match Pod's node affinity/selector") or _affine(case):
        return None
    nodes = case.seen.nodes or ()
    scarce = {
        name: value
        for name, value in selector(case).items()
        if not nodes or any(node.labels.get(name) != value for node in nodes)
    }
    pairs = listed(f"{name}={value}" for name, value in scarce.items())
    alone = [f"node {node.name} lacks {_lacking(node, scarce)}" for node in nodes[:5]]
    return _found(case, f"No node has all these labels that it asks for: {pairs}.", "", *alone)


def _lacking(node: Node, wanted: Mapping[str, str]) -> str:
    pairs = [f"{name}={value}" for name, value in wanted.items() if node.labels.get(name) != value]
    return listed(pairs) or "nothing"


def _affine(case: Case) -> bool:
    affinity = ((case.pod or {}).get("spec") or {}).get("affinity") or {}
    return bool(
        (affinity.get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    )


@rule(
    "NodeAffinityUnmatched",
    "broken",
    "Change spec.template.spec.affinity.nodeAffinity, or label a node so that it fits.",
)
def node_affinity_unmatched(case: Case) -> Found | None:
    """No node fits the required node affinity."""
    if not _all_nodes(said(case), "didn't match Pod's node affinity/selector"):
        return None
    return _found(case, "No node fits the node affinity that it requires.")


@rule(
    "NoKvm",
    "broken",
    "Let nodes have /dev/kvm (virtualization enabled in the firmware, nested virtualization for a "
    "node that is itself a VM), or set spec.configuration.developerConfiguration.useEmulation to "
    "true in the KubeVirt object, which is slow.",
)
def no_kvm(case: Case) -> Found | None:
    """No node offers KVM."""
    if not _insufficient(case, KVM) or not _nowhere(case, KVM):
        return None
    return _found(case, f"No node offers KVM: {KVM} is not allocatable on any.")


@rule(
    "DeviceMissing",
    "broken",
    "Look whether the device is there, its device plugin runs, and the KubeVirt object's "
    "permittedHostDevices name it.",
)
def device_missing(case: Case) -> Found | None:
    """A device that the guest asks for is on no node."""
    for name in _short(case):
        if "/" in name and _nowhere(case, name):
            remedy = OWN_DEVICE if name.startswith("devices.kubevirt.io/") else ""
            return _found(case, f"No node has the device {name}.", remedy)
    return None


@rule(
    "DeviceBusy",
    "broken",
    "Stop a guest that has one, or add a node with more of them.",
)
def device_busy(case: Case) -> Found | None:
    """All devices of a kind that the guest asks for are taken."""
    for name in _short(case):
        if "/" in name:
            return _found(case, f"All devices {name} that nodes have are taken.")
    return None


@rule(
    "NotEnoughMemory",
    "broken",
    "Give the guest less (domain.memory.guest), stop other guests, or add a node.",
)
def not_enough_memory(case: Case) -> Found | None:
    """No node has so much memory free."""
    if "memory" not in _short(case):
        return None
    return _found(case, _too_little(case, "memory", size), "", *_room(case, "memory", size))


@rule(
    "NotEnoughCpu",
    "broken",
    "Ask for less (domain.cpu, resources.requests.cpu), stop other guests, or add a node.",
)
def not_enough_cpu(case: Case) -> Found | None:
    """No node has so much CPU free."""
    if "cpu" not in _short(case):
        return None
    return _found(case, _too_little(case, "cpu", _cores), "", *_room(case, "cpu", _cores))


@rule(
    "NotEnoughResources",
    "broken",
    "Ask for less of it, or add a node that has more.",
)
def not_enough_resources(case: Case) -> Found | None:
    """No node has so much free of another resource: hugepages, ephemeral storage."""
    for name in (each for each in _short(case) if "/" not in each):
        return _found(case, _too_little(case, name, size), "", *_room(case, name, size))
    return None


@rule("NodesFull", "broken", "Stop other pods, raise the kubelet's maxPods, or add a node.")
def nodes_full(case: Case) -> Found | None:
    """Every node has as many pods as its kubelet takes."""
    if "Too many pods" not in reasons(said(case)):
        return None
    return _found(case, "Every node that fits has as many pods as its kubelet takes.")


@rule("NodesCordoned", "broken", "Let a node take pods again: kubectl uncordon NODE.")
def nodes_cordoned(case: Case) -> Found | None:
    """The nodes that would fit take no new pods: somebody cordoned or drains them."""
    there = reasons(said(case))
    cordoned = [node.name for node in case.seen.nodes or () if node.cordoned]
    tainted = any("node.kubernetes.io/unschedulable" in why for why in there)
    if "node(s) were unschedulable" not in there and not tainted:
        return None
    which = f": {listed(cordoned)}" if cordoned else ""
    return _found(case, f"Nodes that would take it are cordoned{which}.")


@rule(
    "NodesTainted",
    "broken",
    "Tolerate the taint in spec.template.spec.tolerations, or take it away: "
    "kubectl taint node NODE TAINT-.",
)
def nodes_tainted(case: Case) -> Found | None:
    """The nodes that would fit have taints that the guest does not tolerate."""
    taints = [
        match[1].strip() for why in reasons(said(case)) if (match := _TAINT.search(why)) is not None
    ]
    if not taints:
        return None
    there = [
        (node.name, taint)
        for node in case.seen.nodes or ()
        for taint in node.taints
        if taint.get("effect") in ("NoSchedule", "NoExecute")
    ]
    have = [f"node {name} is tainted {_tainted(taint)}" for name, taint in there]
    # Schedulers from Kubernetes 1.34 on do not name them.
    keys = {name for name in taints if name} or {
        taint.get("key", "") for _, taint in there if not _tolerated(case, taint)
    }
    names = listed(sorted(keys)) or "of theirs"
    if any(name.startswith("node.kubernetes.io/") for name in keys):
        remedy = "Kubernetes set it and takes it away when the node is well: look at the node."
        return _found(case, f"It does not tolerate the taint {names}.", remedy, *have[:5])
    return _found(case, f"It does not tolerate the taint {names} of the nodes.", "", *have[:5])


def _tolerated(case: Case, taint: Mapping[str, str]) -> bool:
    """As far as keys tell."""
    tolerations = ((case.pod or {}).get("spec") or {}).get("tolerations") or ()
    return any(each.get("key") in (None, "", taint.get("key")) for each in tolerations)


def _tainted(taint: Mapping[str, str]) -> str:
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint.get('key', '')}{value}:{taint.get('effect', '')}"


@rule(
    "PodAffinityUnmatched",
    "broken",
    "Change spec.template.spec.affinity, or make room on another node.",
)
def pod_affinity_unmatched(case: Case) -> Found | None:
    """Rules on what it must or must not stand beside leave no node."""
    for why in reasons(said(case)):
        if "affinity rules" in why:
            return _found(case, f"Its rules on neighbours leave no node: {ended(why)}")
    return None


@rule(
    "TopologySpread",
    "broken",
    "Change spec.template.spec.topologySpreadConstraints, or add a node where there are few.",
)
def topology_spread(case: Case) -> Found | None:
    """Its topology spread constraints leave no node."""
    if not any("topology spread" in why for why in reasons(said(case))):
        return None
    return _found(case, "Its topology spread constraints leave no node.")


@rule(
    "VolumeElsewhere",
    "broken",
    "Let the node that has the volume take the guest, or move the data to storage that all nodes "
    "reach.",
)
def volume_elsewhere(case: Case) -> Found | None:
    """Its volume is on a node, or in a zone, where the guest cannot go."""
    for why in reasons(said(case)):
        if "volume node affinity" in why or "persistent volumes to bind" in why:
            claims = f" of {listed(case.claims)}" if case.claims else ""
            return _found(case, f"The volume{claims} can be had only where the guest cannot go.")
    return None


@rule("Unschedulable", "broken", "Mend what the scheduler names: it looks again by itself.")
def unschedulable(case: Case) -> Found | None:
    """The scheduler finds no node, for another reason."""
    text = said(case)
    return _found(case, ended(f"No node takes it: {text}")) if text else None


@rule(
    "SchedulingGated",
    "broken",
    "Whoever put the gate there takes it away; remove it from the pod if they are gone.",
)
def scheduling_gated(case: Case) -> Found | None:
    """The pod has a scheduling gate, so the scheduler does not look at it."""
    gates = ((case.pod or {}).get("spec") or {}).get("schedulingGates") or []
    if not case.scheduling or not gates:
        return None
    names = listed(gate.get("name", "") for gate in gates)
    return Found(f"Its pod is held by the scheduling gate {names}.", "", (), case.pod_reference())


RULES: tuple[Rule, ...] = (
    scheduling_gated,
    no_virt_handler,
    architecture_unavailable,
    machine_type_unavailable,
    cpu_model_unavailable,
    node_selector_unmatched,
    node_affinity_unmatched,
    no_kvm,
    device_missing,
    not_enough_memory,
    not_enough_cpu,
    not_enough_resources,
    device_busy,
    nodes_full,
    volume_elsewhere,
    pod_affinity_unmatched,
    topology_spread,
    nodes_cordoned,
    nodes_tainted,
    unschedulable,
)
"""What a node lacks before what one may not use: of the reasons that the scheduler counts on
different nodes, the one that is nearest to being mended."""


def _all_nodes(message: str, reason: str) -> bool:
    """Whether this is the only reason the scheduler gives."""
    return list(reasons(message)) == [f"node(s) {reason}"]


def _short(case: Case) -> list[str]:
    """The resources of which nodes have too little."""
    return [
        why.removeprefix("Insufficient ").strip()
        for why in reasons(said(case))
        if why.startswith("Insufficient ")
    ]


def _insufficient(case: Case, resource: str) -> bool:
    return resource in _short(case)


def _nowhere(case: Case, resource: str) -> bool:
    """No node has any; where no node was looked at, that is what the scheduler's word means."""
    return not any(node.has(resource) for node in case.seen.nodes or ())


def _too_little(case: Case, resource: str, words: Callable[[float], str]) -> str:
    wants = requests(case.pod or {}).get(resource, 0.0)
    what = {"cpu": "CPU"}.get(resource, resource)
    asked = f"It asks for {words(wants)} of {what}" if wants else f"It asks for {what}"
    best = _best(case, resource)
    if best is None:
        return f"{asked}, and no node has so much free."
    if best.used is None:
        return (
            f"{asked}, and no node has so much free; the largest has {words(best.has(resource))}."
        )
    left = words(max(best.free(resource), 0.0))
    whole = words(best.has(resource))
    return f"{asked}; the node with most free, {best.name}, has {left} left of {whole}."


def _best(case: Case, resource: str) -> Node | None:
    wanted = selector(case)
    fitting = [
        node
        for node in case.seen.nodes or ()
        if all(node.labels.get(name) == value for name, value in wanted.items())
    ]
    return max(fitting or case.seen.nodes or (), key=lambda node: node.free(resource), default=None)


def _room(case: Case, resource: str, words: Callable[[float], str]) -> list[str]:
    lines = []
    for node in (case.seen.nodes or ())[:5]:
        left = "" if node.used is None else f", {words(max(node.free(resource), 0.0))} free"
        lines.append(f"node {node.name}: {words(node.has(resource))} {resource}{left}")
    return lines


def _cores(count: float) -> str:
    return f"{count:g} cores"
