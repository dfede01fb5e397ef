"""A walk through every situation that a VMI, its pod and its guest can come into.

The owners' moves are asked of the decisions themselves; what the kubelet, the launcher, the guest
and users may do is written down here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest

from scripts.lifecycle import (
    GUESTS,
    POD_STATES,
    Outcome,
    Situation,
    controller,
    handler,
    situations,
)
from virtpod.controllers.lifecycle import FINAL, MOVES, PHASES, Impossible, enter

GONE = Situation("gone", "gone")
"""The VMI itself is no more."""
DOWN = ("powered off", "ended by us", "QEMU killed", "panicked")
THERE = ("starting", "runs", "paused", "I/O error")
LIVE = ("pending", "running", "pending and leaving", "running and leaving")
"""Pods in which a launcher's process may be."""


def owners(at: Situation) -> Iterator[Situation]:
    for outcome in (controller(at), handler(at)):
        after = at
        if outcome.phase:
            after = replace(after, phase=outcome.phase)
        for what in outcome.does:
            after = done(after, what)
        if after != at:
            yield after


def done(at: Situation, what: str) -> Situation:
    match what:
        case "creates the pod":
            return replace(at, pod="pending")
        case "deletes the pod":
            after = {"pending": "pending and leaving", "running": "running and leaving"}
            return replace(at, pod=after.get(at.pod, "ended and leaving"))
        case "lets the VMI go":
            return GONE if at.deleting else at
        case "prepares the pod's network, has the guest started":
            return replace(at, guest="prepares")
        case "asks it to power off" | "has the guest killed":
            return replace(at, told=at.told | {"shutdown"})
        case "lets the launcher go":
            return replace(at, told=at.told | {"release"})
    return at


def kubelet(at: Situation) -> Iterator[Situation]:
    match at.pod:
        case "pending":
            yield replace(at, pod="running")
            yield replace(at, pod="ended badly", guest="silent")
        case "pending and leaving" | "ended and leaving":
            yield replace(at, pod="gone", guest="silent", told=frozenset())
        case "running" | "running and leaving" if at.guest == "launcher killed":
            yield replace(at, pod=ended(at, "ended badly"))
        case "ended badly":
            yield replace(at, pod="ended long ago")
        case "forgotten":
            yield replace(at, pod="forgotten and cleared", guest="silent", told=frozenset())


def ended(at: Situation, how: str) -> str:
    return "ended and leaving" if at.pod.endswith("leaving") else how


def launcher(at: Situation) -> Iterator[Situation]:
    """Starts the guest, hands the pod's end on to it, and ends after it."""
    if at.pod not in LIVE:
        return
    stop = at.pod == "running and leaving" or "shutdown" in at.told
    match at.guest:
        case "silent" if not at.told:
            yield replace(at, guest="listens")
        case "listens" | "cannot start" if stop:
            yield replace(at, pod=ended(at, "ended well"), guest="silent")
        case "prepares":
            yield replace(at, guest="starting")
            yield replace(at, guest="cannot start")
        case "cannot start":
            yield replace(at, guest="prepares")
        case "starting":
            yield replace(at, guest="runs")
            yield replace(at, guest="QEMU killed")
        case "runs" | "paused" | "I/O error" if stop:
            yield replace(at, guest="powered off")
            yield replace(at, guest="ended by us")
        case guest if guest in DOWN:
            # Not released, it waits for virt-handler a while and then ends all the same.
            yield replace(at, pod=ended(at, "ended well"))
            yield replace(at, pod=ended(at, "ended badly"))


def guest(at: Situation) -> Iterator[Situation]:
    """By itself, by its user, or by a fault of QEMU."""
    if at.pod in LIVE and at.guest in THERE[1:]:
        for other in (*THERE[1:], *DOWN):
            yield replace(at, guest=other)


def faults(at: Situation) -> Iterator[Situation]:
    if at.pod in ("running", "running and leaving") and at.guest != "launcher killed":
        yield replace(at, guest="launcher killed")
    if at.pod.startswith(("pending", "running")):
        yield replace(at, pod="forgotten")
    if at.pod.startswith(("pending", "running", "ended")) and at.guest not in THERE:
        yield replace(at, pod="gone", guest="silent", told=frozenset())
    if at.pod == "forgotten":
        yield replace(at, pod="forgotten by a silent node")
    if at.pod == "forgotten by a silent node":
        yield replace(at, pod="forgotten")  # it is heard again
        yield replace(at, pod="gone", guest="silent", told=frozenset())  # it was fenced
    if at.told:
        yield replace(at, told=frozenset())  # virt-handler began anew
    if at.pod == "pending":
        yield replace(at, pod="pending and leaving")
    if at.pod == "running":
        yield replace(at, pod="running and leaving")


