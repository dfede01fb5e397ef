"""What a diagnosis rests on and what it says, as values; and what the rules ask of Kubernetes'
objects, each question once."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from virtpod.domain.quantity import binary, parse
from virtpod.kube.plan import Reference
from virtpod.kube.resources import NODES, PODS, PVCS, VMIS, VMS, Obj, Resource

State = Literal["runs", "waits", "halted", "broken"]
"""`runs`: all is well. `waits`: it is on the way. `halted`: somebody wants it so. `broken`: it
shall run and cannot."""

LONGEST = 1000
"""Characters of somebody else's message that are passed on."""


@dataclass(frozen=True)
class Node:
    """What the scheduler looks at. `used`: what the pods on it ask for, None where unknown."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    allocatable: Mapping[str, Any] = field(default_factory=dict)
    taints: Sequence[Mapping[str, str]] = ()
    cordoned: bool = False
    ready: bool | None = None
    used: Mapping[str, float] | None = None

    @staticmethod
    def of(node: Obj, pods: Iterable[Obj] | None = None) -> Node:
        """`pods`: all the cluster's, or None."""
        metadata, spec, status = node["metadata"], node.get("spec") or {}, node.get("status") or {}
        name = metadata["name"]
        ready = condition(node, "Ready")
        return Node(
            name,
            metadata.get("labels") or {},
            metadata.get("annotations") or {},
            status.get("allocatable") or {},
            spec.get("taints") or (),
            bool(spec.get("unschedulable")),
            None if ready is None else ready.get("status") == "True",
            None if pods is None else _used(name, pods),
        )

    def has(self, resource: str) -> float:
        return amount(self.allocatable.get(resource))

    def free(self, resource: str) -> float:
        return self.has(resource) - (self.used or {}).get(resource, 0.0)


@dataclass(frozen=True)
class Observed:
    """Everything that is known of one VM. What was not looked for is None, or not there: the rules
    then make do without."""

    now: float
    vm: Obj | None = None
    vmi: Obj | None = None
    pods: Sequence[Obj] = ()
    """The VMI's pods."""
    events: Sequence[Obj] = ()
    """About the VM, the VMI and the pods."""
    pvcs: Mapping[str, Obj | None] | None = None
    """By name; None: there is no such claim."""
    storage_classes: Sequence[Obj] | None = None
    nodes: Sequence[Node] | None = None
    refusal: str = ""
    """Why the API server does not take the pod."""
    kubevirt: Obj | None = None
    log: str = ""
    """The launcher's last lines."""


@dataclass(frozen=True)
class Diagnosis:
    """`code` is for programs and stays; the rest is for people."""

    code: str
    state: State
    sentence: str
    remedy: str = ""
    evidence: tuple[str, ...] = ()
    culprit: Reference | None = None

    @property
    def message(self) -> str:
        """Sentence and remedy, as a condition holds them."""
        return f"{self.sentence} {self.remedy}".strip()


@dataclass(frozen=True)
class Found:
    """What a rule found. `remedy` where the rule's own does not say enough."""

    sentence: str
    remedy: str = ""
    evidence: tuple[str, ...] = ()
    culprit: Reference | None = None


@dataclass(frozen=True)
class Rule:
    code: str
    state: State
    about: str
    remedy: str
    find: Callable[[Case], Found | None]

    def __call__(self, case: Case) -> Diagnosis | None:
        found = self.find(case)
        if found is None:
            return None
        evidence = tuple(" ".join(line.split())[:LONGEST] for line in found.evidence if line)
        return Diagnosis(
            self.code,
            self.state,
            found.sentence,
            found.remedy or self.remedy,
            evidence,
            found.culprit,
        )


def rule(
    code: str, state: State, remedy: str = ""
) -> Callable[[Callable[[Case], Found | None]], Rule]:
    """Makes a Rule of a function; its docstring says what the code means."""

    def made(find: Callable[[Case], Found | None]) -> Rule:
        about = " ".join((find.__doc__ or "").split())
        return Rule(code, state, about, remedy, find)

    return made


