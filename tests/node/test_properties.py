"""What holds for every decision of virt-handler, whatever it sees."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as some

from tests.node.world import NODE, POD_UID, UID, vmi
from virtpod.controllers.lifecycle import FINAL, ON_NODE
from virtpod.controllers.node_seen import Failure, Guest, Pod
from virtpod.controllers.node_vmi import Prepare, Seen, decide
from virtpod.kube.plan import Event, Patch, Plan
from virtpod.wire.messages import DomainChanged, InterfaceSeen

NOW = 1_767_225_600.0
STATES = (
    "NoState",
    "Running",
    "Blocked",
    "Paused",
    "ShuttingDown",
    "Shutoff",
    "Crashed",
    "PMSuspended",
)
REASONS = (
    "Unknown",
    "User",
    "IOError",
    "Migration",
    "StartingUp",
    "Shutdown",
    "Destroyed",
    "Crashed",
    "Panicked",
    "Failed",
    "Saved",
    "FromSnapshot",
    "Migrated",
    "PostcopyFailed",
    "a reason of a later version",
)
CONDITIONS = ("Ready", "Paused", "LiveMigratable", "Synchronized", "AgentConnected", "Theirs")

domains = some.builds(
    DomainChanged,
    seq=some.integers(1, 9),
    state=some.sampled_from(STATES),
    reason=some.sampled_from(REASONS),
    message=some.sampled_from(("", "words")),
    machine=some.sampled_from(("", "pc-q35-10.0")),
    interfaces=some.lists(
        some.builds(
            InterfaceSeen,
            name=some.sampled_from(("default", "other")),
            mac=some.sampled_from(("", "02:00:00:00:00:01")),
            addresses=some.lists(some.sampled_from(("10.0.2.2", "fe80::1")), max_size=2),
        ),
        max_size=2,
    ),
    agent_connected=some.booleans(),
    started=some.booleans(),
)
guests = some.builds(
    Guest,
    connected=some.booleans(),
    preparing=some.booleans(),
    prepared=some.booleans(),
    lost=some.booleans(),
    domain=some.none() | domains,
    failure=some.none()
    | some.builds(
        Failure,
        reason=some.just("NoDisk"),
        message=some.just("words"),
        final=some.booleans(),
        at=some.sampled_from((NOW - 100, NOW)),
        times=some.integers(1, 20),
    ),
    told=some.frozensets(some.sampled_from(("shutdown", "release"))),
)
pods = some.builds(
    Pod,
    uid=some.just(POD_UID),
    name=some.just("p"),
    namespace=some.just("default"),
    vmi_name=some.just("demo"),
    vmi_uid=some.just(UID),
    ips=some.sampled_from(((), ("10.1.0.7",))),
    ready=some.booleans(),
    running=some.booleans(),
    ended=some.sampled_from((None, 0, 1)),
    deleting=some.booleans(),
)


@some.composite
def vmis(draw: some.DrawFn) -> dict[str, Any]:
    phases = ("Pending", "Scheduling", *ON_NODE, *FINAL)
    obj = vmi(draw(some.sampled_from(phases)))
    kinds = draw(some.lists(some.sampled_from(CONDITIONS), unique=True))
    if kinds:
        statuses = some.sampled_from(("True", "False"))
        obj["status"]["conditions"] = [{"type": kind, "status": draw(statuses)} for kind in kinds]
    if draw(some.booleans()):
        obj["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    if draw(some.booleans()):
        obj["spec"]["startStrategy"] = "Paused"
    if draw(some.booleans()):
        obj["spec"]["terminationGracePeriodSeconds"] = 0
    return obj


seens = some.builds(
    Seen,
    node=some.just(NODE),
    now=some.just(NOW),
    vmi=some.none() | vmis(),
    pod=some.none() | pods,
    guest=guests,
)


def patches(plan: Plan) -> list[Patch]:
    return [action for action in plan.actions if isinstance(action, Patch)]


def carried_out(plan: Plan, obj: dict[str, Any]) -> dict[str, Any]:
    after = copy.deepcopy(obj)
    for patch in patches(plan):
        for operation in patch.body:
            name = operation["path"].rpartition("/")[2]
            if operation["op"] == "add":
                assert operation["path"] == f"/status/{name}"
                after["status"][name] = operation["value"]
    return after


@given(seens)
def test_a_plan_carried_out_is_not_written_again(seen: Seen) -> None:
    plan = decide(seen)
    if seen.vmi is None or not patches(plan):
        return
    again = decide(replace(seen, vmi=carried_out(plan, seen.vmi)))
    assert not patches(again)
    assert not [action for action in again.actions if isinstance(action, Event)]


@given(seens)
def test_one_write_at_most_and_only_of_what_is_ours(seen: Seen) -> None:
    found = patches(decide(seen))
    assert len(found) <= 1
    if found:
        assert seen.vmi is not None
        assert seen.vmi["status"]["phase"] in ON_NODE
        tests = [each["path"] for each in found[0].body if each["op"] == "test"]
        assert tests[:2] == ["/metadata/uid", "/status/phase"]


@given(seens)
def test_no_end_without_evidence(seen: Seen) -> None:
    """A guest is only declared gone when its launcher, the kernel or the kubelet said so."""
    domain, pod = seen.guest.domain, seen.pod
    said = domain is not None and domain.state in ("Shutoff", "Crashed", "Paused")
    if said or seen.guest.lost or (pod is not None and pod.ended is not None):
        return
    for patch in patches(decide(seen)):
        phases = [each["value"] for each in patch.body if each["path"] == "/status/phase"]
        assert not set(phases) & set(FINAL)


@given(seens)
def test_other_people_s_conditions_are_never_touched(seen: Seen) -> None:
    if seen.vmi is None:
        return
    before = seen.vmi["status"].get("conditions", [])
    after = carried_out(decide(seen), seen.vmi)["status"].get("conditions", [])
    for kind in ("Theirs",):
        assert [c for c in before if c["type"] == kind] == [c for c in after if c["type"] == kind]


@given(seens)
def test_what_runs_is_not_started(seen: Seen) -> None:
    domain = seen.guest.domain
    if domain is not None and domain.started:
        assert not [a for a in decide(seen).actions if isinstance(a, Prepare)]