def user(at: Situation) -> Iterator[Situation]:
    if not at.deleting:
        yield replace(at, deleting=True)


@cache
def after(at: Situation, helped: bool = True) -> tuple[Situation, ...]:
    """Where it may go from there; not `helped`: without users, faults and the guest's own will."""
    if at == GONE:
        return ()
    ways = [owners, kubelet, launcher]
    if helped:
        ways += [guest, faults, user]
    return tuple({each: None for way in ways for each in way(at)})


@pytest.fixture(scope="module")
def reachable() -> set[Situation]:
    first = Situation("Pending", "gone")
    found, look = {first}, deque([first])
    while look:
        for each in after(look.popleft()):
            if each not in found:
                found.add(each)
                look.append(each)
    return found - {GONE}


def outcomes(at: Situation) -> tuple[Outcome, Outcome]:
    return controller(at), handler(at)


def test_every_phase_and_state_is_walked_through(reachable: set[Situation]) -> None:
    assert {at.phase for at in reachable} >= {phase.name for phase in PHASES} - {
        "",  # before admission
        "WaitingForSync",  # live migration's
    }
    assert {at.pod for at in reachable} >= set(POD_STATES) - {"unseen"}
    assert {at.guest for at in reachable} == set(GUESTS)


def test_no_situation_is_without_a_way_out(reachable: set[Situation]) -> None:
    """What is deleted goes, with nobody's help; what is not deleted can be. Only a silent node
    waits for people: to get it back, or to say that it is off."""
    before: dict[Situation, list[Situation]] = {}
    for at in reachable:
        for each in after(at, helped=False):
            before.setdefault(each, []).append(at)
    ends, look = {GONE}, deque([GONE])
    while look:
        for each in before.get(look.popleft(), ()):
            if each not in ends:
                ends.add(each)
                look.append(each)
    stuck = [
        at
        for at in reachable
        if at.deleting and at not in ends and at.pod != "forgotten by a silent node"
    ]
    assert not stuck, f"{len(stuck)} of {len(reachable)}, as {stuck[:5]}"


def test_what_rests_rests_for_a_reason(reachable: set[Situation]) -> None:
    """Without help nothing stops but where the guest is there, or its life is over."""
    for at in reachable:
        if not after(at, helped=False):
            there = at.phase == "Running" and at.guest in THERE and at.pod == "running"
            assert there or at.phase in FINAL or at.pod == "forgotten by a silent node", at


@pytest.mark.parametrize("phase", FINAL)
def test_a_final_phase_is_never_left(phase: str) -> None:
    for at in situations():
        if at.phase == phase:
            assert [each.phase for each in outcomes(at)] == ["", ""], at
    with pytest.raises(Impossible):
        enter({"status": {"phase": phase}}, "Running", "virt-handler", 0.0)


def test_every_move_is_made_and_by_its_owner_only() -> None:
    made = set()
    for at in situations():
        for owner, outcome in zip(("virt-controller", "virt-handler"), outcomes(at), strict=True):
            if outcome.phase:
                made.add((at.phase, outcome.phase, owner))
    allowed = {(*move, owner) for move, by in MOVES.items() for owner in by}
    assert made <= allowed
    unmade = {move for move in allowed - made if "WaitingForSync" not in move}
    assert unmade == {
        ("", "Pending", "virt-controller"),
    }


def test_no_action_is_both_owners_to_take(reachable: set[Situation]) -> None:
    """But for the end of a pod of which virt-handler has said nothing for a minute: then it is
    taken for silent, and the JSON patch's test lets one of the two win."""
    for at in reachable:
        one, other = outcomes(at)
        if at.pod != "ended long ago":
            assert not (one.phase and other.phase), at
            assert not set(one.does) & set(other.does), at
        if one.phase and other.phase:
            assert {one.phase, other.phase} <= set(FINAL)


def test_a_guest_is_started_only_where_none_is_or_was(reachable: set[Situation]) -> None:
    for at in situations():
        if "has the guest started" in " ".join(handler(at).does):
            assert at.guest in ("listens", "cannot start")
            assert at.phase not in ("Running", *FINAL)
            assert not at.deleting


def test_every_warning_says_what_to_do() -> None:
    seen = set()
    for at in situations():
        for outcome in outcomes(at):
            for event in outcome.events:
                if event.type == "Warning":
                    what, _, remedy = event.message.partition(". ")
                    assert event.reason
                    assert what
                    assert remedy.endswith("."), event
                    seen.add(event.reason)
    assert seen >= {"Stopped", "GuestPanicked", "IOerror", "SyncFailed"}