@dataclass(frozen=True)
class Case:
    """The questions that more than one rule asks."""

    seen: Observed

    @cached_property
    def phase(self) -> str:
        return str(((self.seen.vmi or {}).get("status") or {}).get("phase") or "")

    @property
    def vmi(self) -> Obj | None:
        return self.seen.vmi

    @property
    def starting(self) -> bool:
        """There is a VMI, and no guest in it yet."""
        return self.vmi is not None and self.phase not in ("Running", "Succeeded", "Failed")

    @property
    def scheduling(self) -> bool:
        """There is a VMI, and no launcher of it runs yet."""
        return self.vmi is not None and self.phase in ("", "Pending", "Scheduling")

    @property
    def over(self) -> bool:
        return self.phase in ("Succeeded", "Failed")

    @cached_property
    def ran(self) -> bool:
        """Whether the guest has been there."""
        stamps = ((self.vmi or {}).get("status") or {}).get("phaseTransitionTimestamps") or ()
        return self.phase == "Running" or any(each.get("phase") == "Running" for each in stamps)

    @cached_property
    def pod(self) -> Obj | None:
        """The newest."""
        return max(
            self.seen.pods,
            key=lambda pod: pod["metadata"].get("creationTimestamp") or "",
            default=None,
        )

    @cached_property
    def containers(self) -> list[Obj]:
        """The statuses of the pod's containers, `compute` first."""
        status = (self.pod or {}).get("status") or {}
        found = [
            *(status.get("initContainerStatuses") or []),
            *(status.get("containerStatuses") or []),
        ]
        return sorted(found, key=lambda each: each.get("name") != "compute")

    @property
    def compute(self) -> Obj:
        return next((each for each in self.containers if each.get("name") == "compute"), {})

    @cached_property
    def node(self) -> str:
        status = (self.vmi or {}).get("status") or {}
        spec = (self.pod or {}).get("spec") or {}
        return str(status.get("nodeName") or spec.get("nodeName") or "")

    def node_facts(self) -> Node | None:
        return next((node for node in self.seen.nodes or () if node.name == self.node), None)

    def told(self, kind: str, source: Obj | None = None) -> Obj:
        """A condition of the VMI; {} where it is not there."""
        return condition(source if source is not None else (self.vmi or {}), kind) or {}

    @cached_property
    def not_synchronized(self) -> Obj:
        found = self.told("Synchronized")
        return found if found.get("status") == "False" else {}

    def events(self, *reasons: str, kind: str = "", uid: str = "") -> list[Obj]:
        """Those with one of the reasons (all: none given), newest first."""
        found = [
            event
            for event in self.seen.events
            if (not reasons or event.get("reason") in reasons)
            and (not kind or _about(event).get("kind") == kind)
            and (not uid or _about(event).get("uid") in ("", None, uid))
        ]
        return sorted(found, key=when, reverse=True)

    def life_events(self, *reasons: str) -> list[Obj]:
        """About this very VMI; where there is none, about the last ones of its name."""
        uid = ((self.vmi or {}).get("metadata") or {}).get("uid") or ""
        return self.events(*reasons, kind="VirtualMachineInstance", uid=uid)

    def pod_events(self, *reasons: str) -> list[Obj]:
        """About the newest pod only: what was wrong with an earlier one is over."""
        if self.pod is None:
            return []
        return self.events(*reasons, kind="Pod", uid=self.pod["metadata"].get("uid") or "")

    def holding_up(self, *reasons: str) -> list[Obj]:
        """About the newest pod, and nothing says that the kubelet has got further since."""
        further = [when(event) for event in self.pod_events("Pulling", "Pulled", "Created")]
        return [event for event in self.pod_events(*reasons) if when(event) > max(further or [""])]

    @property
    def claims(self) -> list[str]:
        """The names of the claims that the VMI uses, in order."""
        source = self.vmi or ((self.seen.vm or {}).get("spec") or {}).get("template") or {}
        return claims_of(source)

    def vm_reference(self) -> Reference | None:
        return refer(self.seen.vm, VMS) or refer(self.vmi, VMIS)

    def vmi_reference(self) -> Reference | None:
        return refer(self.vmi, VMIS) or refer(self.seen.vm, VMS)

    def pod_reference(self) -> Reference | None:
        return refer(self.pod, PODS) or self.vmi_reference()

    def claim_reference(self, name: str) -> Reference:
        namespace = ((self.vmi or self.seen.vm or {}).get("metadata") or {}).get("namespace") or ""
        return Reference(PVCS.api_version, PVCS.kind, namespace, name)

    def node_reference(self) -> Reference | None:
        if not self.node:
            return None
        return Reference(NODES.api_version, NODES.kind, "", self.node)


