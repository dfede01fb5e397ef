"""Guests whose launcher is of an older version than the installation: told, and brought up to date.

`spec.workloadUpdateStrategy` of the KubeVirt object says how. LiveMigrate moves those that can
move; Evict ends the others in good order, a batch at a time, and their VMs start anew in a new
launcher. Where it names no method nobody is touched.

https://kubevirt.io/user-guide/cluster_admin/updating_and_deletion/
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from virtpod.api.kubevirt import KubeVirtWorkloadUpdateStrategy
from virtpod.controllers import conditions
from virtpod.domain.duration import seconds
from virtpod.kube.plan import Patch, Plan, Reference, pointer
from virtpod.kube.plan import tests as tested
from virtpod.kube.resources import KUBEVIRTS, VMIS, Key, Obj, key_of

OUTDATED = "kubevirt.io/outdatedLauncherImage"
"""Label of a VMI whose launcher is of an older version."""
SIZE, INTERVAL = 10, 60.0
"""KubeVirt's batches: guests, seconds between two."""
LOOK_AGAIN = 10.0
"""Seconds after which those are looked for that come to run in an old launcher."""
COUNT = "outdatedVirtualMachineInstanceWorkloads"


@dataclass(frozen=True)
class Workload:
    """A VMI that runs, and its pod."""

    vmi: Obj
    pod: Key
    pod_uid: str
    image: str
    """Of its launcher."""
    leaving: bool = False
    """Its pod is on its way out already."""
    runs: bool = True
    """Else it is on its way to."""

    @property
    def labelled(self) -> bool:
        return OUTDATED in (self.vmi["metadata"].get("labels") or {})

    @property
    def migrates(self) -> bool:
        return conditions.status(conditions.of(self.vmi), "LiveMigratable") == "True"


@dataclass(frozen=True)
class Seen:
    kubevirt: Key
    told: int | None
    """What the KubeVirt object's status says of their number."""
    image: str
    """Of launchers that are made now."""
    now: float
    workloads: Sequence[Workload] = ()
    strategy: KubeVirtWorkloadUpdateStrategy = field(default_factory=KubeVirtWorkloadUpdateStrategy)
    last: float | None = None
    """When the last batch was evicted, by the clock of `now`."""


@dataclass(frozen=True)
class Renew:
    """Evict a launcher's pod so that its guest starts in a new one; refusals are events."""

    pod: Key
    uid: str
    about: Reference


@dataclass(frozen=True)
class Batch:
    """Note that a batch went now."""

    at: float


def decide(seen: Seen) -> Plan:
    running = [each for each in seen.workloads if each.runs]
    outdated = [each for each in running if each.image != seen.image]
    actions: list[Any] = list(_labels(seen, outdated))
    batch, again = _batch(seen, outdated)
    if len(running) < len(seen.workloads):
        again = min(again or LOOK_AGAIN, LOOK_AGAIN)
    if batch:
        actions += [Renew(w.pod, w.pod_uid, Reference.to(w.vmi, VMIS)) for w in batch]
        actions.append(Batch(seen.now))
    status = None
    if (seen.told or 0) != len(outdated):
        status = Patch(
            KUBEVIRTS, seen.kubevirt, {"status": {COUNT: len(outdated)}}, "merge", "status"
        )
    why = f"{len(outdated)} guests in launchers of another version; {len(batch)} start anew"
    return Plan(why, actions, status, again_in=again)


def _labels(seen: Seen, outdated: Sequence[Workload]) -> Iterator[Patch]:
    """A downgrade brings some up to date again, so the label goes as it came."""
    for each in seen.workloads:
        old = each in outdated
        if old == each.labelled:
            continue
        path = pointer("metadata", "labels", OUTDATED)
        body = tested(each.vmi, "/metadata/uid")
        if not old:
            body.append({"op": "remove", "path": path})
        elif each.vmi["metadata"].get("labels"):
            body.append({"op": "add", "path": path, "value": ""})
        else:
            body += tested(each.vmi, "/metadata/labels")
            body.append({"op": "add", "path": "/metadata/labels", "value": {OUTDATED: ""}})
        yield Patch(VMIS, key_of(each.vmi), body, "json")


def _batch(seen: Seen, outdated: Sequence[Workload]) -> tuple[Sequence[Workload], float | None]:
    """Who is evicted now, and when it is to be looked at again."""
    methods = seen.strategy.workload_update_methods or ()
    if "Evict" not in methods:
        return (), None
    stay = [each for each in outdated if not ("LiveMigrate" in methods and each.migrates)]
    waiting = [each for each in stay if not each.leaving]
    if not waiting:
        return (), None
    given = seen.strategy.batch_eviction_interval
    interval = seconds(given) if given else INTERVAL
    left = 0.0 if seen.last is None else seen.last + interval - seen.now
    if left > 0:
        return (), left + 0.05
    size = seen.strategy.batch_eviction_size
    ordered = sorted(waiting, key=lambda each: each.vmi["metadata"].get("creationTimestamp") or "")
    batch = ordered[: SIZE if size is None else size]
    return batch, interval if len(batch) < len(waiting) else None