def claims_of(vmi: Mapping[str, Any]) -> list[str]:
    """The claims that a VMI names, be it through a DataVolume, which has a claim of its name."""
    names = []
    for volume in (vmi.get("spec") or {}).get("volumes") or []:
        claim = volume.get("persistentVolumeClaim") or {}
        ephemeral = (volume.get("ephemeral") or {}).get("persistentVolumeClaim") or {}
        data = volume.get("dataVolume") or {}
        names.append(claim.get("claimName") or ephemeral.get("claimName") or data.get("name"))
    return list(dict.fromkeys(name for name in names if name))


# Words and numbers.


def condition(obj: Mapping[str, Any], kind: str) -> Obj | None:
    found = (obj.get("status") or {}).get("conditions") or []
    return next((each for each in found if each.get("type") == kind), None)


def refer(obj: Obj | None, resource: Resource) -> Reference | None:
    return None if obj is None else Reference.to(obj, resource)


def when(event: Obj) -> str:
    """When an event was last seen. Stamps of one form sort as text."""
    series = event.get("series") or {}
    last = event.get("lastTimestamp") or series.get("lastObservedTime") or event.get("eventTime")
    return str(last or (event.get("metadata") or {}).get("creationTimestamp") or "")


def line(event: Obj) -> str:
    """An event as evidence."""
    about = _about(event)
    return (
        f"event {when(event)} {about.get('kind', '')} {about.get('name', '')} "
        f"{event.get('reason', '')}: {event.get('message', '')}"
    )


def seconds(stamp: str | None) -> float | None:
    try:
        moment = datetime.datetime.fromisoformat(stamp or "")
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return moment.timestamp()


def ended(sentence: str) -> str:
    """With one full stop at its end, and no more than can be read."""
    text = " ".join(sentence.split())[:LONGEST].rstrip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def amount(quantity: Any) -> float:
    """0 where there is none, or none that can be read."""
    try:
        return float(parse(quantity))
    except ValueError:
        return 0.0


def size(count: float) -> str:
    """Bytes for people: to a MiB, or to a tenth of a GiB."""
    if count >= 2**30:
        return f"{count / 2**30:.1f} GiB"
    return f"{count / 2**20:.0f} MiB" if count >= 2**20 else binary(int(count))


def listed(names: Iterable[str], most: int = 4) -> str:
    """`a, b and 3 more`."""
    every = list(names)
    if len(every) <= most:
        return ", ".join(every)
    return f"{', '.join(every[:most])} and {len(every) - most} more"


def requests(pod: Obj) -> dict[str, float]:
    """What the scheduler counts of a pod: the sum of its containers, or one init container if that
    is more."""
    spec = pod.get("spec") or {}
    whole: dict[str, float] = {}
    for container in spec.get("containers") or []:
        for name, value in _asked(container).items():
            whole[name] = whole.get(name, 0.0) + value
    for container in spec.get("initContainers") or []:
        for name, value in _asked(container).items():
            whole[name] = max(whole.get(name, 0.0), value)
    return whole


def _asked(container: Obj) -> dict[str, float]:
    resources = container.get("resources") or {}
    asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {name: amount(value) for name, value in asked.items()}


def _used(node: str, pods: Iterable[Obj]) -> dict[str, float]:
    used: dict[str, float] = {}
    for pod in pods:
        status = pod.get("status") or {}
        if (pod.get("spec") or {}).get("nodeName") != node:
            continue
        if status.get("phase") in ("Succeeded", "Failed"):
            continue
        for name, value in requests(pod).items():
            used[name] = used.get(name, 0.0) + value
    return used


def _about(event: Obj) -> Obj:
    about: Obj = event.get("involvedObject") or event.get("regarding") or {}
    return about
